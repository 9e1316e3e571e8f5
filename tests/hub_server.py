"""A model hub on this machine, for downloads that can be broken on purpose.

It answers what `huggingface_hub.hf_hub_download` asks when HF_ENDPOINT points here: HEAD for the file's hash, commit
and size, then GET for the bytes; and what `model_info` and `snapshot_download` ask: the files of a repository with their
sizes, which it refuses for gated ones, unlike the real hub. Written against huggingface_hub 2.4; the names of headers and
error codes are those that its `hf_raise_for_status` reads. Xet storage and redirects to a CDN are left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/?]+)(/(?P<what>revision|tree)/[^/?]+)?(\?.*)?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass(frozen=True)
class Repository:
    """Files by path, or the status and headers that every request is refused with."""

    files: dict[str, bytes] = field(default_factory=dict)
    refusal: tuple[HTTPStatus, dict[str, str]] | None = None

    @property
    def commit(self) -> str:
        """40 hex digits, as the cache's folder names need; new content is a new commit."""
        sha = hashlib.sha1()
        for path in sorted(self.files):
            sha.update(path.encode() + b"\0" + self.files[path])
        return sha.hexdigest()


# The hub tells nobody without a login whether a repository is missing or private: 401, not 404.
MISSING = Repository(refusal=(HTTPStatus.UNAUTHORIZED, {"X-Error-Code": "RepoNotFound"}))
GATED = Repository(refusal=(HTTPStatus.UNAUTHORIZED, {"X-Error-Code": "GatedRepo"}))


@dataclass(frozen=True)
class Asked:
    """One request and the status it was answered with."""

    method: str
    path: str
    range: str | None
    status: HTTPStatus


@dataclass
class Cut:
    """How bodies of `.safetensors` files end early.

    Attributes:
        after_bytes: sent before the connection ends.
        times: how often; the next body is whole again.
        reset: end with a TCP reset, as a crashed router does, and not with a regular close.
        hold: send `after_bytes`, then leave the client waiting until `HubServer.release`.
    """

    after_bytes: int
    times: int
    reset: bool = False
    hold: bool = False


@dataclass
class HubServer:
    """The hub's content and moods. Change them between requests, read `asked` afterwards.

    Attributes:
        repositories: by `owner/name`; others are missing.
        cut: how downloads of weights break; None to serve them whole.
        damage: serve weights whose last bytes are zero, under the hash of the whole ones.
        asked: every request so far.
        holding: set as soon as a client is left waiting by a `Cut` with `hold`.
    """

    endpoint: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    cut: Cut | None = None
    damage: bool = False
    asked: list[Asked] = field(default_factory=list)
    holding: Event = field(default_factory=Event)
    release: Event = field(default_factory=Event)

    def downloads(self, name: str) -> list[tuple[str | None, HTTPStatus]]:
        """Range asked for and status answered, for each GET of a file of this name."""
        return [
            (asked.range, asked.status)
            for asked in self.asked
            if asked.method == "GET" and asked.path.endswith(f"/{name}")
        ]


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Serve on a free port of 127.0.0.1 while the block runs."""

    class Handler(_Handler):
        hub: HubServer

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.hub = HubServer(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Handler.hub
        finally:
            Handler.hub.release.set()
            server.shutdown()
            thread.join()


@contextmanager
def deaf_port() -> Iterator[str]:
    """An endpoint that refuses connections: the port is taken, so that nobody else listens there meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"  # 1.0 would close after each answer and hide a client that reuses a cut connection

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: `HubServer.asked` is the log."""

    def _answer(self) -> None:
        info, file = _INFO.fullmatch(self.path), _FILE.fullmatch(self.path)
        if info is not None and info["repo"] in self.hub.repositories:
            self._send_info(info["repo"], self.hub.repositories[info["repo"]], tree=info["what"] == "tree")
            return
        if file is None:
            self._send(HTTPStatus.OK, {}, b"")
            return
        repository = self.hub.repositories.get(file["repo"], MISSING)
        content = repository.files.get(file["path"])
        if repository.refusal is not None:
            self._send(*repository.refusal, b"")
        elif content is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit}
            self._send(HTTPStatus.NOT_FOUND, headers, b"")
        else:
            self._send_file(content, repository.commit)

    def _send_info(self, name: str, repository: Repository, *, tree: bool) -> None:
        if repository.refusal is not None:
            self._send(*repository.refusal, b"")
            return
        sizes = {path: len(content) for path, content in repository.files.items()}
        files = [{"type": "file", "oid": "", "path": path, "size": size} for path, size in sizes.items()]
        siblings = [{"rfilename": path, "size": size} for path, size in sizes.items()]
        answer = files if tree else {"id": name, "sha": repository.commit, "siblings": siblings}
        self._send(HTTPStatus.OK, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _send_file(self, content: bytes, commit: str) -> None:
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        status = HTTPStatus.OK
        if self.hub.damage and self.path.endswith(".safetensors"):
            content = content[:-1000] + bytes(1000)
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or ""):
            status = HTTPStatus.PARTIAL_CONTENT
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
        self._send(status, headers, content)

    def _send(self, status: HTTPStatus, headers: dict[str, str], body: bytes) -> None:
        self.hub.asked.append(Asked(self.command, self.path, self.headers["Range"], status))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(body)

    def _send_body(self, body: bytes) -> None:
        cut = self.hub.cut
        if cut is None or cut.times == 0 or not self.path.endswith(".safetensors"):
            self.wfile.write(body)
            return
        cut.times -= 1
        self.wfile.write(body[: cut.after_bytes])
        if cut.hold:
            self.hub.holding.set()
            self.hub.release.wait()
        self.close_connection = True
        if cut.reset:  # closed with a linger time of zero and no shutdown before, the kernel sends RST in place of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()
