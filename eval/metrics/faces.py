"""Identity of a face: YuNet finds faces and SFace compares them, both through OpenCV. It is used only if named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pca_protect.errors import ModelError, first_line
from pca_protect.eval.metrics.registry import Metric
from pca_protect.eval.pictures import Rgb
from pca_protect.surrogates.hub import cached, fetch

DETECTOR_FILE = "face_detection_yunet_2023mar.onnx"
RECOGNISER_FILE = "face_recognition_sface_2021dec.onnx"

_DETECTION_PX = 640
"""Longest side given to the detector, which was trained on faces of 10 to 300 px."""
_LEAST_SCORE = 0.6


def load_face_metric(metric: Metric, *, offline: bool) -> Callable[[Rgb, Rgb], float | None]:
    """(reference, test) -> cosine similarity, in [-1, 1], of the largest face of `reference` and the most similar face of `test`.
    SFace's threshold for one person is 0.363 (Zhong et al., IEEE TIP 30, 2021, arXiv 2205.12010; detector: Wu et al., "YuNet",
    Machine Intelligence Research 20, 2023).

    None if `reference` has no face: there is no identity to keep. 0 if only `test` has none: an edit that destroys the face
    loses the identity, and 0 is the expected similarity of two people.

    Args:
        metric: its `weights` (recogniser) and `processor` (detector) are a hub id or a folder.
        offline: touch no network.

    Raises:
        ModelError: a file is missing or damaged.
    """
    files = [
        _file(metric.name, source, name, offline)
        for source, name in ((metric.processor, DETECTOR_FILE), (metric.weights, RECOGNISER_FILE))
    ]
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        detector = cv2.FaceDetectorYN.create(str(files[0]), "", (32, 32), score_threshold=_LEAST_SCORE)
        recogniser = cv2.FaceRecognizerSF.create(str(files[1]), "")
    except cv2.error as error:
        raise ModelError(
            f"{metric.name}: {files[0].name} or {files[1].name} does not load ({first_line(error)}); "
            "delete both and go online once"
        ) from error
    finally:
        cv2.utils.logging.setLogLevel(level)

    def features(picture: Rgb) -> list[NDArray[np.float32]]:
        """Embeddings of all faces, the largest face first."""
        bgr = cv2.cvtColor(_limited(picture), cv2.COLOR_RGB2BGR)
        detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, faces = detector.detect(bgr)
        found = [] if faces is None else sorted(faces, key=lambda face: -float(face[2] * face[3]))
        # OpenCV returns a view of its own memory, which the next call overwrites.
        return [np.array(recogniser.feature(recogniser.alignCrop(bgr, face)), np.float32) for face in found]

    def measure(reference: Rgb, test: Rgb) -> float | None:
        of_reference = features(reference)
        if not of_reference:
            return None
        return max((_cosine(of_reference[0], feature) for feature in features(test)), default=0.0)

    return measure


def _file(name: str, source: str, filename: str, offline: bool) -> Path:
    from huggingface_hub import constants  # noqa: PLC0415

    if Path(source).is_dir():
        path: Path | None = Path(source) / filename
    elif offline or constants.HF_HUB_OFFLINE:
        path = cached(source, filename)
    else:
        path = fetch(source, filename)
    if path is None or not path.is_file():
        raise ModelError(
            f"{name}: {source} ({filename}) is not on this machine; go online once, or leave the metric out"
        )
    return path


def _limited(picture: Rgb) -> Rgb:
    """The picture with a longest side of at most `_DETECTION_PX`."""
    height, width = picture.shape[:2]
    factor = _DETECTION_PX / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / lengths if lengths else 0.0
