"""Imports of optional dependencies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pca_protect.errors import UsageError


@contextmanager
def needs_extra(extra: str = "eval") -> Iterator[None]:
    """Context for imports of optional packages. For `eval` it also silences the loading messages of diffusers and transformers.

    Args:
        extra: the extra that installs the packages.

    Raises:
        UsageError: a package is not installed.
    """
    try:
        if extra == "eval":
            _silence_libraries()
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; run pip install 'pca-protect[{extra}]'") from error


def _silence_libraries() -> None:
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    for log in (diffusers_log, transformers_log):
        log.set_verbosity_error()
        log.disable_progress_bar()
