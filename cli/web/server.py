"""The HTTP server of the page: the page, its files, and limits on requests."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO
from urllib.parse import quote

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from pca_protect.cli.web.address import is_public, public_warning
from pca_protect.cli.web.files import FileStore
from pca_protect.cli.web.form import STRENGTHS
from pca_protect.cli.web.guard import HostCheck, UploadLimit, reject_request
from pca_protect.cli.web.page import build_page
from pca_protect.cli.web.sessions import COOKIE, SessionMiddleware
from pca_protect.cli.web.state import PROTECTING, AppState, Limits
from pca_protect.device_names import Device

_STYLE = Path(__file__).parent / "style.css"
_SCRIPT = Path(__file__).parent / "page.js"
_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")
_SWEEP_SECONDS = 10

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""The page may load from its own origin only."""


class PageServer:
    """The server of the page, with a temporary folder for uploads and results.

    Args:
        host, port: to listen on.
        allowed_hosts: names of proxies, see `HostCheck`.
        root_path: path of the page behind a proxy that removes it; empty for none.
        on_ready: called once the server listens.
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
        allowed_hosts: Collection[str] = (),
        root_path: str = "",
    ) -> None:
        self._host, self._port, self._on_ready = host, port, on_ready
        self._hosts, self._root_path = HostCheck(host, allowed_hosts), root_path
        self._device: Device = device
        self._offline, self._limits = offline, limits

    def run(self) -> None:
        """Serves until a signal stops it, then removes the temporary folder."""
        with tempfile.TemporaryDirectory(prefix="pca-protect-", ignore_cleanup_errors=True) as folder:
            uploads, results = Path(folder) / "uploads", Path(folder) / "results"
            uploads.mkdir()
            results.mkdir()
            os.environ["GRADIO_TEMP_DIR"] = str(uploads)
            state = AppState(
                uploads,
                FileStore(results, max_megabytes=self._limits.max_total_megabytes),
                device=self._device,
                offline=self._offline,
                limits=self._limits,
                warning=public_warning(self._host) if is_public(self._host) else "",
            )
            app = create_app(state, self._hosts, host=self._host, port=self._port, root_path=self._root_path)
            server = _Server(
                uvicorn.Config(app, host=self._host, port=self._port, log_level="warning", timeout_graceful_shutdown=2)
            )
            server.state, server.on_ready = state, self._on_ready
            try:
                server.run()
            finally:
                state.close()


class _Server(uvicorn.Server):
    """Calls `on_ready` once it listens. Cancels the jobs before it waits for open connections."""

    state: AppState
    on_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.force_exit = False  # after a second Ctrl-C it would cancel the app's lifespan and print a traceback

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self.state.close)
        await super().shutdown(sockets)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content in chunks. `FileResponse` would fail on a file that is removed between its `stat` and its `open`."""
    with file:
        while chunk := file.read(1 << 18):
            yield chunk


def create_app(state: AppState, hosts: HostCheck, *, host: str, port: int, root_path: str) -> FastAPI:
    """The page and its files as an ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                await asyncio.to_thread(state.close_idle_sessions)

        sweeper = asyncio.create_task(sweep())
        yield
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    # The innermost: through the function below its exceptions would arrive as groups, which become status 400.
    app.add_middleware(
        UploadLimit, max_upload_bytes=1_000_000 * (state.limits.max_megabytes * state.limits.max_pictures + 1)
    )

    @app.middleware("http")
    async def headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = reject_request(request, hosts)
        if refused is None and request.url.path.endswith("/gradio_api/upload"):
            refused = await _full(state)
        response = await call_next(request) if refused is None else refused
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    app.add_middleware(SessionMiddleware, sessions=state.sessions, open_session=state.open_session)

    @app.get("/files/{token}")
    def file(token: str) -> StreamingResponse:
        opened = state.files.open(token)
        if opened is None:
            raise HTTPException(404, "this file has expired; protect the picture again")
        response = StreamingResponse(_chunks(opened.file), media_type=opened.media_type)
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["Content-Length"] = str(os.fstat(opened.file.fileno()).st_size)
        if opened.name:  # images without a name are shown, not saved
            response.headers["Content-Disposition"] = f"inline; filename*=utf-8''{quote(opened.name)}"
        return response

    @app.get("/session")
    def session(request: Request) -> dict[str, bool | float]:
        """Whether the session is open, and its run: the page asks for it, and notices a lost connection."""
        found = state.sessions.get(request.cookies.get(COOKIE))
        job = None if found is None else found.unfinished(PROTECTING)
        return {
            "open": found is not None,
            "running": job is not None,
            "share": 0.0 if job is None else job.status.share,
        }

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(state),
        path="/",
        server_name=host,
        server_port=port,
        root_path=root_path or None,
        footer_links=[],
        allowed_paths=None,
        max_file_size=state.limits.max_megabytes * 1_000_000,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        show_error=False,
        theme=gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=_MONO),
        css_paths=_STYLE,
        head=_head(),
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return mounted


def _head() -> str:
    """The script of the page, with the words for the positions of the slider."""
    words = json.dumps([strength.label for strength in STRENGTHS])
    script = _SCRIPT.read_text(encoding="utf-8")
    return f'<script type="application/json" id="strength-words">{words}</script><script>{script}</script>'


async def _full(state: AppState) -> Response | None:
    """The response to an upload when the storage is full."""
    if await asyncio.to_thread(lambda: state.uploads.megabytes) > state.limits.max_total_megabytes:
        return PlainTextResponse("the storage for uploads is full; try again later", 507)
    return None
