"""A whole vision-language model with random weights and a chat template: it answers nonsense."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

WORDS = (
    "<unk>",
    "<pad>",
    "<s>",
    "</s>",
    "yes",
    "no",
    "A",
    "B",
    "day",
    "sky",
    "Original",
    "picture",
    "Edit",
    "User",
    "Assistant",
    ":",
)
TEMPLATE = (
    "<s>{% for message in messages %}{{ message['role'] | capitalize }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }} {% else %}<image>{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant : {% endif %}"
)
_SIDE_PX, _PATCH_PX, _SCALE = 32, 8, 2


def save_tiny_judge(folder: Path, *, words: tuple[str, ...] = WORDS, fillers: int = 400) -> None:
    """Args:
    words: of the vocabulary.
    fillers: further words, which a random model is as likely to answer.
    """
    torch.manual_seed(0)
    vocabulary = [*words, *(f"filler{number}" for number in range(fillers))]
    backend = Tokenizer(models.WordLevel({word: place for place, word in enumerate(vocabulary)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    pictures = Idefics3ImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": _SIDE_PX}, max_image_size={"longest_edge": _SIDE_PX}
    )
    tokens = (_SIDE_PX // _PATCH_PX // _SCALE) ** 2
    processor = Idefics3Processor(pictures, tokenizer, image_seq_len=tokens, chat_template=TEMPLATE)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Idefics3Config(
        vision_config={**size, "image_size": _SIDE_PX, "patch_size": _PATCH_PX},
        text_config={
            **size,
            "model_type": "llama",
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "pad_token_id": 1,
        },
        image_token_id=processor.image_token_id,
        scale_factor=_SCALE,
    )
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
