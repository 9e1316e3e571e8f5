"""ASGI middleware that decides who may use the API: host names, origins of web pages, the bearer token."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/healthz", "/openapi.json", "/docs", "/static-offline-docs/")
"""Paths without authentication: they expose no pictures, and browsers and load balancers send no token."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class Access:
    """Answers requests that are not allowed with 400, 401 or 403.

    Args:
        token: required as `Authorization: Bearer TOKEN`; empty for none.
        hosts: further names for the `Host` header. Addresses and `localhost` are always accepted: a web page of another site can
            reach this server only under a name (DNS rebinding).
        origins: of web pages that may use the API besides those of the server itself.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._app, self._token = app, token.encode()
        self._hosts, self._origins = {host.lower() for host in hosts}, set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(Headers(scope=scope), _path(scope))
        await (self._app if refusal is None else refusal)(scope, receive, with_headers)

    def _refusal(self, headers: Headers, path: str) -> JSONResponse | None:
        host = headers.get("host", "")
        if not self._knows(host):
            return _refuse(
                400, f"the host {host[:80]!r} is not served here; the operator can add it with --allowed-host"
            )
        origin = headers.get("origin")
        own = {f"{scheme}://{host.lower()}" for scheme in ("http", "https")}
        if origin is not None and origin not in self._origins and origin.lower() not in own:
            return _refuse(
                403,
                "requests from web pages of other sites are refused; the operator can allow the site with --allow-origin",
            )
        if self._token and not path.startswith(OPEN_PATHS) and not self._has_token(headers):
            return _refuse(
                401, "the bearer token is missing or wrong; send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return None

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self._token)

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _path(scope: Scope) -> str:
    root, path = str(scope.get("root_path", "")), str(scope["path"])
    return path[len(root) :] if path.startswith(root) else path


def _refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status, headers)
