"""Real ONNX models with the inputs and outputs of YuNet and SFace: a face is a red square of 32 px on the detector's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pca_protect.eval.metrics.faces import DETECTOR_FILE, RECOGNISER_FILE
from pca_protect.eval.pictures import Rgb

FACE_PX = 32
_STRIDES = (8, 16, 32)


def save_face_models(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_detector(), folder / DETECTOR_FILE)
    onnx.save(_recogniser(), folder / RECOGNISER_FILE)


def with_face(picture: Rgb, top: int, left: int, *, person: int = 0) -> Rgb:
    """The picture with a face; the colours of its lower half are the person's."""
    changed = picture.copy()
    face = changed[top : top + FACE_PX, left : left + FACE_PX]
    face[:] = (255, 0, 0)
    face[FACE_PX // 2 :, :, 1:] = np.random.default_rng(person).integers(0, 100, (1, FACE_PX, 2))
    return changed


def _constant(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array, np.float32), name)


def _detector() -> onnx.ModelProto:
    """Scores of about 1 where the mean colour of a cell of 32 px is red, about 0 elsewhere and at the finer strides."""
    nodes, weights, outputs = [], [], []
    for stride in _STRIDES:
        nodes.append(
            helper.make_node(
                "AveragePool", ["input"], [f"mean_{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            )
        )
        # BGR levels: red minus the others, above 100. Finer strides never see a face.
        colour = np.array([-1, -1, 1]) if stride == FACE_PX else np.zeros(3)
        score = colour.reshape(1, 3, 1, 1), np.array([-100.0])
        half = np.log(FACE_PX / stride)
        box = np.zeros((4, 3, 1, 1)), np.array([0.5, 0.5, half, half])
        eyes_nose_mouth = np.array([0.3, 0.4, 0.7, 0.4, 0.5, 0.6, 0.35, 0.8, 0.65, 0.8])
        points = np.zeros((10, 3, 1, 1)), eyes_nose_mouth
        for name, (kernel, bias), channels in (
            ("cls", score, 1),
            ("obj", score, 1),
            ("bbox", box, 4),
            ("kps", points, 10),
        ):
            key = f"{name}_{stride}"
            weights += [_constant(f"w_{key}", kernel), _constant(f"b_{key}", bias)]
            weights.append(numpy_helper.from_array(np.array([1, -1, channels], np.int64), f"s_{key}"))
            nodes.append(helper.make_node("Conv", [f"mean_{stride}", f"w_{key}", f"b_{key}"], [f"conv_{key}"]))
            last = f"conv_{key}"
            if name in ("cls", "obj"):
                nodes.append(helper.make_node("Sigmoid", [last], [f"sigmoid_{key}"]))
                last = f"sigmoid_{key}"
            nodes.append(helper.make_node("Transpose", [last], [f"rows_{key}"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"rows_{key}", f"s_{key}"], [key]))
            outputs.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, [1, None, channels]))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, None, None])
    return _model(helper.make_graph(nodes, "detector", [picture], outputs, weights))


def _recogniser() -> onnx.ModelProto:
    """Mean colours of 16 cells, minus 128, through a random matrix."""
    matrix = np.random.default_rng(0).normal(size=(48, 128))
    nodes = [
        helper.make_node("AveragePool", ["data"], ["cells"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Sub", ["flat", "grey"], ["centred"]),
        helper.make_node("MatMul", ["centred", "matrix"], ["fc1"]),
    ]
    picture = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])
    feature = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 128])
    weights = [_constant("grey", np.array([128.0])), _constant("matrix", matrix)]
    return _model(helper.make_graph(nodes, "recogniser", [picture], [feature], weights))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    return model
