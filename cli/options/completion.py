"""Shell completion of options."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def starting(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Completion with the names that start with the text typed so far."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]
