"""What the trainings of editors share: command-line options, and the export as a diffusers pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer

from training.vae import describe


def add_editor_options(parser: argparse.ArgumentParser, schedules: Iterable[str]) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder with pack-*.tar and captions.csv")
    parser.add_argument("--schedule", choices=list(schedules), default="cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and cached arrays")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--export", action="store_true", help="write the checkpoint reached so far and stop")


def export_pipeline(
    kind: type[DiffusionPipeline],
    model: nn.ModuleDict,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    scheduler: DDIMScheduler,
    *,
    run: Path,
    folder: Path,
) -> None:
    """Write the averaged weights as a complete pipeline in fp16, with a record of the training.

    Args:
        model: receives the weights of its parts `unet` and `text_encoder`.
        run: folder of the last checkpoint.
    """
    saved = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    model.load_state_dict(saved["average"])
    pipeline = kind(
        vae=vae,
        text_encoder=model["text_encoder"],
        tokenizer=tokenizer,
        unet=model["unet"],
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    describe(folder, saved["step"], saved["seconds"])
