"""The ComfyUI node and the diffusers example, run without ComfyUI and without a network."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import ROOT, smooth_picture
from PIL import Image
from torch import Tensor

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def node() -> ModuleType:
    """The module as ComfyUI imports it: from its folder, under a name of its own."""
    file = EXAMPLES / "comfyui" / "__init__.py"
    spec = importlib.util.spec_from_file_location("custom_node", file, submodule_search_locations=[str(file.parent)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def saved_by_comfyui(image: Tensor) -> np.ndarray:
    """The 8-bit file of ComfyUI's "Save Image", which truncates."""
    return np.clip(255.0 * image.numpy(), 0, 255).astype(np.uint8)


def test_a_batch_stays_within_the_budget_after_truncation(node: ModuleType):
    images = torch.stack(
        [torch.from_numpy(np.asarray(smooth_picture(40, 56, seed=seed)).astype(np.float32) / 255) for seed in (1, 2)]
    )
    (mapped,) = node.NODE_CLASS_MAPPINGS.values()
    protected, summary = mapped().protect(images, "pocket", "diffusion", "paper", 4)
    assert protected.shape == images.shape
    assert 0 <= protected.min() <= protected.max() <= 1
    before = (255 * images).round().numpy()
    change = np.abs(saved_by_comfyui(protected).astype(int) - before)
    assert change.max() == 4
    assert len(summary.splitlines()) == 2


def test_every_level_survives_truncation(node: ModuleType):
    levels = torch.arange(256, dtype=torch.float32)
    values = levels.add(node._ROUNDING).div(255).clamp(max=1)
    np.testing.assert_array_equal(saved_by_comfyui(values), levels.numpy())


def test_the_mask_of_a_node_limits_the_change(node: ModuleType):
    image = torch.from_numpy(np.asarray(smooth_picture(40, 40, seed=3)).astype(np.float32) / 255)[None]
    mask = torch.zeros(1, 40, 40)
    mask[:, :, 20:] = 1
    protected, _ = node.ProtectAgainstEditing().protect(image, "pocket", "diffusion", "instant", 16, mask=mask)
    change = np.abs(saved_by_comfyui(protected).astype(int) - (255 * image).round().numpy())
    assert change[:, :, :20].max() == 0
    assert change[:, :, 20:].max() > 8


def test_inputs_of_the_node_are_arguments_of_its_function(node: ModuleType):
    inputs = node.ProtectAgainstEditing.INPUT_TYPES()
    names = node.ProtectAgainstEditing.protect.__code__.co_varnames[1:7]
    assert (*inputs["required"], *inputs["optional"]) == names
    for kinds, *rest in inputs["required"].values():
        if isinstance(kinds, list):
            assert rest[0]["default"] in kinds


def test_the_pipeline_is_protected_with_its_own_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sheet = tmp_path / "edits.png"
    arguments = ["--size", "64", "--steps", "2", "--output", str(sheet)]
    monkeypatch.setattr(sys, "argv", ["diffusers_pipeline.py", *arguments])
    runpy.run_path(str(EXAMPLES / "diffusers_pipeline.py"), run_name="__main__")
    pictures = np.split(np.asarray(Image.open(sheet)).astype(int), 4, axis=1)
    assert 0 < np.abs(pictures[2] - pictures[0]).max() <= 16
    assert np.abs(pictures[3] - pictures[1]).max() > 16
