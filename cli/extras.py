"""Around imports of what only an extra brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pca_protect.errors import UsageError


@contextmanager
def needs_extra(extra: str = "eval") -> Iterator[None]:
    """A missing optional package becomes one sentence. Around the evaluation module, what libraries say while they load models
    stays off the screen; their errors come as exceptions.

    Args:
        extra: what brings the package.
    """
    try:
        if extra == "eval":
            _hush_libraries()
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this needs {error.name}, which is not installed; `pip install 'pca-protect[{extra}]'` brings it"
        ) from error


def _hush_libraries() -> None:
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    for log in (diffusers_log, transformers_log):
        log.set_verbosity_error()
        log.disable_progress_bar()
