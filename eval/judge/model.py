"""A vision-language model that answers with one of two words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from pca_protect.errors import ModelError, first_line
from pca_protect.eval.hub_model import load_model, load_processor
from pca_protect.eval.pictures import Rgb

TOP = 10
"""An answer counts if one of its words is among this number of the likeliest next tokens."""


@dataclass(frozen=True)
class Answer:
    """Attributes:
    choice: the likelier of the two words; None if neither is among the likeliest tokens.
    probability: of the first word, among the two words.
    """

    choice: str | None
    probability: float


Ask = Callable[[Sequence[str | Rgb], tuple[str, str]], Answer]
"""(texts and pictures, the two words) -> answer."""


def load_judge(source: str, device: torch.device, dtype: torch.dtype, *, offline: bool = False) -> Ask:
    """A model of transformers' `AutoModelForImageTextToText` with a chat template.

    It generates nothing: the next token's probabilities are summed over the spellings of each word.

    Args:
        source: hub id or folder.
        offline: touch no network.

    Raises:
        ModelError: the model is missing, damaged or has no chat template, a library is missing; from the returned function: a
            word is not a token of the model, or it cannot take this number of pictures.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: PLC0415

    what = f"judge {source}"
    processor = load_processor(what, AutoProcessor, source, offline=offline)
    if not getattr(processor, "chat_template", None):
        raise ModelError(f"{what}: has no chat template; choose a vision-language model that follows instructions")
    model = load_model(what, AutoModelForImageTextToText, source, offline=offline).to(device, dtype).eval()

    def ask(shown: Sequence[str | Rgb], options: tuple[str, str]) -> Answer:
        spellings = [_token_ids(what, processor.tokenizer, word) for word in options]
        try:
            inputs = processor.apply_chat_template(
                [{"role": "user", "content": [_part(one) for one in shown]}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            ).to(device, dtype)
            with torch.no_grad():
                logits = model(**inputs).logits[0, -1].float()
        except (ValueError, TypeError, LookupError, RuntimeError, ImportError) as error:
            raise ModelError(f"{what}: cannot answer ({first_line(error)}); choose another model") from error
        return _answer(logits, options, spellings)

    return ask


def _answer(logits: torch.Tensor, options: tuple[str, str], spellings: Sequence[Sequence[int]]) -> Answer:
    """The answer behind the logits `(V,)` of the next token.

    Args:
        spellings: token ids of each word.
    """
    likeliest = set(logits.topk(min(TOP, logits.numel())).indices.tolist())
    first, second = (float(torch.logsumexp(logits[list(ids)], 0)) for ids in spellings)
    probability = float(torch.sigmoid(torch.tensor(first - second)))
    if likeliest.isdisjoint(spellings[0]) and likeliest.isdisjoint(spellings[1]):
        return Answer(None, probability)
    return Answer(options[0] if first >= second else options[1], probability)


def _token_ids(what: str, tokenizer: Any, word: str) -> list[int]:  # noqa: ANN401 - of many classes
    """Tokens that spell a word on their own, in lower and upper case and with a space before it."""
    found = set()
    for spelling in {word, word.capitalize(), word.upper()}:
        for text in (spelling, f" {spelling}"):
            ids = tokenizer.encode(text, add_special_tokens=False)
            if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
                found.add(ids[0])
    if not found:
        raise ModelError(f"{what}: has no token for the answer {word!r}; choose another model")
    return sorted(found)


def _part(one: str | Rgb) -> dict[str, object]:
    if isinstance(one, str):
        return {"type": "text", "text": one}
    return {"type": "image", "image": Image.fromarray(np.ascontiguousarray(one))}
