"""Whole pipelines of today's editors with random weights: FLUX.1 and later, Qwen-Image, Z-Image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tiny_editors import WIDTH, clip, shifted_kl, t5_tokenizer
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextModel,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
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
_HEADS = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}


def kontext() -> DiffusionPipeline:
    torch.manual_seed(0)
    return FluxKontextPipeline(**_flux_text(), vae=shifted_kl(4), transformer=_flux(16), scheduler=_scheduler())


def flux_fill() -> DiffusionPipeline:
    """Its transformer sees packed latents, masked latents and an 8x8 mask per latent position."""
    torch.manual_seed(0)
    transformer = _flux(16 + 16 + 4 * 64, out_channels=16)
    return FluxFillPipeline(**_flux_text(), vae=shifted_kl(4), transformer=transformer, scheduler=_scheduler())


def flux2() -> DiffusionPipeline:
    """With a tokenizer in place of the processor, which needs torchvision and is called with text alone."""
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    text = {**_HEADS, "num_hidden_layers": 31, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(tokenizer)}
    vision = {**_HEADS, "num_hidden_layers": 1, "head_dim": 8, "image_size": 28, "patch_size": 14}
    text_encoder = Mistral3ForConditionalGeneration(
        Mistral3Config(
            text_config={"model_type": "mistral", **text, "max_position_embeddings": 2048},
            vision_config={"model_type": "pixtral", **vision},
            image_token_index=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        )
    )
    return Flux2Pipeline(
        vae=_flux2_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=_flux2(guidance_embeds=True),
        scheduler=_scheduler(use_dynamic_shifting=True),
    )


def klein(*, distilled: bool = False) -> DiffusionPipeline:
    torch.manual_seed(0)
    tokenizer, config = _qwen3(layers=28)
    return Flux2KleinPipeline(
        vae=_flux2_vae(),
        text_encoder=Qwen3ForCausalLM(config),
        tokenizer=tokenizer,
        transformer=_flux2(guidance_embeds=False),
        scheduler=_scheduler(use_dynamic_shifting=True),
        is_distilled=distilled,
    )


def z_image() -> DiffusionPipeline:
    """As published: a text-to-image pipeline."""
    torch.manual_seed(0)
    tokenizer, config = _qwen3(layers=2)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 64, 64],
    )
    return ZImagePipeline(
        vae=shifted_kl(4),
        text_encoder=Qwen3Model(config),
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=_scheduler(use_dynamic_shifting=True),
    )


def qwen_image() -> DiffusionPipeline:
    """As published: a text-to-image pipeline."""
    torch.manual_seed(0)
    tokenizer, text_encoder = _qwen_vl()
    return QwenImagePipeline(
        vae=_qwen_vae(levels=4),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=_qwen(),
        scheduler=_scheduler(use_dynamic_shifting=True),
    )


def qwen_image_edit(pipeline: type[QwenImageEditPipeline] | type[QwenImageEditPlusPipeline]) -> DiffusionPipeline:
    """It encodes every picture at 1024x1024 px, hence the VAE of six levels. Cannot be saved: see `PictureProcessor`."""
    torch.manual_seed(0)
    tokenizer, text_encoder = _qwen_vl()
    picture_processor = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56)
    return pipeline(
        vae=_qwen_vae(levels=6),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        processor=PictureProcessor(picture_processor, tokenizer),
        transformer=_qwen(),
        scheduler=_scheduler(use_dynamic_shifting=True),
    )


class PictureProcessor(Qwen2VLProcessor):
    """Qwen's processor without its part for videos, which needs torchvision."""

    def __init__(self, image_processor: Qwen2VLImageProcessorPil, tokenizer: Qwen2Tokenizer) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([self.image_token, self.video_token])
        ProcessorMixin.__init__(self, image_processor, tokenizer)


EDITORS: dict[str, Callable[[], DiffusionPipeline]] = {
    "kontext": kontext,
    "flux-fill": flux_fill,
    "flux2": flux2,
    "klein": klein,
    "z-image": z_image,
    "qwen-image": qwen_image,
}
"""Those that can be saved without torchvision."""


def _scheduler(**settings: object) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**settings)


def _flux_text() -> dict[str, object]:
    tokenizer = t5_tokenizer()
    config = T5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2)
    return {**clip("", CLIPTextModel), "text_encoder_2": T5EncoderModel(config), "tokenizer_2": tokenizer}


def _flux(channels: int, out_channels: int | None = None) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=channels,
        out_channels=out_channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )


def _flux2(*, guidance_embeds: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,  # three layers of the text encoder
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )


def _flux2_vae() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=64,
    )


def _byte_tokenizer() -> Qwen2Tokenizer:
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


def _qwen3(layers: int) -> tuple[Qwen2Tokenizer, Qwen3Config]:
    tokenizer = _byte_tokenizer()
    config = Qwen3Config(
        **_HEADS,
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
    )
    return tokenizer, config


def _qwen_vl() -> tuple[Qwen2Tokenizer, Qwen2_5_VLForConditionalGeneration]:
    tokenizer = _byte_tokenizer()
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    text = {**_HEADS, "num_hidden_layers": 2, "num_key_value_heads": 2, "max_position_embeddings": 4096}
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


def _qwen() -> QwenImageTransformer2DModel:
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )


def _qwen_vae(levels: int) -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1] * levels,
        num_res_blocks=1,
        temperal_downsample=[False] * (levels - 1),
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
