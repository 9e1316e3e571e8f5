"""Finds the universal perturbation for encoders, a mode and a budget: among the embedded ones and in the user's cache.

Other machines get a tile as its file, see `add`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import platformdirs
import torch

from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.universals.files import Universal, key_of, read_universals, write_universals

UNIVERSAL_FILE = Path(__file__).parents[1] / "pocket" / "universal.safetensors"
"""The embedded tiles, for the embedded encoders. Made by `python -m training universal`."""

CACHE_VARIABLE = "PCA_PROTECT_CACHE"
"""Environment variable that replaces the user's cache folder."""


def cache_folder() -> Path:
    """Folder of the tiles that the user trained or added; it may not exist."""
    given = os.environ.get(CACHE_VARIABLE)
    return (Path(given) if given else platformdirs.user_cache_path("pca-protect")) / "universals"


def cached_file(universal: Universal) -> Path:
    """Place of a tile in the cache."""
    return cache_folder() / f"{universal.key}.safetensors"


def cached_universals() -> dict[Path, Universal]:
    """The tiles of the cache by file.

    Raises:
        ModelError: a file is damaged.
    """
    return {path: universal for path in sorted(cache_folder().glob("*.safetensors")) for universal in _read_once(path)}


def embedded_universals() -> tuple[Universal, ...]:
    """The tiles that ship with this package.

    Raises:
        ModelError: the file is damaged.
    """
    return _read_once(UNIVERSAL_FILE)


def add(universal: Universal) -> Path:
    """Keep a tile in the cache. Replaces a tile for the same encoders, mode and budget.

    Raises:
        UsageError: the cache cannot be written to.
    """
    path = cached_file(universal)
    write_universals([universal], path)
    return path


def find_universal(surrogate: AnySurrogate, *, mode: str, budget_levels: int) -> Universal | None:
    """The best fitting tile: one that beats noise before others, then the one with fewest further encoders, then the nearest
    budget, then the user's before the embedded one. None if none fits.

    Raises:
        ModelError: a file is damaged.
    """
    found = [*cached_universals().values(), *embedded_universals()]
    fitting = [one for one in found if misfit(one, surrogate, mode=mode, budget_levels=budget_levels) is None]
    return min(
        fitting,
        key=lambda one: (not one.beats_noise, len(one.encoders), one.budget_levels - budget_levels),
        default=None,
    )


def mean_of_members(surrogate: AnySurrogate, *, mode: str, budget_levels: int) -> Universal | None:
    """Mean of the members' own tiles, to start steps from; None if a member has none or the sides differ. It is not measured
    itself; its `start_gain` is the members' lowest.

    Raises:
        ModelError: a file is damaged.
    """
    found = [find_universal(member, mode=mode, budget_levels=budget_levels) for member in surrogate.members]
    tiles = [one for one in found if one is not None]
    if len(tiles) < len(found) or len({one.tile.shape for one in tiles}) > 1:
        return None
    mean = torch.stack([one.tile.float() for one in tiles]).mean(dim=0).round().to(torch.int8)
    encoders = {member.digest: member.name for member in surrogate.members}
    start_gain = min((one.start_gain for one in tiles if one.start_gain is not None), default=None)
    return replace(tiles[0], tile=mean, encoders=encoders, held_out=0, members=(), start_gain=start_gain)


def misfit(universal: Universal, surrogate: AnySurrogate, *, mode: str, budget_levels: int) -> str | None:
    """Why a tile does not suit a request, for messages; None if it does.

    A tile for several encoders suits each of them. A tile suits smaller budgets than its own, as the same fractions: it is
    then less visible than measured. A larger budget was not measured.
    """
    for member in surrogate.members:
        if universal.grid_px % member.multiple:
            return f"its grid of {universal.grid_px} px does not fit that of {member.name}, {member.multiple} px"
    foreign = [member.name for member in surrogate.members if member.digest not in universal.encoders]
    if foreign:
        return f"it was trained for the weights of {universal.name}, and those of {foreign[0]} differ"
    if universal.mode != mode:
        return f"it was trained for `mode={universal.mode}`, not {mode}"
    if budget_levels > universal.budget_levels:
        return f"it was trained for `budget_levels={universal.budget_levels}`, less than the requested {budget_levels}"
    return None


def key_for(surrogates: Sequence[AnySurrogate], mode: str, budget_levels: int) -> str:
    """See `key_of`; for all members of the surrogates."""
    return key_of([member.digest for one in surrogates for member in one.members], mode, budget_levels)


def _read_once(path: Path) -> tuple[Universal, ...]:
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _read(path: Path, changed_ns: int, size: int) -> tuple[Universal, ...]:
    return tuple(read_universals(path))
