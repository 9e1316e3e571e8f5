"""The HTTP API as clients have it: a real server on a free port of this process."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import httpx
from conftest import smooth_picture
from PIL import Image

from pca_protect.cli.api.app import build_app
from pca_protect.cli.api.limits import Limits
from pca_protect.cli.api.server import ApiServer, bind
from pca_protect.cli.api.service import Service
from pca_protect.config import ProtectConfig
from pca_protect.image.scale_names import Scale
from pca_protect.presets import PRESETS
from pca_protect.surrogates.encoder import AnySurrogate

QUICK = {"mode": "concentration", "preset": "instant", "evaluate": "false"}
"""Options of a job of a few hundredths of a second."""
LONG = {"preset": "thorough"}
"""With a picture of `LONG_PX`, options of a job that outlasts a test."""
LONG_PX = 384


@contextmanager
def serving(
    surrogate: AnySurrogate,
    *,
    limits: Limits | None = None,
    presets: Sequence[str] = tuple(PRESETS),
    batch: int | None = None,
    scales: tuple[Scale, ...] = (),
    token: str = "",
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    root_path: str = "",
) -> Iterator[httpx.Client]:
    """A client of a server that ends with the block."""
    base = ProtectConfig(vae="pocket", device="cpu", batch=batch)
    default = replace(base, scales=scales, tile_px=1024)
    service = Service(surrogate, base=base, default=default, presets=presets, limits=limits or Limits())
    bound = bind("127.0.0.1", 0)
    ready = threading.Event()
    app = build_app(service, token=token, hosts=hosts, origins=origins)
    server = ApiServer(app, service, grace_seconds=0.0, on_ready=ready.set, root_path=root_path)
    address = f"http://127.0.0.1:{bound.getsockname()[1]}"
    thread = threading.Thread(target=server.serve_on, args=(bound,))
    thread.start()
    try:
        assert ready.wait(30)
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def png(width: int = 64, height: int = 48, seed: int = 0, channels: int = 3) -> bytes:
    return encoded(smooth_picture(width, height, channels, seed))


def encoded(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def eventually(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


def metric(client: httpx.Client, line: str) -> float:
    """The value of a sample, such as `pca_protect_jobs`."""
    text = client.get("/metrics").text
    return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(f"{line} ")), 0.0)
