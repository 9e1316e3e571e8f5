"""The default metrics: those without weights, and LPIPS and DISTS if this machine has their weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from pca_protect.eval.metrics.registry import DEFAULT_METRICS

LEARNED_METRICS = ("lpips", "dists")
"""Both need torchvision and its VGG-16; torchmetrics contains their own weights."""

VGG_FILE = "vgg16-397923af.pth"
"""The file of torchvision's VGG-16 in the cache of torch.hub."""

HOW_TO_ADD = (
    f"{' and '.join(LEARNED_METRICS)} are left out: torchvision or the weights of its VGG-16 are not on this machine; "
    "pip install 'pca-protect[editors]' from the index of your PyTorch, and name one with --metric to download them (528 MB)"
)


def default_metrics(folder: Path) -> tuple[str, ...]:
    """`DEFAULT_METRICS`, and `LEARNED_METRICS` if nothing has to be downloaded for them. A resumed run keeps its metrics.

    Args:
        folder: of the results, see `Results`.
    """
    both = (*DEFAULT_METRICS, *LEARNED_METRICS)
    measured = _measured_in(folder)
    if measured in (DEFAULT_METRICS, both):
        return measured
    return both if has_learned_weights() else DEFAULT_METRICS


def has_learned_weights() -> bool:
    """Whether LPIPS and DISTS load without a download."""
    import torch  # noqa: PLC0415

    checkpoint = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    return importlib.util.find_spec("torchvision") is not None and checkpoint.is_file()


def _measured_in(folder: Path) -> tuple[str, ...]:
    """The metrics of the first measurement in a folder of results; empty without one."""
    try:
        with (folder / "results.jsonl").open(encoding="utf-8") as log:
            return tuple(json.loads(log.readline())["config"]["metrics"])
    except (OSError, ValueError, KeyError, TypeError):  # `Results` reports a damaged log
        return ()
