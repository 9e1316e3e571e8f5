"""Text encoders of today's editors with random weights, and their tokenizers."""

from __future__ import annotations

from tiny_editors import WIDTH, clip, t5_tokenizer
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextModel,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3Config,
    T5Config,
    T5EncoderModel,
)
from transformers.processing_utils import ProcessorMixin

_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"),
    *("<|video_pad|>", "<think>", "</think>"),
)
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)
HEADS = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}


def flux_text() -> dict[str, object]:
    tokenizer = t5_tokenizer()
    config = T5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2)
    return {**clip("", CLIPTextModel), "text_encoder_2": T5EncoderModel(config), "tokenizer_2": tokenizer}


def byte_tokenizer() -> Qwen2Tokenizer:
    """A token for each byte, and those of a chat."""
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for token in _SPECIAL:
        vocabulary[token] = len(vocabulary)
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(_SPECIAL[3:7]),
        chat_template=_CHAT,
        model_max_length=4096,
    )


def qwen3(layers: int) -> tuple[Qwen2Tokenizer, Qwen3Config]:
    tokenizer = byte_tokenizer()
    config = Qwen3Config(
        **HEADS,
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
    )
    return tokenizer, config


def gemma() -> tuple[Qwen2Tokenizer, Gemma2Model]:
    tokenizer = byte_tokenizer()
    config = Gemma2Config(
        **HEADS,
        vocab_size=len(tokenizer),
        num_hidden_layers=1,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
    )
    return tokenizer, Gemma2Model(config)


def qwen_vl() -> tuple[Qwen2Tokenizer, Qwen2_5_VLForConditionalGeneration]:
    tokenizer = byte_tokenizer()
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    text = {**HEADS, "num_hidden_layers": 2, "num_key_value_heads": 2, "max_position_embeddings": 4096}
    config = Qwen2_5_VLConfig(
        text_config={
            **text,
            "vocab_size": len(tokenizer),
            "rope_parameters": rope,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            **{"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
            **{"patch_size": 14, "fullatt_block_indexes": [0]},
        },
        **{
            name: tokenizer.convert_tokens_to_ids(token)
            for name, token in {
                "image_token_id": "<|image_pad|>",
                "video_token_id": "<|video_pad|>",
                "vision_start_token_id": "<|vision_start|>",
                "vision_end_token_id": "<|vision_end|>",
            }.items()
        },
    )
    return tokenizer, Qwen2_5_VLForConditionalGeneration(config)


class PictureProcessor(Qwen2VLProcessor):
    """Qwen's processor without its part for videos, which needs torchvision."""

    def __init__(self, image_processor: Qwen2VLImageProcessorPil, tokenizer: Qwen2Tokenizer) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([self.image_token, self.video_token])
        ProcessorMixin.__init__(self, image_processor, tokenizer)
