"""Editors that give the picture to a vision-language model too, and encode it at about one megapixel whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tiny_modern_editors
import torch
from conftest import smooth_picture
from diffusers import DiffusionPipeline, QwenImageEditPipeline, QwenImageEditPlusPipeline
from tiny_editors import SIDE

from pca_protect import UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import editor_of
from pca_protect.eval.pictures import Rgb

ONE_MEGAPIXEL = 1024
SORTS: dict[str, tuple[Callable[[], DiffusionPipeline], int]] = {
    "qwen-image-edit": (lambda: tiny_modern_editors.qwen_image_edit(QwenImageEditPipeline), SIDE),
    "qwen-image-edit-2509": (lambda: tiny_modern_editors.qwen_image_edit(QwenImageEditPlusPipeline), SIDE),
    "longcat-edit": (tiny_modern_editors.longcat_edit, ONE_MEGAPIXEL),
}
"""How each is made, and the side of its pictures in pixels."""


def loaded(pipeline: DiffusionPipeline, size_px: int | None) -> Editor:
    return editor_of(pipeline, "tiny", "reference", device=torch.device("cpu"), size_px=size_px)


def picture(seed: int, side: int) -> Rgb:
    return np.asarray(smooth_picture(side, side, seed=seed))


@pytest.mark.parametrize("sort", SORTS)
def test_every_setting_changes_an_edit(sort: str):
    """One step each, since every edit encodes a megapixel."""
    build, side = SORTS[sort]
    editor = loaded(build(), side)
    sizes: set[tuple[int, ...]] = set()
    editor.pipeline.vae.encoder.register_forward_pre_hook(lambda _, inputs: sizes.add(tuple(inputs[0].shape[-2:])))
    settings = replace(editor.settings, steps=1)

    def edit(seed: int = 0, prompt: str = "at night", noise: int = 1, **changes: float) -> Rgb:
        return editor.edit([picture(seed, side)], prompt, replace(settings, **changes), seeds=[noise])[0]

    first = edit()
    assert first.shape == (side, side, 3)
    assert sizes == {(ONE_MEGAPIXEL, ONE_MEGAPIXEL)}
    assert not np.array_equal(first, edit(seed=1))
    assert not np.array_equal(first, edit(prompt="add snow"))
    assert not np.array_equal(first, edit(noise=2))
    assert not np.array_equal(first, edit(guidance=1.0))
    assert not np.array_equal(first, edit(steps=2))


def test_longcat_edit_has_one_size():
    """Its edits have one megapixel whatever the picture's size."""
    pipeline = tiny_modern_editors.longcat_edit()
    assert loaded(pipeline, None).size_px == ONE_MEGAPIXEL
    with pytest.raises(UsageError, match="size 512: tiny edits 1024 px alone; give that size or none"):
        loaded(pipeline, 512)
