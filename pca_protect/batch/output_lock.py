"""Locks an output folder for one run, or for the shards of one run, and lays out its state folder.

OUT/.pca_protect/lock                 held while a run writes here; the system releases it when the process ends
                 shard-I-of-N.lock    the same for a shard
                 RUN-K.worker.lock    the same for a worker process of a run
                 ledger/              finished pictures, see `ledger`
                 tmp/RUN/             incomplete outputs
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pca_protect.batch.ledger import STATE
from pca_protect.batch.request import Shard
from pca_protect.errors import UsageError

_SECONDS = 10.0


@contextmanager
def output_lock(output: Path, shard: Shard | None = None, *, wait: float = _SECONDS) -> Iterator[Path]:
    """Create the folder if missing, lock it, remove the temporary files of killed runs, and release it on exit. If no picture
    was finished, the folder is restored to its previous state.

    Args:
        wait: seconds to wait for shards that are starting, and for workers whose run has just ended.

    Yields:
        The folder for incomplete outputs.

    Raises:
        UsageError: another run holds the lock, or the folder cannot be created or written to.
    """
    state = output / STATE
    existing = next(parent for parent in (state, *state.absolute().parents) if parent.exists())
    with ExitStack() as held:
        try:
            state.mkdir(parents=True, exist_ok=True)
            name = _acquire(state, shard, wait, held)
            temporary = state / "tmp" / name
            shutil.rmtree(temporary if shard else state / "tmp", ignore_errors=True)
            temporary.mkdir(parents=True, exist_ok=True)
        except Timeout as error:
            raise UsageError(
                f"{output}: is in use by another run; wait until it ends, or choose another folder with -o"
            ) from error
        except (OSError, NotImplementedError) as error:
            _remove_if_unused(state, existing)
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"-o {output}: cannot be written to ({reason}); choose another folder") from error
        try:
            yield temporary
        finally:
            if shard:
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                _remove_if_unused(state, existing)


@contextmanager
def worker_lock(output: Path, name: str) -> Iterator[None]:
    """The lock of a worker process, so that no run begins while a worker of a killed run still writes."""
    path = output / STATE / f"{name}.worker.lock"
    with FileLock(path, timeout=0):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def sole_writer(output: Path, shard: Shard | None) -> Iterator[bool]:
    """Whether no other run or shard writes here, for as long as the context lasts. The caller holds its own lock."""
    if shard is None:
        yield True
        return
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(output / STATE / "lock", timeout=0))
            for path in _locks_of_others(output / STATE, f"shard-{shard.index}-of-{shard.count}.lock"):
                _require_free(path, 0)
            free = True
        except Timeout:
            free = False
        yield free


def _acquire(state: Path, shard: Shard | None, wait: float, held: ExitStack) -> str:
    """Acquire the lock of a run or a shard, and return its name.

    Raises:
        Timeout: another run holds it, or a shard of a run that is divided differently.
    """
    if shard is None:
        held.enter_context(FileLock(state / "lock", timeout=0))
        for path in _locks_of_others(state):
            _require_free(path, wait if path.name.endswith(".worker.lock") else 0)
        return "run"
    own = f"shard-{shard.index}-of-{shard.count}"
    with FileLock(state / "lock", timeout=wait):
        held.enter_context(FileLock(state / f"{own}.lock", timeout=0))
        for path in _locks_of_others(state, f"{own}.lock"):
            if not path.name.endswith((f"-of-{shard.count}.lock", ".worker.lock")):
                _require_free(path, 0)
    return own


def _locks_of_others(state: Path, *own: str) -> list[Path]:
    return [path for path in sorted(state.glob("*.lock")) if path.name not in own]


def _require_free(path: Path, seconds: float) -> None:
    """Remove a lock file that nobody holds.

    Raises:
        Timeout: it is held.
    """
    with FileLock(path, timeout=seconds):
        path.unlink(missing_ok=True)


def _remove_if_unused(state: Path, existing: Path) -> None:
    """Remove a state folder without a ledger, and folders above it that did not exist before and are empty."""
    with suppress(OSError):  # somebody else removed it, or a folder is not empty
        if existing == state or {path.name for path in state.iterdir()} - {"lock", "tmp"}:
            return
        shutil.rmtree(state, ignore_errors=True)
        for parent in state.absolute().parents:
            if parent == existing.absolute():
                break
            parent.rmdir()
