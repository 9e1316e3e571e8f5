"""HTTP requests to the server of the page: what it refuses, and behind a proxy."""

from __future__ import annotations

import http.client
import json
import os
import re
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from web_server import Running

pytest.importorskip("gradio", reason="the extra `ui` is not installed")

from pca_protect.cli.web.address import is_public, public_warning
from pca_protect.cli.web.guard import MAX_BODY_BYTES, HostCheck

PROXY = "https://pics.example"


def fetch(address: str, *, headers: dict[str, str] | None = None, data: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(address, headers=headers or {}, data=data)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=../../../../etc/passwd",
        "/file=/etc/passwd",
        "/files/../../etc/passwd",
        "/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/files/unknown",
        "/static/../../../../../etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:9/",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/monitoring",
        "/openapi.json",
        "/docs",
    ],
)
def test_no_path_of_the_machine_is_readable(running: Running, path: str):
    status, body = fetch(running.address + path)
    assert status >= 400
    assert b"root:" not in body
    assert b"[build-system]" not in body


def test_a_path_in_place_of_an_upload_is_refused(running: Running, pictures: Path):
    """Requests by a program that imitates the page. Gradio refuses them before our own check."""
    for path in (str(pictures / "face.png"), f"{running.temporary}/../pictures0/face.png", "/etc/hostname"):
        component = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [[component]], "fn_index": _inspecting(running), "session_hash": "me"}).encode()
        status, said = fetch(
            f"{running.address}/gradio_api/queue/join", data=body, headers={"content-type": "application/json"}
        )
        told = fetch(f"{running.address}/gradio_api/queue/data?session_hash=me")[1] if status == 200 else said
        assert b'"success":false' in told
        assert b"face.png" not in told


def _inspecting(running: Running) -> int:
    """The index of the event handler of the file input."""
    config = json.loads(fetch(f"{running.address}/config")[1])
    files = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "files")
    listed = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "listed")
    (found,) = [one["id"] for one in config["dependencies"] if one["inputs"] == [files] and listed in one["outputs"]]
    return int(found)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_other_sites_can_send_nothing(running: Running, headers: dict[str, str]):
    assert fetch(f"{running.address}/gradio_api/upload", data=b"x", headers=headers)[0] == 403


def test_other_host_names_and_foreign_content_are_refused(running: Running):
    assert fetch(running.address, headers={"Host": "evil.example"})[0] == 400
    with urllib.request.urlopen(running.address, timeout=30) as answer:
        policy, cookie = answer.headers["Content-Security-Policy"], answer.headers["Set-Cookie"]
        page = answer.read().decode()
    assert "default-src 'self'" in policy
    assert "HttpOnly" in cookie
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+""", page)


def multipart(content: bytes) -> tuple[bytes, dict[str, str]]:
    boundary = "xxxxxxxx"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="big.png"\r\n\r\n'.encode()
    return head + content + f"\r\n--{boundary}--\r\n".encode(), {
        "content-type": f"multipart/form-data; boundary={boundary}"
    }


@pytest.mark.parametrize("host", ["pics.example", None])
def test_a_proxy_may_keep_or_replace_the_host_name(running: Running, host: str | None):
    """nginx's default replaces it; `proxy_set_header Host $host` keeps it."""
    body, headers = multipart(b"a picture")
    sent = {**headers, "Origin": PROXY, "Sec-Fetch-Site": "same-origin", **({"Host": host} if host else {})}
    assert fetch(f"{running.address}/gradio_api/upload", data=body, headers=sent)[0] == 200
    assert fetch(f"{running.address}/", headers={"Host": host} if host else {})[0] == 200
    foreign = {**sent, "Origin": "https://evil.example"}
    assert fetch(f"{running.address}/gradio_api/upload", data=body, headers=foreign)[0] == 403


def test_hosts_of_local_and_public_servers():
    local, public = HostCheck("127.0.0.1", ["Pics.example"]), HostCheck("0.0.0.0", [])
    for host in ("127.0.0.1:7860", "localhost", "[::1]:7860", "pics.example", "pics.example:443"):
        assert local.accepts(host)
    for host in ("evil.example", "192.168.0.7", "", "[::1", "pics.example.evil.example"):
        assert not local.accepts(host)
    assert public.accepts("192.168.0.7:7860")
    assert not public.accepts("evil.example:7860")


def test_a_file_over_the_limit_is_refused(running: Running):
    body, headers = multipart(os.urandom(2_100_000))
    status, said = fetch(f"{running.address}/gradio_api/upload", data=body, headers=headers)
    assert status == 413
    assert b"exceeded" in said


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_before_it_is_read(running: Running, chunked: bool):
    """The queue takes small JSON: with a declared length, and in chunks of unknown total."""

    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 100_000 + 10):
            yield b'"' + 99_999 * b" "

    log = running.temporary / "said.txt"
    logged = log.stat().st_size
    parts = urlsplit(running.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"}
        if chunked:
            connection.request("POST", "/gradio_api/queue/join", chunks(), headers, encode_chunked=True)
        else:
            connection.putrequest("POST", "/gradio_api/queue/join")
            for name, value in {**headers, "Content-Length": str(50 * MAX_BODY_BYTES)}.items():
                connection.putheader(name, value)
            connection.endheaders(b"{")
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        assert chunked, "the server may stop reading"
    finally:
        connection.close()
    assert log.stat().st_size - logged < 10_000, "the body is not logged"


def test_uploads_are_private(running: Running):
    (folder,) = running.temporary.glob("pca-protect-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_public_address_is_warned_of():
    hosts = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "192.168.0.7", "my.host")
    assert [is_public(host) for host in hosts] == [False, False, False, True, True, True, True]
    assert "without a password" in public_warning("0.0.0.0")
