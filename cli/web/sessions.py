"""Sessions of browsers: an unguessable cookie each, kept through short breaks of the connection."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.protect_job import JobResult

COOKIE = "pca_protect_session"
GRACE_SECONDS = 30 * 60.0
"""Time without an open connection after which a session is closed. A page holds one connection while it is open."""
MAX_RUNS = 10
"""Finished runs that a session keeps; the files of older ones are removed."""


@dataclass
class Session:
    """The state of one browser. Its pages share it.

    Attributes:
        uploads: paths of the chosen files.
        form: values of the inputs, by their names in `page.build_page`; restored when the page is loaded again.
        runs: results, oldest first.
        jobs: the last job of each kind.
    """

    id: str
    uploads: tuple[str, ...] = ()
    form: tuple[Any, ...] | None = None
    runs: list[JobResult] = field(default_factory=list)
    jobs: dict[str, Job[Any]] = field(default_factory=dict)
    connections: int = 0
    idle_since: float = 0.0

    def unfinished(self, kind: str) -> Job[Any] | None:
        """The job of this kind that waits or runs."""
        job = self.jobs.get(kind)
        return None if job is None or job.finished else job


class Sessions:
    """All open sessions. Thread-safe."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def open(self) -> Session:
        session = Session(secrets.token_urlsafe(24), idle_since=time.monotonic())
        with self._lock:
            self._sessions[session.id] = session
        return session

    def get(self, session_id: str | None) -> Session | None:
        """None for an id that was not issued here, or whose session is closed."""
        with self._lock:
            return self._sessions.get(session_id or "")

    @contextmanager
    def connected(self, session: Session) -> Iterator[None]:
        """Context of a request: the session is not idle inside."""
        with self._lock:
            session.connections += 1
        try:
            yield
        finally:
            with self._lock:
                session.connections -= 1
                session.idle_since = time.monotonic()

    def idle(self, seconds: float) -> list[Session]:
        """Sessions without a connection for this long."""
        latest = time.monotonic() - seconds
        with self._lock:
            return [one for one in self._sessions.values() if one.connections == 0 and one.idle_since <= latest]

    def remove(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.id, None)


class SessionMiddleware:
    """Opens a session with the page's document and counts its connections.

    Args:
        open_session: called for a document that is requested without a valid cookie.
    """

    def __init__(self, app: ASGIApp, *, sessions: Sessions, open_session: Callable[[], Session]) -> None:
        self._app, self._sessions, self._open_session = app, sessions, open_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        session = self._sessions.get(request.cookies.get(COOKIE))
        cookie = ""
        if session is None and scope["method"] == "GET" and request.url.path.endswith("/"):
            session = self._open_session()
            secure = "; Secure" if request.url.scheme == "https" else ""
            cookie = f"{COOKIE}={session.id}; Path=/; HttpOnly; SameSite=Lax{secure}"

        async def send_with_cookie(message: Message) -> None:
            if cookie and message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        if session is None:
            await self._app(scope, receive, send)
            return
        with self._sessions.connected(session):
            await self._app(scope, receive, send_with_cookie)
