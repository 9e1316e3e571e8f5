"""Downloads of encoders from the page, from a hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_server import Cut, HubServer, Repository, hub_server
from huggingface_hub import constants
from safetensors.numpy import save

from pca_protect import Cancelled, ModelError

pytest.importorskip("gradio", reason="the extra `ui` is not installed")

from pca_protect.cli.web.job_queue import Job, JobQueue
from pca_protect.cli.web.model_cache import ModelCache
from pca_protect.cli.web.model_download import missing_encoders
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.registry import REGISTRY

SD = REGISTRY["sd"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with a VAE of 3 MB, and an empty cache."""
    weights = save({"encoder.conv_in.weight": np.zeros(750_000, dtype=np.float32)})
    folder = f"{SD.subfolder}/" if SD.subfolder else ""
    with hub_server() as server:
        files = {"config.json": b'{"_class_name": "AutoencoderKL"}', "diffusion_pytorch_model.safetensors": weights}
        server.repositories[SD.repo_id] = Repository({folder + name: content for name, content in files.items()})
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue()
    yield queue
    queue.close()


def download(queue: JobQueue) -> Job[None]:
    models = ModelCache("cpu", offline=False)
    return queue.submit(lambda job: models.download(job, ("auto",), ignore_errors=False))


def test_a_download_reports_its_progress(hub: HubServer, queue: JobQueue):
    assert missing_encoders(("auto", "pocket"), offline=False) == ("sd",)
    assert missing_encoders(("auto",), offline=True) == ()
    job = download(queue)
    job.result()
    assert is_cached(SD)
    assert job.status.share == 1.0
    assert job.status.phase == "Downloading sd, 3 of 3 MB"
    assert missing_encoders(("auto",), offline=False) == ()


def test_a_download_is_cancelled(hub: HubServer, queue: JobQueue):
    hub.cut = Cut(after_bytes=1_500_000, times=1, hold=True)
    job = download(queue)
    assert hub.holding.wait(30)
    job.cancel()
    hub.release.set()
    with pytest.raises(Cancelled):
        job.result()
    assert not is_cached(SD)


def test_a_failed_download_is_a_sentence(hub: HubServer, queue: JobQueue):
    del hub.repositories[SD.repo_id]
    with pytest.raises(ModelError, match=r"^stabilityai/sd-vae-ft-mse"):
        download(queue).result()
