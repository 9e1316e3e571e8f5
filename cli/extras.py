"""Imports of optional dependencies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pca_protect.errors import UsageError

_MODULES = {
    "eval": ("flip_evaluator", "jinja2", "matplotlib", "scipy", "skimage", "torchmetrics"),
    "serve": ("fastapi", "fastapi_offline", "prometheus_client", "uvicorn"),
    "ui": ("gradio",),
}
"""What each extra installs and its commands import. Looked for before torch, whose import takes seconds."""


@contextmanager
def needs_extra(extra: str = "eval", *, wholly: bool = True) -> Iterator[None]:
    """Context for imports of optional packages. For `eval` it also silences the loading messages of diffusers and transformers.

    Args:
        extra: the extra that installs the packages.
        wholly: refuse at once if a package of the extra is missing; otherwise only an import of it inside the context fails.

    Raises:
        UsageError: a package is not installed.
    """
    if wholly:
        require_extra(extra)
    try:
        if extra == "eval":
            _silence_libraries()
        yield
    except ModuleNotFoundError as error:
        raise _missing(extra, error.name) from error


def require_extra(extra: str) -> None:
    """Raises:
    UsageError: a package of the extra is not installed.
    """
    missing = next((module for module in _MODULES[extra] if find_spec(module) is None), None)
    if missing is not None:
        raise _missing(extra, missing)


def _missing(extra: str, module: str | None) -> UsageError:
    return UsageError(f"{module} is not installed; run pip install 'pca-protect[{extra}]'")


def _silence_libraries() -> None:
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    for log in (diffusers_log, transformers_log):
        log.set_verbosity_error()
        log.disable_progress_bar()
