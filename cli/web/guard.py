"""Requests that the server refuses: from other sites, for other host names, and with large bodies."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pca_protect.cli.body_limit import BodyLimit
from pca_protect.cli.web.address import is_public

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_BODY_BYTES = 2_000_000
"""Of a request that is no upload."""
BODY_SECONDS = 600.0
"""In which a body has to arrive."""
_HIDDEN = ("/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/api/", "/gradio_api/call/")
"""Gradio's interface for programs, which the page does not use."""


class HostCheck:
    """Accepts requests for the names of this server only, against DNS rebinding, and from its own pages only.

    Args:
        host: address that the server is bound to.
        allowed: further names, those of proxies. A public server also accepts requests for IP addresses, which cannot be
            rebound.
    """

    def __init__(self, host: str, allowed: Collection[str]) -> None:
        self._names = {name.lower() for name in (*_LOOPBACK, host, *allowed)}
        self._any_address = is_public(host)

    def accepts(self, netloc: str) -> bool:
        """Whether a host with an optional port is a name of this server."""
        try:
            name = (urlsplit(f"//{netloc}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address

    def accepts_origin(self, request: Request) -> bool:
        """Whether a request comes from a page of this server, or from no page."""
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return False
        origin = request.headers.get("origin")
        if origin is None:
            return True
        netloc = urlsplit(origin).netloc
        # A proxy may replace the host by this server's own: then the origin is one of the allowed names.
        return bool(netloc) and (netloc == request.headers.get("host") or self._is_proxy(netloc))

    def _is_proxy(self, netloc: str) -> bool:
        name = (urlsplit(f"//{netloc}").hostname or "").lower()
        return name in self._names - set(_LOOPBACK)


def reject_request(request: Request, hosts: HostCheck) -> Response | None:
    """The response to a request that is refused; None for an accepted one."""
    if not hosts.accepts(request.headers.get("host", "")):
        return PlainTextResponse("this host name is not allowed; start the page with --allowed-host NAME", 400)
    if request.url.path.startswith(_HIDDEN):
        return PlainTextResponse("this page has no interface for programs", 404)
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    if not hosts.accepts_origin(request):
        return PlainTextResponse("requests are accepted from this page only", 403)
    return None


class UploadLimit:
    """Limits the bytes of a body, declared or chunked: `MAX_BODY_BYTES`, and more for uploads."""

    def __init__(self, app: ASGIApp, *, max_upload_bytes: int) -> None:
        self._other = BodyLimit(app, max_bytes=MAX_BODY_BYTES, seconds=BODY_SECONDS)
        self._upload = BodyLimit(app, max_bytes=max_upload_bytes, seconds=BODY_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_upload = scope["type"] == "http" and scope["path"].endswith("/gradio_api/upload")
        await (self._upload if is_upload else self._other)(scope, receive, send)
