"""What a protection is averaged over while it is made, so that it outlasts more than it was made for.

Everything here was chosen on photographs that no result is reported on; docs/research.md has what each part gave.
"""

from __future__ import annotations

from pca_protect.transforms import Transform, chain, dim, gaussian_noise, jpeg, one_of, shift, shrink_and_back

_HALF = shrink_and_back(0.5)

SURVIVAL: dict[str, Transform] = {
    "jpeg": one_of([chain(), jpeg((60, 90))]),
    "social": one_of([chain(), jpeg((60, 90)), _HALF, chain(jpeg((65, 85)), _HALF)]),
}
"""By destination: one of these, drawn anew in every step, and sometimes none."""

BETWEEN_ENCODERS = chain(shift(7), dim((0.6, 1.0)), gaussian_noise(0.06), one_of([chain(), jpeg((60, 90))]))
"""What makes a perturbation depend less on the encoders it is made against, and hold better for another."""


def averaged_over(survive: str | None, *, encoders: int) -> Transform | None:
    """What happens to the picture before an encoder looks at it, in every step anew; None is nothing."""
    parts = [SURVIVAL[survive]] if survive else []
    if encoders > 1:
        parts.append(BETWEEN_ENCODERS)
    return chain(*parts) if parts else None
