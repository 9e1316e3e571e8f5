"""A TCP proxy whose connections can be cut: the lid of a laptop, a locked phone, a change of network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread


@dataclass
class Proxy:
    """Attributes:
    down: close new connections at once.
    """

    port: int
    loop: asyncio.AbstractEventLoop
    down: bool = False
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    stalled: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Breaks all connections and refuses new ones."""
        self.down = True
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(10)

    def stall(self) -> None:
        """Drops all data of the present connections and leaves them open, as a change of network does."""
        self.stalled |= self.writers

    async def _close(self) -> None:
        for writer in list(self.writers):
            writer.transport.abort()

    async def serve(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        pair = {writer, server_writer}
        self.writers |= pair
        await asyncio.gather(self._copy(reader, server_writer), self._copy(server_reader, writer))
        self.writers -= pair

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if sink not in self.stalled:
                    sink.write(data)
                    await sink.drain()
        sink.close()


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy on a free port of 127.0.0.1 to another port."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)  # the browser's loop runs in this one
    thread.start()
    proxy = Proxy(0, loop)
    starting = asyncio.start_server(lambda *streams: proxy.serve(port, *streams), "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.cut()
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
