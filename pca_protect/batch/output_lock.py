"""An output folder that one run has for itself, and what it keeps there about its work.

OUT/.pca_protect/journal.jsonl      what is finished
                 journal.RANK.jsonl the same, of a process among several, until the run merges it
                 lock               held while a run writes here; the system frees it when that run ends, however it does
                 tmp/               outputs until they are whole
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
    """Where a run keeps its journal, and its files until they are whole."""

    folder: Path
    temporary: Path


def state_of(output: Path) -> State:
    return State(output / STATE, output / STATE / "tmp")


@contextmanager
def output_lock(output: Path) -> Iterator[State]:
    """Make the folder if need be, lock it, clear away what a killed run left, and free it at the end; a folder
    in which nothing was finished is left as it was found.

    Raises:
        UsageError: another run is writing there, or the folder cannot be made or written to.
    """
    state = state_of(output)
    made = not state.folder.exists()
    lock = FileLock(state.folder / "lock", timeout=0)
    try:
        state.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"{output}: another run is writing there; wait until it ends, or choose another folder with -o"
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
        _forget_nothing_done(state, made=made)
        lock.release()


def _forget_nothing_done(state: State, *, made: bool) -> None:
    """Where this run made the state folder and nothing is remembered in it, the output folder is left as it was found."""
    if not made or {path.name for path in state.folder.iterdir()} - {"lock", "tmp"}:
        return
    shutil.rmtree(state.folder, ignore_errors=True)
    with suppress(OSError):  # it was there before, or somebody has put something there
        state.folder.parent.rmdir()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
