"""Locks an output folder for one run, and lays out its state folder.

OUT/.pca_protect/journal.jsonl      finished pictures
                 journal.RANK.jsonl the same for one of several processes, until merged
                 lock               held while a run writes here; the system releases it when the process ends
                 tmp/               incomplete outputs
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pca_protect.batch.journal import merge_parts
from pca_protect.errors import UsageError

STATE = ".pca_protect"


@dataclass(frozen=True)
class State:
    """The state folder, which holds the journal, and its subfolder for incomplete outputs."""

    folder: Path
    temporary: Path


def state_of(output: Path) -> State:
    return State(output / STATE, output / STATE / "tmp")


@contextmanager
def output_lock(output: Path) -> Iterator[State]:
    """Create the folder if missing, lock it, remove the temporary files of killed runs, and release it on exit. If no picture
    was finished, the folder is restored to its previous state.

    Raises:
        UsageError: another run holds the lock, or the folder cannot be created or written to.
    """
    state = state_of(output)
    created = not state.folder.exists()
    lock = FileLock(state.folder / "lock", timeout=0)
    try:
        state.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"{output}: is in use by another run; wait until it ends, or choose another folder with -o"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise UsageError(f"-o {output}: cannot be written to ({_reason(error)}); choose another folder") from error
    try:
        try:
            shutil.rmtree(state.temporary, ignore_errors=True)
            state.temporary.mkdir(exist_ok=True)
            merge_parts(state.folder)
        except OSError as error:
            raise UsageError(f"-o {output}: cannot be written to ({_reason(error)}); choose another folder") from error
        yield state
    finally:
        _remove_if_unused(state, created=created)
        lock.release()


def _remove_if_unused(state: State, *, created: bool) -> None:
    """Remove a state folder that this run created and that has no journal, and the output folder if empty."""
    if not created or {path.name for path in state.folder.iterdir()} - {"lock", "tmp"}:
        return
    shutil.rmtree(state.folder, ignore_errors=True)
    with suppress(OSError):  # the folder is not empty
        state.folder.parent.rmdir()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
