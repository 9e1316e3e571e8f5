"""Models of transformers with their processors. Every failure is a one-sentence error."""

from __future__ import annotations

from typing import Any

from pca_protect.errors import ModelError, first_line

_DAMAGE = (OSError, ValueError, TypeError, LookupError, RuntimeError)


def load_model(what: str, loader: Any, source: str, *, offline: bool) -> Any:  # noqa: ANN401 - of many classes
    """A model on the CPU with complete weights: transformers would initialise missing ones at random.

    Args:
        what: begins the messages.
        loader: one of transformers' `AutoModel...`.
        source: hub id or folder.
        offline: touch no network.

    Raises:
        ModelError: the model is missing, damaged or incomplete, or a library that it needs is not installed.
    """
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415
    from safetensors import SafetensorError  # noqa: PLC0415

    try:
        model, loaded = loader.from_pretrained(
            source, use_safetensors=True, local_files_only=offline, output_loading_info=True
        )
    except ImportError as error:
        raise _needs_library(what, error) from error
    except (*_DAMAGE, SafetensorError, StrictDataclassError) as error:
        raise _does_not_load(what, error) from error
    if loaded["missing_keys"]:
        raise _incomplete(what)
    return model


def load_processor(what: str, loader: Any, source: str, *, offline: bool) -> Any:  # noqa: ANN401 - of many classes
    """A processor; see `load_model`. One with a tokenizer has its vocabulary, which transformers would do without."""
    try:
        processor = loader.from_pretrained(source, local_files_only=offline)
        tokenizer = getattr(processor, "tokenizer", None)
        token_ids = [tokenizer(word).input_ids for word in ("day", "sky")] if tokenizer else [0, 1]
    except ImportError as error:
        raise _needs_library(what, error) from error
    except _DAMAGE as error:
        raise _does_not_load(what, error) from error
    if token_ids[0] == token_ids[1]:
        raise _incomplete(what)
    return processor


def _needs_library(what: str, error: ImportError) -> ModelError:
    return ModelError(f"{what} needs a library that is not installed ({first_line(error)}); install it")


def _does_not_load(what: str, error: Exception) -> ModelError:
    return ModelError(f"{what} does not load ({first_line(error)}); go online once")


def _incomplete(what: str) -> ModelError:
    return ModelError(f"{what} does not load (weights or vocabulary are missing); delete it and go online once")
