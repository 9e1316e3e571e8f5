"""The recipes of docs/serve.md, against stand-ins for the programs around them."""

from __future__ import annotations

import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from api_server import eventually, serving
from conftest import ROOT, smooth_picture
from documents import blocks_of
from PIL import Image
from web_server import free_port

from pca_protect.cli.api.limits import Limits
from pca_protect.surrogates.encoder import Surrogate

RECIPES = ROOT / "examples" / "serve"
NGINX, PHP = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"), shutil.which("php")
NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
TOKEN = "a-token-of-some-length"
QUICK_PRESETS = ("instant", "fast")


def change(before: Image.Image, after: bytes | Path) -> int:
    """The largest change in levels of a protected file."""
    protected = Image.open(after if isinstance(after, Path) else io.BytesIO(after)).convert("RGB")
    return int(np.abs(np.asarray(protected).astype(int) - np.asarray(before.convert("RGB"))).max())


@pytest.fixture(scope="module")
def server(pocket: Surrogate) -> Iterator[httpx.Client]:
    with serving(pocket, presets=QUICK_PRESETS, token=TOKEN) as client:
        yield client


def test_upload_job(
    server: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    smooth_picture(64, 48).save(tmp_path / "resized.png")
    job = [str(RECIPES / "upload_job.py"), str(tmp_path / "resized.png"), str(tmp_path / "public.png")]
    monkeypatch.setenv("PCA_PROTECT_TOKEN", TOKEN)
    monkeypatch.setattr(sys, "argv", [*job, "--server", str(server.base_url)])
    runpy.run_path(job[0], run_name="__main__")
    assert 0 < change(smooth_picture(64, 48), tmp_path / "public.png") <= 16
    assert "test model" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["public.png", "resized.png"]


def test_upload_job_waits_for_a_busy_server(pocket: Surrogate, tmp_path: Path):
    protect_upload = runpy.run_path(str(RECIPES / "upload_job.py"))["protect_upload"]
    smooth_picture(64, 48).save(tmp_path / "resized.png")
    with serving(pocket, limits=Limits(max_jobs=1)) as client:
        picture = (tmp_path / "resized.png").read_bytes()
        first = client.post("/v1/protect?preset=thorough", content=picture, headers={"Prefer": "respond-async"})
        public = tmp_path / "public.png"
        options = {"mode": "subtle", "preset": "instant"}
        work = threading.Thread(
            target=protect_upload,
            args=(tmp_path / "resized.png", public, client),
            kwargs={"options": options, "patience": 60},
        )
        work.start()
        refused = 'pca_protect_requests_total{route="/v1/protect",status="429"}'
        eventually(lambda: refused in client.get("/metrics").text)
        client.delete(first.headers["location"])
        work.join(60)
        assert public.is_file()
        (tmp_path / "broken.png").write_bytes(picture[:-2000])
        with pytest.raises(httpx.HTTPStatusError):
            protect_upload(tmp_path / "broken.png", public, client, options=options, patience=60)


CURL = shutil.which("curl")
REQUESTS = [
    command
    for block in blocks_of(ROOT / "docs" / "serve.md")
    for command in block.commands
    if command.startswith("curl ")
]


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_requests_in_the_document(pocket: Surrogate, tmp_path: Path):
    (tmp_path / "examples").mkdir()
    smooth_picture(64, 48).save(tmp_path / "photo.jpg")
    smooth_picture(64, 48).save(tmp_path / "examples" / "astronaut.png")
    said = {}
    with serving(pocket, presets=QUICK_PRESETS) as client:
        for command in REQUESTS:
            words = shlex.split(command.replace("http://127.0.0.1:7861", str(client.base_url)))
            ran = subprocess.run(
                [*words, "--silent", "--show-error"], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            said[command] = ran.stdout
    assert len(said) == 6
    as_json, in_background, check = list(said.values())[3:]
    assert json.loads(as_json)["state"] == "done"
    assert "202 Accepted" in in_background
    assert json.loads(check)["change"]["max_change_levels"] > 0
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".jpg", ".png", ".webp"}


WORDPRESS = """<?php
// A stand-in for the functions of WordPress that the plugin calls.
define('PCA_PROTECT_SERVER', getenv('SERVER'));
define('PCA_PROTECT_TOKEN', getenv('TOKEN'));
function add_filter($name, $function, $priority, $arguments) { global $filters; $filters[$name] = $function; }
function get_attached_file($id) { return getenv('FOLDER') . '/photo-scaled.jpg'; }
function update_attached_file($id, $file) { global $did; $did['attached'] = basename($file); }
function wp_update_post($values) { global $did; $did['post'] = $values; }
function wp_delete_attachment($id, $force) { global $did; $did['deleted'] = $id; }
function wp_remote_post($url, $request) {
    $headers = '';
    foreach ($request['headers'] as $name => $value) { $headers .= "$name: $value\\r\\n"; }
    $http = array('method' => 'POST', 'header' => $headers, 'content' => $request['body'], 'ignore_errors' => true);
    $body = file_get_contents($url, false, stream_context_create(array('http' => $http)));
    return array('body' => $body, 'head' => $http_response_header);
}
function wp_remote_retrieve_body($answer) { return $answer['body']; }
function wp_remote_retrieve_response_code($answer) { return explode(' ', $answer['head'][0])[1]; }
function wp_remote_retrieve_header($answer, $name) { return ''; }
require getenv('PLUGIN');
$did['metadata'] = $filters['wp_generate_attachment_metadata'](json_decode(getenv('METADATA'), true), 7);
echo json_encode($did);
"""
METADATA = {
    "file": "2026/11/photo-scaled.jpg",
    "original_image": "photo.jpg",
    "sizes": {"thumbnail": {"file": "photo-48x48.jpg", "width": 48, "height": 48, "mime-type": "image/jpeg"}},
}


def wordpress(server: httpx.Client, folder: Path, picture: Image.Image, *, token: str = TOKEN) -> dict[str, Any]:
    """What the plugin did with an upload of three files."""
    for name, side_px in (("photo.jpg", 96), ("photo-scaled.jpg", 64), ("photo-48x48.jpg", 48)):
        picture.resize((side_px, side_px)).save(folder / name)
    environment = {
        "SERVER": str(server.base_url), "TOKEN": token, "FOLDER": str(folder),
        "PLUGIN": str(RECIPES / "wordpress.php"), "METADATA": json.dumps(METADATA),
    }  # fmt: skip
    command = [str(PHP), "-d", "display_errors=stderr"]
    ran = subprocess.run(command, input=WORDPRESS, env=environment, capture_output=True, text=True, check=True)
    did: dict[str, Any] = json.loads(ran.stdout)
    return did


@pytest.mark.skipif(PHP is None, reason="PHP is not installed")
def test_wordpress(server: httpx.Client, tmp_path: Path):
    picture = smooth_picture(96, 96)
    did = wordpress(server, tmp_path, picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo-48x48.webp", "photo-scaled.webp"]
    metadata = did["metadata"]
    assert metadata["file"] == "2026/11/photo-scaled.webp"
    assert "original_image" not in metadata
    assert metadata["sizes"]["thumbnail"]["file"] == "photo-48x48.webp"
    assert did["attached"] == "photo-scaled.webp"
    assert did["post"] == {"ID": 7, "post_mime_type": "image/webp"}
    for name in ("photo-48x48.webp", "photo-scaled.webp"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "WEBP"


@pytest.mark.skipif(PHP is None, reason="PHP is not installed")
def test_wordpress_publishes_nothing_unprotected(server: httpx.Client, tmp_path: Path):
    did = wordpress(server, tmp_path, smooth_picture(96, 96), token="wrong")
    assert did["deleted"] == 7
    assert did["metadata"] == []


@contextmanager
def resizer(picture: bytes) -> Iterator[tuple[int, list[str]]]:
    """A stand-in for imgproxy on a port, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = ".png" in self.path
            body = b"unprotected, and no picture" if "broken" in self.path else picture if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as stand_in:
        threading.Thread(target=stand_in.serve_forever, daemon=True).start()
        yield stand_in.server_port, asked
        stand_in.shutdown()


@contextmanager
def nginx(folder: Path, server: str, resizer_port: int) -> Iterator[str]:
    """The address of nginx with the recipe's files, on free ports."""
    ports = {"8080": free_port(), "8081": free_port(), "8082": resizer_port}
    (folder / "js").mkdir()
    code = (RECIPES / "protect.js").read_text().replace("http://127.0.0.1:7861", server)
    (folder / "js" / "protect.js").write_text(code)
    text = (RECIPES / "nginx.conf").read_text()
    text = text.replace("/etc/nginx/pca-protect", str(folder / "js")).replace("/var/cache/nginx", str(folder / "cache"))
    text = text.replace("modules/ngx_http_js_module.so", str(NJS))
    for port, free in ports.items():
        text = re.sub(rf"\b{port}\b", str(free), text)
    (folder / "cache").mkdir()
    (folder / "nginx.conf").write_text(f"user root; daemon off; pid {folder}/pid; env PCA_PROTECT_TOKEN;\n{text}")
    environment = {"PCA_PROTECT_TOKEN": TOKEN}
    command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{ports['8080']}"
    try:
        eventually(lambda: answers(address) or process.poll() is not None, seconds=20)
        assert process.poll() is None, (folder / "log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(20)


def answers(address: str) -> bool:
    try:
        httpx.get(address)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.skipif(NGINX is None or not NJS.exists(), reason="nginx with njs is not installed")
def test_nginx_protects_what_a_resizer_makes_once(server: httpx.Client, tmp_path: Path):
    picture = smooth_picture(160, 120)
    file = io.BytesIO()
    picture.save(file, "PNG")
    with resizer(file.getvalue()) as (port, asked), nginx(tmp_path, str(server.base_url), port) as address:
        first, second = (httpx.get(f"{address}/photos/w:160/cat.png?v=2", timeout=60) for _ in range(2))
        assert first.status_code == 200, (tmp_path / "log").read_text()
        assert first.headers["content-type"] == "image/webp"
        assert 0 < change(picture, first.content) <= 16
        assert second.content == first.content
        assert asked == ["/w:160/cat.png?v=2"]
        assert httpx.get(f"{address}/photos/none").status_code == 404
        broken = httpx.get(f"{address}/photos/broken.png")
        assert broken.status_code == 503
        assert b"unprotected" not in broken.content
        assert httpx.get(f"{address}/resized/w:160/cat.png").status_code == 404
