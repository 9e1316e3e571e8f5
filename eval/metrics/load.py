"""Loading metrics by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch

from pca_protect.errors import UsageError
from pca_protect.eval.metrics import classical, structural
from pca_protect.eval.metrics.embeddings import PromptMetric, load_image_metric, load_prompt_metric
from pca_protect.eval.metrics.faces import load_face_metric
from pca_protect.eval.metrics.jpegxl import load_butteraugli, load_ssimulacra2
from pca_protect.eval.metrics.perceptual import load_pair_metric
from pca_protect.eval.metrics.registry import METRICS, VISIBILITY, metrics_named
from pca_protect.eval.pictures import Rgb

_PAIRS: dict[str, Callable[[Rgb, Rgb], float]] = {
    "flip": classical.flip,
    "ssim": classical.ssim,
    "ms-ssim": classical.ms_ssim,
    "psnr": classical.psnr,
    "gmsd": classical.gmsd,
    "vif": classical.vif,
    "haarpsi": structural.haarpsi,
    "mdsi": structural.mdsi,
}
_OPTIONAL: dict[str, Callable[[], Callable[[Rgb, Rgb], float]]] = {
    "ssimulacra2": load_ssimulacra2,
    "butteraugli": load_butteraugli,
}
_EMBEDDED = ("clip-image", "dino")


@dataclass(frozen=True)
class Metrics:
    """Loaded metrics by name.

    Attributes:
        pairs: (reference, test) -> value; None where the metric is not defined, as of faces without a face.
        prompts: see `PromptMetric`.
        pictures: edit -> value.
        pool: processes for the metrics of pairs without weights; None computes them here.
    """

    pairs: dict[str, Callable[[Rgb, Rgb], float | None]]
    prompts: dict[str, PromptMetric]
    pictures: dict[str, Callable[[Rgb], float]]
    pool: Executor | None = None

    def distances(self, reference: Rgb, test: Rgb) -> dict[str, float]:
        """Distance of `test` from `reference` in every metric of pairs that is defined for them; 0 for equal pictures."""
        (found,) = self.distances_of([(reference, test)])
        return found

    def distances_of(self, pairs: Sequence[tuple[Rgb, Rgb]]) -> list[dict[str, float]]:
        """`distances` of many pairs (reference, test), in the order given."""
        shared = [name for name in self.pairs if self.pool and name in _PAIRS]
        futures = [self.pool.submit(_values, shared, *pair) for pair in pairs] if self.pool and shared else None
        here = [{name: measure(*pair) for name, measure in self.pairs.items() if name not in shared} for pair in pairs]
        there = [future.result() for future in futures] if futures else [{} for _ in pairs]
        return [
            {
                name: METRICS[name].distance(value)
                for name in self.pairs
                if (value := {**one, **other}[name]) is not None
            }
            for one, other in zip(here, there, strict=True)
        ]

    def visibilities(self, pairs: Sequence[tuple[Rgb, Rgb]]) -> list[float]:
        """`visibility` of many pairs (original, changed), in the order given."""
        if self.pool is None:
            return [visibility(*pair) for pair in pairs]
        return list(self.pool.map(visibility, *zip(*pairs, strict=True))) if pairs else []


def _values(names: Sequence[str], reference: Rgb, test: Rgb) -> dict[str, float]:
    """Metric -> value, in a process of the pool."""
    return {name: _PAIRS[name](reference, test) for name in names}


def load_metrics(
    names: Sequence[str],
    *,
    size_px: int,
    device: torch.device | None = None,
    offline: bool = False,
    pool: Executor | None = None,
) -> Metrics:
    """Load metrics by name.

    Args:
        size_px: shorter side of the pictures that will be measured.
        pool: see `Metrics`.

    Raises:
        UsageError: a name is unknown, or the pictures are too small for a metric.
        ModelError: weights, a program or a package is missing.
    """
    device = device or torch.device("cpu")
    loaded = Metrics({}, {}, {}, pool)
    for metric in metrics_named(names):
        if size_px < metric.smallest_px:
            raise UsageError(
                f"metric {metric.name}: takes pictures from {metric.smallest_px} px up and these have {size_px} px; leave it out"
            )
        if metric.of == "prompt":
            loaded.prompts[metric.name] = load_prompt_metric(metric, device, offline=offline)
        elif metric.of == "picture":
            loaded.pictures[metric.name] = classical.blur
        elif metric.name in _EMBEDDED:
            loaded.pairs[metric.name] = load_image_metric(metric, device, offline=offline)
        elif metric.name == "face-identity":
            loaded.pairs[metric.name] = load_face_metric(metric, offline=offline)
        elif metric.weights:
            loaded.pairs[metric.name] = load_pair_metric(metric, device)
        elif metric.needs:
            loaded.pairs[metric.name] = _OPTIONAL[metric.name]()
        else:
            loaded.pairs[metric.name] = _PAIRS[metric.name]
    return loaded


def visibility(original: Rgb, changed: Rgb) -> float:
    """Visibility of a change: the distance in the metric `VISIBILITY`."""
    return METRICS[VISIBILITY].distance(_PAIRS[VISIBILITY](original, changed))
