"""The HTTP server: its address, its start and its graceful stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from pca_protect.cli.api.service import Service
from pca_protect.errors import UsageError

_MAX_CONNECTIONS = 512
"""Further connections are answered with 503."""
_LAST_RESPONSES_SECONDS = 5
"""Time to send the responses of settled jobs at the end."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet, so that an address in use is found before encoders are loaded.

    Raises:
        UsageError: the port is in use, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol given, asyncio disables Nagle's algorithm, which delayed each response by 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise UsageError(
            f"{host}:{port}: cannot listen on this address ({error.strerror or error}); choose another --port or --host"
        ) from error
    return bound


class ApiServer(uvicorn.Server):
    """Args:
    grace_seconds: time for running jobs after a signal to stop.
    on_ready: called once the server listens.
    root_path: prefix that a proxy removes from paths.
    access_log: log every request to stderr.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        *,
        grace_seconds: float,
        on_ready: Callable[[], None] = lambda: None,
        root_path: str = "",
        access_log: bool = False,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_level="info" if access_log else "warning",
                access_log=access_log,
                server_header=False,
                proxy_headers=False,
                root_path=root_path,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_LAST_RESPONSES_SECONDS,
            )
        )
        self._service, self._grace_seconds, self._on_ready = service, grace_seconds, on_ready

    def serve_on(self, bound: socket.socket) -> None:
        """Serves until a signal stops it."""
        self.run(sockets=[bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.drain(self._grace_seconds, hurry=lambda: self.force_exit)
        await super().shutdown(sockets)
