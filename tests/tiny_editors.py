"""Whole diffusers pipelines with random weights, a few hundred kilobytes each: one for every kind of editor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import tiny_kl
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from training.prompts import LONGEST, make_tokenizer

SIDE = 64
"""In pixels, of the pictures that all of them but `flux` edit."""

FLUX_SIDE = 128
"""diffusers takes 128 latent pixels for every FLUX, so the tiny one has a VAE that does not scale down."""

WIDTH = 16


def clip_tokenizer() -> CLIPTokenizer:
    return make_tokenizer(["at night", "add some snow"])


def t5_tokenizer() -> T5Tokenizer:
    """One piece for each letter."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz,"]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LONGEST)


def stable_diffusion(**scheduler: object) -> DiffusionPipeline:
    """Args:
    scheduler: settings of its scheduler beside the usual ones.
    """
    torch.manual_seed(0)
    return StableDiffusionImg2ImgPipeline(
        **clip("", CLIPTextModel),
        vae=tiny_kl(),
        unet=_unet(4),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, **scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def inpainting() -> DiffusionPipeline:
    """With the 9 channels of Stable Diffusion's own: latents, mask, masked latents."""
    torch.manual_seed(0)
    return StableDiffusionInpaintPipeline(
        **clip("", CLIPTextModel),
        vae=tiny_kl(),
        unet=_unet(9),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def instruct_pix2pix() -> DiffusionPipeline:
    """With 8 channels: latents, those of the picture."""
    torch.manual_seed(0)
    return StableDiffusionInstructPix2PixPipeline(
        **clip("", CLIPTextModel),
        vae=tiny_kl(),
        unet=_unet(8),
        scheduler=EulerAncestralDiscreteScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def xl() -> DiffusionPipeline:
    """As published: a text-to-image pipeline."""
    torch.manual_seed(0)
    return StableDiffusionXLPipeline(
        **clip("", CLIPTextModel),
        **clip("_2", CLIPTextModelWithProjection),
        vae=tiny_kl(),
        unet=_xl_unet(4),
        scheduler=EulerDiscreteScheduler(steps_offset=1),
        add_watermarker=False,
    )


def xl_inpainting() -> DiffusionPipeline:
    torch.manual_seed(0)
    return StableDiffusionXLInpaintPipeline(
        **clip("", CLIPTextModel),
        **clip("_2", CLIPTextModelWithProjection),
        vae=tiny_kl(),
        unet=_xl_unet(9),
        scheduler=EulerDiscreteScheduler(steps_offset=1),
        add_watermarker=False,
    )


def sd3() -> DiffusionPipeline:
    return _sd3(StableDiffusion3Pipeline, channels=4)


def sd3_inpainting() -> DiffusionPipeline:
    """With the 16 latent channels of Stable Diffusion 3: diffusers refuses others."""
    return _sd3(StableDiffusion3InpaintPipeline, channels=16)


def _sd3(
    pipeline: type[StableDiffusion3Pipeline] | type[StableDiffusion3InpaintPipeline], *, channels: int
) -> DiffusionPipeline:
    """Without its third text encoder, as people run it who lack the memory."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=SIDE // 8,
        patch_size=2,
        in_channels=channels,
        out_channels=channels,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=SIDE // 8,
    )
    return pipeline(
        **clip("", CLIPTextModelWithProjection),
        **clip("_2", CLIPTextModelWithProjection),
        text_encoder_3=None,
        tokenizer_3=None,
        vae=shifted_kl(levels=4, channels=channels),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def flux() -> DiffusionPipeline:
    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    t5 = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2)
    )
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        **clip("", CLIPTextModel),
        text_encoder_2=t5,
        tokenizer_2=tokenizer,
        vae=shifted_kl(levels=1),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


EDITORS: dict[str, Callable[[], DiffusionPipeline]] = {
    "stable-diffusion": stable_diffusion,
    "inpainting": inpainting,
    "instruct-pix2pix": instruct_pix2pix,
    "xl": xl,
    "xl-inpainting": xl_inpainting,
    "sd3": sd3,
    "sd3-inpainting": sd3_inpainting,
    "flux": flux,
}


def save(pipeline: DiffusionPipeline, folder: Path) -> Path:
    """The folder, that of a pipeline now."""
    pipeline.save_pretrained(folder)
    return folder


def with_safety_checker(editor: Path, folder: Path, *, threshold: float) -> Path:
    """The folder of a Stable Diffusion pipeline with a safety checker that blacks out edits of more than this cosine similarity
    with a vector of ones."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config={**vision, "image_size": 32, "patch_size": 8}, projection_dim=8)
    )
    torch.nn.init.constant_(checker.special_care_embeds_weights, 2.0)
    torch.nn.init.constant_(checker.concept_embeds_weights, threshold)
    pipeline = StableDiffusionPipeline.from_pretrained(
        editor,
        safety_checker=checker,
        feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    )
    return save(pipeline, folder)


def clip(suffix: str, kind: type[CLIPTextModel] | type[CLIPTextModelWithProjection]) -> dict[str, Any]:
    """A tokenizer and a text encoder under the names of a pipeline's parts."""
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1 if kind is CLIPTextModel else 2,
        num_attention_heads=2,
        max_position_embeddings=LONGEST,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return {f"tokenizer{suffix}": tokenizer, f"text_encoder{suffix}": kind(config)}


def _unet(channels: int, **more: Any) -> UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": SIDE // 8,
        "in_channels": channels,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**settings | more)


def _xl_unet(channels: int) -> UNet2DConditionModel:
    """It is told the size of the picture and what it was cropped from, in six numbers, beside the pooled prompt."""
    return _unet(
        channels,
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        use_linear_projection=True,
    )


def shifted_kl(levels: int, channels: int = 4) -> AutoencoderKL:
    """Of the generation of SD3: latents are shifted, there is no quant_conv."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8, *(16,) * (levels - 1)),
        latent_channels=channels,
        norm_num_groups=8,
        shift_factor=0.1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )
