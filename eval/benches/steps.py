"""`pca-protect bench steps`: gain and time of presets with fewer steps, compared with the published loop.

A preset's gain is the change of the 8-bit picture's loss in the mode's direction. All presets run on a picture before the next
picture, so that other load on the machine affects the ratios of times less.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pca_protect.config import ProtectConfig
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.protection_configs import StepsConfig
from pca_protect.eval.pictures import square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import ratio_of_means
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.protection import protect
from pca_protect.record import Record
from pca_protect.surrogates.load import load_surrogate


def measure_steps(config: StepsConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: an encoder or the device is unavailable.
    """
    bench = Bench("steps", config, folder, on_progress, timed=True)
    surrogates = {name: load_surrogate(name, device=config.device) for name in config.vaes}
    bench.open(
        budget_levels=ProtectConfig.budget_levels,
        vae_weights={name: surrogate.digest for name, surrogate in surrogates.items()},
    )
    requests = {mode: [_request(mode, *preset, config) for preset in config.presets] for mode in PUBLISHED_MODES}
    places = {f"{vae} | {mode}": (vae, mode) for vae in config.vaes for mode in PUBLISHED_MODES}

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture = square_picture(path, config.size_px)
        for key in missing:
            vae, mode = places[key]
            records = [protect(picture, one, surrogate=surrogates[vae]).record for one in requests[mode]]
            yield key, {"gains": [gain_of(one) for one in records], "seconds": [one.seconds for one in records]}

    entries = bench.entries("presets", list(places), measure)
    rows = [row for key, (vae, mode) in places.items() for row in steps_rows(vae, mode, requests[mode], entries[key])]
    return bench.finish({"steps": rows})


def gain_of(record: Record) -> float:
    """Change of the loss in the mode's direction, in the unit of the loss.

    Args:
        record: of an evaluated protection.
    """
    assert record.protected is not None
    assert record.loss_clean is not None
    return abs(record.protected.loss - record.loss_clean)


def _request(mode: str, preset: str, steps: int | None, config: StepsConfig) -> ProtectConfig:
    return ProtectConfig(mode=mode, preset=preset, steps=steps, seed=config.seed)


def steps_rows(vae: str, mode: str, requests: Sequence[ProtectConfig], measured: Mapping[str, Json]) -> list[Row]:
    """One row per preset.

    `gain`, with its 95 % interval: mean gain divided by the first preset's; `least`: the smallest ratio of a picture; `reached`:
    the number of pictures with a ratio of 1 or more; `times_faster`: the median of the first preset's seconds over this one's.

    Args:
        measured: picture -> {"gains", "seconds"}, one value per request.
    """
    if not measured:
        return []
    gains, seconds = (
        list(zip(*(one[what] for one in measured.values()), strict=True)) for what in ("gains", "seconds")
    )
    rows: list[Row] = []
    for request, gain, time in zip(requests, gains, seconds, strict=True):
        ratio = ratio_of_means(gain, gains[0])
        shares = [one / other for one, other in zip(gain, gains[0], strict=True)]
        rows.append(
            {
                "vae": vae,
                "mode": mode,
                "preset": request.preset,
                "steps": request.recipe.steps,
                "gain": ratio.value,
                "ci_low": ratio.ci_low,
                "ci_high": ratio.ci_high,
                "least": min(shares),
                "reached": sum(share >= 1 for share in shares),
                "n": len(shares),
                "times_faster": statistics.median(other / one for one, other in zip(time, seconds[0], strict=True)),
            }
        )
    return rows
