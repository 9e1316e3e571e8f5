"""Inspects an output folder without its inputs: finished pictures, integrity of outputs, and leftovers of killed runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pca_protect.batch.classify import digest_of
from pca_protect.batch.ledger import STATE, Ledger, read_ledger, segments_of
from pca_protect.batch.merge import merge_segments
from pca_protect.batch.output_lock import output_lock
from pca_protect.batch.store import Store, Stored, local_info
from pca_protect.errors import UsageError

_TEMPORARY = ".pca-*.tmp"
"""Incomplete outputs, see `io.write.write_bytes`."""


@dataclass(frozen=True)
class FolderStatus:
    """Attributes:
    finished: outputs in the ledger that are there.
    missing: outputs in the ledger that are not.
    segments: number of the ledger's files.
    temporary: incomplete outputs of killed runs; None for a bucket.
    in_use: a run writes into the folder; None for a bucket.
    test_only: number of finished outputs that were made with embedded test models only, see `Record`.
    """

    finished: int
    missing: int
    segments: int
    temporary: int | None
    in_use: bool | None
    test_only: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Checked:
    """Attributes:
    output: path relative to the output folder, from the ledger.
    state: "intact", "changed" or "missing".
    test_only: an intact output of embedded test models only, see `Record`.
    """

    output: str
    state: str
    test_only: bool = False


def status(root: str) -> FolderStatus:
    """The state of an output folder or URL.

    Raises:
        UsageError: it is not accessible, or has no ledger.
    """
    store, ledger = _opened(root)
    there = _existing(store)
    finished = [output for output in ledger if there(output) is not None]
    return FolderStatus(
        finished=len(finished),
        missing=len(ledger) - len(finished),
        segments=len(segments_of(store)),
        temporary=sum(1 for _ in _leftovers(store.path())) if store.is_local else None,
        in_use=_in_use(store.path()) if store.is_local else None,
        test_only=sum(ledger.of(output)[-1].test_only for output in finished),
    )


def verify(root: str, on_checked: Callable[[int, int], None] = lambda done, total: None) -> Iterator[Checked]:
    """Compare the digest of every output with the ledger.

    Args:
        on_checked: called with the number of outputs checked and their total.

    Raises:
        UsageError: as for `status`.
    """
    store, ledger = _opened(root)
    there = _existing(store)
    for number, output in enumerate(sorted(ledger), start=1):
        if there(output) is None:
            yield Checked(output, "missing")
        else:
            digest = digest_of(store.url(output))
            known = {known.output_sha256.hex(): known for known in ledger.of(output)}
            found = known.get(digest)
            yield Checked(output, "changed") if found is None else Checked(output, "intact", found.test_only)
        on_checked(number, len(ledger))


def clean(folder: Path) -> int:
    """Remove the incomplete outputs of killed runs and merge the ledger. Returns the number of files removed.

    Raises:
        UsageError: as for `status`, or a run writes into the folder.
    """
    store, _ = _opened(str(folder))
    removed = 0
    leftovers = list(_leftovers(folder))
    with output_lock(folder):
        for path in leftovers:
            with suppress(OSError):
                path.unlink(missing_ok=True)
                removed += 1
        merge_segments(store)
    return removed


def _opened(root: str) -> tuple[Store, Ledger]:
    store = Store(root)
    if store.is_local and not store.path().is_dir():
        raise UsageError(f"{root}: is no folder; name the output folder of earlier runs")
    ledger = read_ledger(store)
    if not len(ledger) and not segments_of(store):
        raise UsageError(f"{root}: has no ledger, so no run wrote here; name the folder that was given with -o")
    return store, ledger


def _existing(store: Store) -> Callable[[str], Stored | None]:
    if store.is_local:
        return lambda output: local_info(store.path(output))
    return {stored.place: stored for stored in store.listed()}.get


def _leftovers(folder: Path) -> Iterator[Path]:
    yield from folder.rglob(_TEMPORARY)


def _in_use(folder: Path) -> bool:
    if not (folder / STATE / "lock").exists():
        return False
    try:
        with output_lock(folder, wait=0):
            return False
    except UsageError:
        return True
