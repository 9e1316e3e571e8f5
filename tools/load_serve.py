"""Load `pca-protect serve` with a real client, and write the tables of docs/serve.md:

    python tools/load_serve.py --requests 2000

Measures seconds and bytes of uploads by size, throughput and latency of parallel uploads, memory over many requests, and the
responses to hostile requests. The server is a process of its own on the CPU, with the embedded test model; uploads by size are
measured with `--vae` too.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import httpx
import psutil
from PIL import Image

PHOTO = Path(__file__).resolve().parent.parent / "examples" / "astronaut.png"
PROTECT = "/v1/protect"
INSTANT = {"preset": "instant"}
CLIENTS = (1, 4, 16)
SIDE_PX = 256
SIZES = ((512, 512), (1024, 768), (3000, 2000))
"""Of uploads one by one."""
LIMITS = ("--max-upload", "1", "--max-megapixels", "0.2", "--body-seconds", "1")
"""Limits that the hostile requests exceed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="requests over which memory is measured")
    parser.add_argument("--per-level", type=int, default=64, help="requests per number of clients")
    parser.add_argument("--vae", help="another encoder for uploads by size, such as a folder")
    options = parser.parse_args()
    for line in report(options.requests, options.per_level, ["pocket", options.vae] if options.vae else ["pocket"]):
        print(line, flush=True)


def report(requests: int, per_level: int, vaes: Sequence[str]) -> Iterator[str]:
    """Markdown, paragraph by paragraph."""
    packages = ("pca-protect", "torch", "fastapi", "uvicorn", "httpx")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    yield f"{datetime.now(timezone.utc):%Y-%m-%d}, CPU with {os.cpu_count()} cores, load {load:.1f} at the start"
    yield f"(Python {platform.python_version()}, {versions})."
    yield (
        "\n| encoder | picture | seconds | JPEG | protected PNG | protected WebP | memory of the server |\n"
        + "|---" * 7
        + "|"
    )
    for vae in vaes:
        yield from by_size(vae)
    yield f"\nPreset `instant` with the encoder `pocket`, photographs of {SIDE_PX}x{SIDE_PX} px.\n"
    with serving() as (client, process):
        yield "| clients | pictures per second | median latency | 95 % | lost |\n|---|---|---|---|---|"
        upload(client, max(CLIENTS), max(CLIENTS))  # the first requests are slower
        for clients in CLIENTS:
            seconds, lost, took = upload(client, clients, per_level)
            tail = sorted(seconds)[int(0.95 * (len(seconds) - 1))]
            yield (
                f"| {clients} | {per_level / took:.1f} | {statistics.median(seconds):.2f} s | {tail:.2f} s | {lost} |"
            )
        yield f"\n| requests | memory of the server |\n|---|---|\n| {per_level * len(CLIENTS)} | {megabytes(process)} MB |"
        lost, quarter = 0, max(1, requests // 4)
        for done in range(quarter, requests + 1, quarter):
            lost += upload(client, 4, quarter)[1]
            yield f"| {per_level * len(CLIENTS) + done} | {megabytes(process)} MB |"
        yield f"\nLost: {lost} of {requests}.\n"
    yield "| request | status | sentence |\n|---|---|---|"
    with serving(*LIMITS) as (client, _):
        for name, (expected, send) in {**BAD, "slow body": (408, slow)}.items():
            answer = send(client)
            mark = "" if answer.status_code == expected else f" (expected {expected})"
            yield f"| {name} | {answer.status_code}{mark} | {answer.json()['detail'].replace('|', '')} |"
        ready = client.get("/healthz").status_code, client.post(PROTECT, params=INSTANT, content=photo(0)).status_code
    yield f"\nAfterwards: `GET /healthz` {ready[0]}, `POST {PROTECT}` {ready[1]}."


def by_size(vae: str) -> Iterator[str]:
    """A table row for each size: seconds of a request with the server's defaults, and bytes."""
    with serving("--job-seconds", "3600", vae=vae) as (client, process), Image.open(PHOTO) as whole:
        for size in SIZES:
            body = encoded(whole.convert("RGB").resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)
            began = time.perf_counter()
            png = client.post(PROTECT, content=body).raise_for_status().content
            seconds = time.perf_counter() - began
            with Image.open(io.BytesIO(png)) as protected:
                webp = encoded(protected.convert("RGB"), "WEBP", lossless=True)
            kilobytes = " | ".join(f"{len(data) / 1000:,.0f} kB" for data in (body, png, webp))
            yield f"| {Path(vae).name} | {size[0]}x{size[1]} | {seconds:.1f} | {kilobytes} | {megabytes(process)} MB |"


@contextmanager
def serving(*options: str, vae: str = "pocket") -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A client of a server process that ends with the block."""
    command = [sys.executable, "-m", "pca_protect", "serve", "--port", "0", "--vae", vae, "--offline", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        with httpx.Client(base_url=address, timeout=3600, limits=limits) as client:
            yield client, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate()


def upload(client: httpx.Client, clients: int, requests: int) -> tuple[list[float], int, float]:
    """Protect pictures in parallel.

    Returns:
        Seconds of each request, the number of those without a protected picture, and seconds of all.
    """
    bodies = [photo(number) for number in range(16)]

    def post(number: int) -> tuple[float, bool]:
        began = time.perf_counter()
        answer = client.post(PROTECT, params=INSTANT, content=bodies[number % len(bodies)])
        return time.perf_counter() - began, answer.status_code == 200 and answer.content.startswith(b"\x89PNG")

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(post, range(requests)))
    seconds = [duration for duration, _ in answers]
    return seconds, sum(not whole for _, whole in answers), time.perf_counter() - began


def photo(number: int) -> bytes:
    """A part of a photograph as JPEG."""
    with Image.open(PHOTO) as whole:
        x, y = 15 * number, 10 * number
        return encoded(whole.convert("RGB").crop((x, y, x + SIDE_PX, y + SIDE_PX)), "JPEG")


def megabytes(process: psutil.Process) -> int:
    return round(process.memory_info().rss / 1e6)


def small(side_px: int = 64, mode: str = "RGB") -> bytes:
    return encoded(Image.linear_gradient("L").resize((side_px, side_px)).convert(mode))


def encoded(image: Image.Image, format_name: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def frames(count: int) -> bytes:
    """An animation whose frames have too many pixels together."""
    images = [Image.new("RGB", (128, 128), (17 * number, 0, 0)) for number in range(count)]
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:])
    return file.getvalue()


def in_chunks(data: bytes, *, pause: float = 0.0) -> Iterator[bytes]:
    """A body without a declared length."""
    for start in range(0, len(data), 1 << 16):
        time.sleep(pause)
        yield data[start : start + (1 << 16)]


def slow(client: httpx.Client) -> httpx.Response:
    return client.post(PROTECT, content=in_chunks(bytes(200_000), pause=0.6))


def _post(content: bytes | Iterator[bytes] = b"", *, path: str = PROTECT, **options: str) -> Send:
    return lambda client: client.post(path, content=content, params=options)


def _form(*fields: tuple[str, bytes | tuple[None, str]], path: str = PROTECT) -> Send:
    return lambda client: client.post(path, files=fields)


def _with(content: bytes = b"", **headers: str) -> Send:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda client: client.post(PROTECT, content=content, headers=named)


Send = Callable[[httpx.Client], httpx.Response]
FORM = "multipart/form-data"
BAD: dict[str, tuple[int, Send]] = {
    "empty body": (400, _post()),
    "form without a picture": (400, _form(("options", (None, "{}")))),
    "text in place of a picture": (415, _post(b"Good morning, this is no picture at all.")),
    "truncated picture": (422, _post(small()[:-100], preset="instant")),
    "picture truncated in its header": (422, _post(small()[:20])),
    "decompression bomb": (413, _post(bomb())),
    "too many pixels": (413, _post(small(600))),
    "too many pixels in all frames": (413, _post(frames(14), preset="instant")),
    "picture of 5 x 5 px": (422, _post(small(5))),
    "wholly transparent picture": (422, _post(encoded(Image.new("RGBA", (64, 64))), preset="instant")),
    "too many bytes": (413, _post(bytes(1_500_000))),
    "too many bytes without a length": (413, lambda client: client.post(PROTECT, content=in_chunks(bytes(3_000_000)))),
    "too many bytes in a form": (413, _form(("picture", bytes(1_500_000)))),
    "compressed body": (415, _with(small(), Content_Encoding="gzip")),
    "form without a boundary": (400, _with(b"--x--", Content_Type=FORM)),
    "unfinished form": (400, _with(b"--x\r\nContent", Content_Type=f"{FORM}; boundary=x")),
    "two pictures": (400, _form(("picture", small()), ("picture", small()))),
    "unknown form field": (400, _form(("picture", small()), ("original", small()))),
    "unknown option": (422, _post(small(), bugdet="3")),
    "unknown option in JSON": (422, _form(("picture", small()), ("options", (None, '{"bugdet": 3}')))),
    "options that are no JSON": (422, _form(("picture", small()), ("options", (None, "{")))),
    "options in two places": (
        422,
        lambda client: client.post(f"{PROTECT}?seed=1", files={"picture": small(), "options": (None, "{}")}),
    ),
    "word for a number": (422, _post(small(), budget="many")),
    "NaN": (422, _post(small(), max_visibility="nan")),
    "budget out of range": (422, _post(small(), budget="300")),
    "too many steps": (422, _post(small(), steps="121")),
    "unknown mode": (422, _post(small(), mode="magic")),
    "option of 5,000 characters": (422, _post(small(), region="1," * 2500)),
    "line break in the notice": (422, _post(small(), notice="a\nb")),
    "region outside": (422, _post(small(), region="900,0,9,9", preset="instant")),
    "job that is gone": (404, lambda client: client.get("/v1/jobs/AAAAAAAAAAAAAAAAAAAAAAAA")),
    "wrong method": (405, lambda client: client.get(PROTECT)),
    "unknown path": (404, lambda client: client.get("/v2/protect")),
    "unknown host": (400, _with(small(), Host="evil.example")),
    "page of another site": (403, _with(small(), Origin="https://evil.example")),
    "malformed origin": (403, _with(small(), Origin="http://[")),
    "check of text": (415, _form(("picture", small()), ("original", b"x" * 99), path="/v1/check")),
    "check with form options": (400, _form(("picture", small()), ("options", (None, "{}")), path="/v1/check")),
    "check with an unknown option": (422, _post(small(), path="/v1/check", sede="1")),
}
"""Requests to a server with `LIMITS`, and the status codes that they should get."""


if __name__ == "__main__":
    main()
