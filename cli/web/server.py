"""The server of the page: one address, nothing from anywhere else, and nothing of this machine but what it hands out."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pca_protect.cli.web.downloads import Downloads
from pca_protect.cli.web.html import KEPT
from pca_protect.cli.web.page import build_page
from pca_protect.cli.web.service import Limits, Service
from pca_protect.config import Device
from pca_protect.errors import UsageError

_STYLE = Path(__file__).parent / "style.css"
_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""The page may load from its own address alone."""


def is_public(host: str) -> bool:
    """Whether others than this machine can reach an address that is bound to."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def public_warning(host: str) -> str:
    return (
        f"this page is bound to {host}: whoever can reach this machine over the network can use it and its processor, without a "
        "password, and pictures travel unencrypted; put a proxy with a login and TLS before it, or leave --host out"
    )


def check_free(host: str, port: int) -> None:
    """Raises:
    UsageError: something else listens there, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"{host}:{port}: cannot be listened on ({error.strerror or error}); give another --port or --host"
            ) from error


class Web:
    """The page's server, with a folder of its own that goes with it.

    Args:
        host, port: to listen on.
        on_ready: called when it listens.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        device: Device,
        offline: bool,
        limits: Limits,
        on_ready: Callable[[], None],
    ) -> None:
        check_free(host, port)
        self._host, self._port, self._on_ready = host, port, on_ready
        self._device: Device = device
        self._offline, self._limits = offline, limits

    def run(self) -> None:
        """Until it is told to stop; then its folder is gone."""
        with tempfile.TemporaryDirectory(prefix="pca-protect-", ignore_cleanup_errors=True) as folder:
            uploads, downloads = Path(folder) / "uploads", Path(folder) / "kept"
            uploads.mkdir()
            downloads.mkdir()
            os.environ["GRADIO_TEMP_DIR"] = str(uploads)
            warning = public_warning(self._host) if is_public(self._host) else ""
            service = Service(
                uploads,
                Downloads(downloads),
                device=self._device,
                offline=self._offline,
                limits=self._limits,
                warning=warning,
            )
            server = _Server(
                uvicorn.Config(
                    _app(service, self._host, self._port, uploads),
                    host=self._host,
                    port=self._port,
                    log_level="warning",
                    timeout_graceful_shutdown=2,
                )
            )
            server.service, server.on_ready = service, self._on_ready
            try:
                server.run()
            finally:
                service.queue.close()


class _Server(uvicorn.Server):
    """Says when it listens, and ends the jobs before it waits for those who watch them."""

    service: Service
    on_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self.service.queue.close)
        await super().shutdown(sockets)


def _refusal(request: Request, limits: Limits, uploads: Path) -> Response | None:
    """The answer to what other sites or greedy visitors send; None for all else."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        return PlainTextResponse("only the page itself may send something here", 403)
    if int(request.headers.get("content-length") or 0) > 1_000_000 * limits.most_megabytes * limits.most_pictures:
        return PlainTextResponse("this is more than can be uploaded at once", 413)
    if request.url.path.endswith("/upload"):
        taken = sum(file.stat().st_size for file in uploads.rglob("*") if file.is_file())
        if taken > 1_000_000 * limits.most_megabytes_together:
            return PlainTextResponse("there is no room for more uploads; try again later", 507)
    return None


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Not a `FileResponse`, which tells a file's size before it opens it: one that is removed in between breaks off."""
    with file:
        while chunk := file.read(1 << 18):
            yield chunk


def _app(service: Service, host: str, port: int, uploads: Path) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if not is_public(host):  # a page elsewhere must not reach this one by a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", host])

    @app.middleware("http")
    async def headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = _refusal(request, service.limits, uploads)
        response = await call_next(request) if refused is None else refused
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    @app.get(KEPT + "{token}")
    def kept(token: str) -> StreamingResponse:
        opened = service.downloads.open(token)
        if opened is None:
            raise HTTPException(404, "this is not kept any more; protect the picture again")
        response = StreamingResponse(_chunks(opened.file), media_type=opened.media_type)
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["Content-Length"] = str(os.fstat(opened.file.fileno()).st_size)
        if opened.name:  # none for what is shown: a browser would save it
            response.headers["Content-Disposition"] = f"inline; filename*=utf-8''{quote(opened.name)}"
        return response

    theme = gr.themes.Default(font=_FONTS, font_mono=_MONO)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(service),
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        allowed_paths=None,
        max_file_size=service.limits.most_megabytes * 1_000_000,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        show_error=False,
        theme=theme,
        css_paths=_STYLE,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return mounted
