"""ASGI middleware that limits request bodies in bytes and seconds while they arrive, with or without a declared length."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LINGER_SECONDS = 2.0
"""Time in which the rest of a refused body is read and discarded. Closing a connection with unread bytes resets it, and most
clients would report the reset and not the response."""


class BodyLimit:
    """Raises `HTTPException` 413 or 408 from `receive` once a body exceeds a limit; the application turns it into a response.

    Args:
        max_bytes: of a body.
        seconds: from the end of the request's head to the end of its body.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app, self._max_bytes, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, send, Headers(scope=scope), max_bytes=self._max_bytes, seconds=self._seconds)
        if body.declared_bytes > self._max_bytes:
            await JSONResponse({"detail": too_large(self._max_bytes)}, 413)(scope, body.receive, body.send)
            return
        await self._app(scope, body.receive, body.send)


def too_large(max_bytes: int) -> str:
    return f"the request body is over the limit of {max_bytes / 1e6:g} MB; send a smaller file"


class _Body:
    """One request body, and the response to it."""

    def __init__(self, receive: Receive, send: Send, headers: Headers, *, max_bytes: int, seconds: float) -> None:
        self._receive, self._send = receive, send
        self._max_bytes, self._seconds = max_bytes, seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        length = headers.get("content-length", "")
        self.declared_bytes = int(length) if length.isdecimal() else 0
        self._complete = self.declared_bytes == 0 and "transfer-encoding" not in headers
        self._waits_for_continue = headers.get("expect", "").lower() == "100-continue"
        self._received_bytes = 0

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()  # waits for the end of the connection
        self._waits_for_continue = False  # the server answers 100 before it reads
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - _now()))
        except asyncio.TimeoutError:
            raise HTTPException(
                408, f"the request body took longer than {self._seconds:g} s; send it faster, or send a smaller file"
            ) from None
        self._note(message)
        if self._received_bytes > self._max_bytes:
            raise HTTPException(413, too_large(self._max_bytes))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._complete:
            if not self._waits_for_continue:
                await self._discard()
            if not self._complete:
                MutableHeaders(scope=message)["connection"] = "close"
        await self._send(message)

    def _note(self, message: Message) -> None:
        self._received_bytes += len(message.get("body", b""))
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)

    async def _discard(self) -> None:
        until = _now() + _LINGER_SECONDS
        try:
            while not self._complete and (left := until - _now()) > 0:
                self._note(await asyncio.wait_for(self._receive(), left))
        except asyncio.TimeoutError:
            return


def _now() -> float:
    return asyncio.get_running_loop().time()
