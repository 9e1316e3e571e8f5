"""Metrics that may be undefined or unavailable: faces, and LPIPS and DISTS by default."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_faces import save_face_models, with_face

from pca_protect import ModelError
from pca_protect.eval.metrics import available
from pca_protect.eval.metrics.faces import DETECTOR_FILE, RECOGNISER_FILE, load_face_metric
from pca_protect.eval.metrics.load import Metrics, load_metrics
from pca_protect.eval.metrics.registry import DEFAULT_METRICS, METRICS
from pca_protect.eval.pictures import Rgb

GREY = np.full((128, 160, 3), 60, np.uint8)


@pytest.fixture(scope="module")
def face_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    save_face_models(folder)
    return folder


def face_metric(folder: Path) -> Callable[[Rgb, Rgb], float | None]:
    return load_face_metric(replace(METRICS["face-identity"], weights=str(folder), processor=str(folder)), offline=True)


@pytest.fixture(scope="module")
def identity(face_folder: Path) -> Callable[[Rgb, Rgb], float | None]:
    return face_metric(face_folder)


def test_one_person_is_more_alike_than_two(identity: Callable[[Rgb, Rgb], float | None]):
    original = with_face(GREY, 32, 64, person=1)
    same, other = (identity(original, with_face(GREY, 64, 32, person=person)) for person in (1, 2))
    assert identity(original, original) == pytest.approx(1, abs=1e-6)
    assert same is not None
    assert other is not None
    assert other < same - 0.001


def test_the_person_may_be_any_of_the_faces_in_an_edit(identity: Callable[[Rgb, Rgb], float | None]):
    original = with_face(GREY, 32, 64, person=1)
    stranger = with_face(GREY, 32, 96, person=2)
    alone, group = identity(original, stranger), identity(original, with_face(stranger, 64, 32, person=1))
    assert alone is not None
    assert group is not None
    assert group > alone + 0.001


def test_without_a_face_there_is_no_identity_to_keep_or_it_is_lost(identity: Callable[[Rgb, Rgb], float | None]):
    portrait = with_face(GREY, 32, 64)
    assert identity(GREY, portrait) is None
    assert identity(GREY, GREY) is None
    assert identity(portrait, GREY) == 0


def test_large_pictures_are_measured_at_the_detectors_size(identity: Callable[[Rgb, Rgb], float | None]):
    portrait = with_face(np.full((480, 640, 3), 60, np.uint8), 96, 320, person=1)
    large = portrait.repeat(3, axis=0).repeat(3, axis=1)
    assert identity(portrait, large) == pytest.approx(1, abs=1e-3)
    assert identity(large, portrait) == pytest.approx(1, abs=1e-3)


def test_an_undefined_metric_is_left_out_of_the_distances(identity: Callable[[Rgb, Rgb], float | None]):
    metrics = Metrics({**load_metrics(["flip"], size_px=128).pairs, "face-identity": identity}, {}, {})
    portrait = with_face(GREY, 32, 64)
    found = metrics.distances_of([(GREY, portrait), (portrait, GREY), (portrait, portrait)])
    assert [list(one) for one in found] == [["flip"], ["flip", "face-identity"], ["flip", "face-identity"]]
    assert found[1]["face-identity"] == 1
    assert found[2]["face-identity"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("file", [DETECTOR_FILE, RECOGNISER_FILE])
def test_a_missing_or_damaged_face_model_is_named(tmp_path: Path, file: str, capfd: pytest.CaptureFixture[str]):
    save_face_models(tmp_path)
    (tmp_path / file).write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match=rf"^face-identity: .*{file}.* does not load \(.+\); delete") as refused:
        face_metric(tmp_path)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""
    (tmp_path / file).unlink()
    with pytest.raises(ModelError, match=rf"^face-identity: .* \({file}\) is not on this machine; go online once"):
        face_metric(tmp_path)


def test_face_models_are_not_fetched_offline():
    with pytest.raises(ModelError, match=rf"opencv/face_detection_yunet \({DETECTOR_FILE}\) is not on this machine"):
        load_metrics(["face-identity"], size_px=256, offline=True)


def log_with(folder: Path, metrics: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "results.jsonl").write_text(json.dumps({"config": {"metrics": metrics}}) + "\n")


def test_learned_metrics_join_where_their_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(available.importlib.util, "find_spec", lambda name: object() if name == "torchvision" else None)
    assert available.default_metrics(tmp_path / "run") == DEFAULT_METRICS
    checkpoint = tmp_path / "checkpoints" / available.VGG_FILE
    checkpoint.parent.mkdir()
    checkpoint.touch()
    assert available.default_metrics(tmp_path / "run") == (*DEFAULT_METRICS, "lpips", "dists")
    monkeypatch.setattr(available.importlib.util, "find_spec", lambda name: None)
    assert available.default_metrics(tmp_path / "run") == DEFAULT_METRICS, "without torchvision"


def test_a_resumed_run_keeps_its_default_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    both = (*DEFAULT_METRICS, *available.LEARNED_METRICS)
    for has, earlier in ((True, DEFAULT_METRICS), (False, both)):
        monkeypatch.setattr(available, "has_learned_weights", lambda has=has: has)
        log_with(tmp_path, earlier)
        assert available.default_metrics(tmp_path) == earlier
        log_with(tmp_path, ("flip",))
        assert available.default_metrics(tmp_path) == (both if has else DEFAULT_METRICS), (
            "others are refused by Results"
        )
        (tmp_path / "results.jsonl").write_text("{")
        assert available.default_metrics(tmp_path) == (both if has else DEFAULT_METRICS)
