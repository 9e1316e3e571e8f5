"""Captions of the training photographs, prompts built from them, and a tokenizer with their vocabulary."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

LONGEST = 24
"""Tokens of a prompt, including start and end tokens."""

_WORDS = 1500


def load_captions(folder: Path) -> list[str]:
    """One caption per picture, in the order of `load_training_pictures`."""
    with (folder / "captions.csv").open(newline="", encoding="utf-8") as file:
        by_name = {(row["pack"], row["file"]): row["caption"] for row in csv.DictReader(file)}
    captions = []
    for pack in sorted(folder.glob("pack-*.tar")):
        with tarfile.open(pack) as archive:
            captions += [by_name[pack.name, Path(name).name] for name in archive.getnames() if name.endswith(".webp")]
    return captions


def prompt_for(caption: str, phrase: str, without: float, generator: np.random.Generator) -> str:
    """A random prompt for a picture in a style: empty, the phrase alone, or the phrase with the caption.

    Args:
        phrase: the style's prompt; empty for an unchanged photograph.
        without: probability of an empty prompt.
    """
    if generator.random() < without:
        return ""
    subject = caption if generator.random() < 0.5 else f"a photo of a {caption}"
    if not phrase:
        return subject
    return phrase if generator.random() < 0.6 else f"{subject}, {phrase}"


def make_tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer with byte pairs learned from these texts."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=_WORDS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        show_progress=False,
    )
    trained.train_from_iterator((text.lower().replace(",", " ,") for text in texts), trainer)
    vocab = trained.get_vocab()
    for character in pre_tokenizers.ByteLevel.alphabet():
        vocab.setdefault(f"{character}</w>", len(vocab))
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LONGEST)
