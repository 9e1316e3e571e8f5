"""The HTTP server of the page. It serves only the page and its downloads, and refuses requests from other sites."""

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
"""The page may load from its own origin only."""


def is_public(host: str) -> bool:
    """Whether other machines can reach a server bound to this address."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def public_warning(host: str) -> str:
    return (
        f"this page listens on {host}: anyone who can reach this machine can use it without a password, and pictures are sent "
        "unencrypted; put it behind a proxy with login and TLS, or omit --host"
    )


def check_address(host: str, port: int) -> None:
    """Raises:
    UsageError: the port is in use, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"{host}:{port}: cannot listen on this address ({error.strerror or error}); choose another --port or --host"
            ) from error


class PageServer:
    """The server of the page, with a temporary folder for uploads and downloads.

    Args:
        host, port: to listen on.
        on_ready: called once the server listens.

    Raises:
        UsageError: see `check_address`.
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
        check_address(host, port)
        self._host, self._port, self._on_ready = host, port, on_ready
        self._device: Device = device
        self._offline, self._limits = offline, limits

    def run(self) -> None:
        """Serves until a signal stops it, then removes the temporary folder."""
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
    """Calls `on_ready` once it listens. Cancels the jobs before it waits for open connections."""

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
    """The response to a cross-site or oversized request; None for an accepted request."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        return PlainTextResponse("requests are accepted from this page only", 403)
    if int(request.headers.get("content-length") or 0) > 1_000_000 * limits.max_megabytes * limits.max_pictures:
        return PlainTextResponse("the upload is over the size limit", 413)
    if request.url.path.endswith("/upload"):
        taken = sum(file.stat().st_size for file in uploads.rglob("*") if file.is_file())
        if taken > 1_000_000 * limits.max_total_megabytes:
            return PlainTextResponse("the storage for uploads is full; try again later", 507)
    return None


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content in chunks. `FileResponse` would fail on a file that is removed between its `stat` and its `open`."""
    with file:
        while chunk := file.read(1 << 18):
            yield chunk


def _app(service: Service, host: str, port: int, uploads: Path) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if not is_public(host):  # against DNS rebinding
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
            raise HTTPException(404, "this file is no longer stored; protect the picture again")
        response = StreamingResponse(_chunks(opened.file), media_type=opened.media_type)
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["Content-Length"] = str(os.fstat(opened.file.fileno()).st_size)
        if opened.name:  # images without a name are shown, not saved
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
        max_file_size=service.limits.max_megabytes * 1_000_000,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        show_error=False,
        theme=theme,
        css_paths=_STYLE,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return mounted
