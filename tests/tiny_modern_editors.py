"""Whole pipelines of today's editors with random weights: FLUX.1 and later, Qwen-Image, Z-Image, LongCat-Image, Sana Sprint."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderDC,
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
    LongCatImageEditPipeline,
    LongCatImageTransformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tiny_editors import WIDTH, shifted_kl
from tiny_text_encoders import HEADS, PictureProcessor, byte_tokenizer, flux_text, gemma, qwen3, qwen_vl
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3ForCausalLM,
    Qwen3Model,
)


def kontext() -> DiffusionPipeline:
    torch.manual_seed(0)
    return FluxKontextPipeline(**flux_text(), vae=shifted_kl(4), transformer=_flux(16), scheduler=_scheduler())


def flux_fill() -> DiffusionPipeline:
    """Its transformer sees packed latents, masked latents and an 8x8 mask per latent position."""
    torch.manual_seed(0)
    transformer = _flux(16 + 16 + 4 * 64, out_channels=16)
    return FluxFillPipeline(**flux_text(), vae=shifted_kl(4), transformer=transformer, scheduler=_scheduler())


def flux2() -> DiffusionPipeline:
    """With a tokenizer in place of the processor, which needs torchvision and is called with text alone."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    text = {**HEADS, "num_hidden_layers": 31, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(tokenizer)}
    vision = {**HEADS, "num_hidden_layers": 1, "head_dim": 8, "image_size": 28, "patch_size": 14}
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
    tokenizer, config = qwen3(layers=28)
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
    tokenizer, config = qwen3(layers=2)
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
    tokenizer, text_encoder = qwen_vl()
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
    tokenizer, text_encoder = qwen_vl()
    picture_processor = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56)
    return pipeline(
        vae=_qwen_vae(levels=6),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        processor=PictureProcessor(picture_processor, tokenizer),
        transformer=_qwen(),
        scheduler=_scheduler(use_dynamic_shifting=True),
    )


def longcat_edit() -> DiffusionPipeline:
    """As `qwen_image_edit`, with the 16 latent channels that diffusers assumes."""
    torch.manual_seed(0)
    tokenizer, text_encoder = qwen_vl()
    return LongCatImageEditPipeline(
        vae=shifted_kl(6, channels=16),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_processor=PictureProcessor(Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56), tokenizer),
        transformer=LongCatImageTransformer2DModel(
            in_channels=4 * 16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=[4, 6, 6],
        ),
        scheduler=_scheduler(use_dynamic_shifting=True),
    )


def sana_sprint() -> DiffusionPipeline:
    """As published: a text-to-image pipeline. Its VAE has no variance."""
    torch.manual_seed(0)
    tokenizer, text_encoder = gemma()
    widths = (8, 8, 8, 16)
    vae = AutoencoderDC(
        latent_channels=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(1,) * 4,
        decoder_layers_per_block=(1,) * 4,
        encoder_qkv_multiscales=((),) * 4,
        decoder_qkv_multiscales=((),) * 4,
        downsample_block_type="pixel_unshuffle",
        scaling_factor=0.5,
    )
    transformer = SanaTransformer2DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
        guidance_embeds=True,
        qk_norm="rms_norm_across_heads",
        timestep_scale=1000.0,
    )
    return SanaSprintPipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=SCMScheduler()
    )


EDITORS: dict[str, Callable[[], DiffusionPipeline]] = {
    "kontext": kontext,
    "flux-fill": flux_fill,
    "flux2": flux2,
    "klein": klein,
    "z-image": z_image,
    "qwen-image": qwen_image,
    "sana-sprint": sana_sprint,
}
"""Those that can be saved without torchvision."""


def _scheduler(**settings: object) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**settings)


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
