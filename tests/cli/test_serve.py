"""The HTTP API: results equal to those of `protect`, jobs, and every kind of bad request. A real server, a real client."""

from __future__ import annotations

import io
import json
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from api_server import LONG, LONG_PX, QUICK, encoded, eventually, metric, png, serving
from conftest import smooth_picture
from load_serve import BAD, PROTECT, in_chunks
from PIL import Image

from pca_protect import ProtectConfig, protect
from pca_protect.cli.api.limits import Limits
from pca_protect.cli.api.options import ProtectOptions
from pca_protect.cli.api.responses import LARGEST_RECORD_BYTES, record_header
from pca_protect.surrogates.encoder import Surrogate

LIMITS = Limits(max_bytes=1_000_000, max_pixels=200_000, max_jobs=3, body_seconds=20.0)
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def client(pocket: Surrogate) -> Iterator[httpx.Client]:
    with serving(pocket, limits=LIMITS) as running:
        yield running


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_result_is_that_of_protect(client: httpx.Client, pocket: Surrogate, tmp_path: Path):
    path = tmp_path / "picture.png"
    path.write_bytes(png())
    config = ProtectConfig(mode="subtle", preset="fast", budget_levels=9, vae="pocket", device="cpu")
    protect(path, config, surrogate=pocket).save(tmp_path / "expected.png")
    answer = client.post("/v1/protect?mode=subtle&preset=fast&budget=9", content=png())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(pixels(answer.content), pixels((tmp_path / "expected.png").read_bytes()))
    record = json.loads(answer.headers["x-pca-record"])
    assert record["max_change_levels"] == 9
    assert record["test_only"] is True


def test_every_option_arrives(client: httpx.Client):
    options: dict[str, object] = {
        "mode": "subtle", "preset": "fast", "budget": 12, "max_visibility": 3.5, "survive": "jpeg",
        "region": "center", "scales": "64,native", "steps": 2, "seed": 7, "evaluate": False, "format": "webp",
        "strip_metadata": True, "strip_gps": True, "notice": "ask me first",
    }  # fmt: skip
    assert {*options, "until"} == set(ProtectOptions.model_fields)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    sent = encoded(smooth_picture(80, 72), exif=exif)
    form = {"picture": ("some.png", sent), "options": (None, json.dumps(options))}
    view = client.post("/v1/protect", files=form, headers={"Accept": "application/json"}).json()
    config = view["record"]["config"]
    assert view["record"]["gain_over_noise"] is None  # not evaluated
    for name in ("mode", "preset", "max_visibility", "survive", "region", "steps", "seed"):
        assert config[name] == options[name], name
    assert config["budget_levels"] == 12
    assert config["scales"] == [64, "native"]
    file = client.get(view["file"])
    assert file.headers["content-type"] == "image/webp"
    assert b"ask me first" in file.content
    assert b"a description" not in file.content
    until = client.post("/v1/protect?preset=fast&until=1.5", content=png())
    assert json.loads(until.headers["x-pca-record"])["until"] == 1.5
    assert client.post("/v1/protect?evaluate=false&until=2", content=png()).status_code == 422


def test_job_in_the_background(client: httpx.Client):
    answer = client.post("/v1/protect", params=QUICK, content=png(), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    place = answer.headers["location"]
    eventually(lambda: client.get(place).json()["state"] == "done")
    view = client.get(place).json()
    assert view["progress"] == 1
    assert client.get(view["file"]).content == client.post("/v1/protect", params=QUICK, content=png()).content
    assert client.delete(place).status_code == 204
    assert (
        client.get(place).status_code == client.get(view["file"]).status_code == client.delete(place).status_code == 404
    )


def test_cancelled_job_stops_and_the_next_one_runs(client: httpx.Client):
    sent = png(LONG_PX, LONG_PX)
    first, second = (
        client.post("/v1/protect", params=LONG, content=sent, headers={"Prefer": "respond-async"}).headers["location"]
        for _ in range(2)
    )
    eventually(lambda: client.get(first).json()["progress"] > 0)
    assert client.get(first).json()["state"] == "running"
    assert client.get(second).json()["position"] == 1
    assert client.get(f"{first}/file").status_code == 409
    for place in (second, first):
        assert client.delete(place).status_code == 204
    assert client.post("/v1/protect", params=QUICK, content=png()).status_code == 200


def test_disconnected_client_cancels_its_job(client: httpx.Client):
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/protect", params=LONG, content=png(LONG_PX, LONG_PX), timeout=0.5)
    eventually(lambda: metric(client, "pca_protect_jobs") == 0)
    assert metric(client, 'pca_protect_job_seconds_count{state="cancelled"}') > 0


def test_sizes_of_editors_are_the_default(pocket: Surrogate):
    """But for `instant`, whose universal perturbation has the picture's own size."""
    with serving(pocket, scales=(64, "native")) as client:
        for query, scales in (
            ("preset=fast", [64, "native"]),
            ("preset=fast&scales=native", ["native"]),
            ("preset=instant", []),
        ):
            answer = client.post(f"/v1/protect?{query}", content=png(96, 80))
            assert answer.status_code == 200, answer.text
            assert json.loads(answer.headers["x-pca-record"])["scales"] == scales


def test_outputs_are_no_inputs(client: httpx.Client):
    protected = client.post("/v1/protect", params=QUICK, content=png()).content
    answer = client.post("/v1/protect", params=QUICK, content=protected)
    assert answer.status_code == 422
    assert "send the original" in answer.json()["detail"]


def test_check(client: httpx.Client):
    protected = client.post("/v1/protect?mode=diffusion&preset=fast", content=png(96, 96)).content
    found = client.post("/v1/check?seed=3", files={"picture": protected, "original": png(96, 96)}).json()
    assert found["change"]["max_change_levels"] == 16
    assert found["seed"] == 3
    assert found["vaes"][0]["shift"]["gain_over_noise"] > 2
    assert client.post("/v1/check", content=protected).json()["change"] is None
    assert client.post("/v1/check", files={"picture": protected, "original": png(96, 95)}).status_code == 422


def test_slow_body(pocket: Surrogate):
    with serving(pocket, limits=Limits(body_seconds=0.3)) as client:
        answer = client.post(PROTECT, content=in_chunks(bytes(200_000), pause=0.2))
        assert answer.status_code == 408
        assert "0.3 s" in answer.json()["detail"]
        assert client.post(PROTECT, params=QUICK, content=png()).status_code == 200


@pytest.mark.parametrize("name", BAD)
def test_bad_request_gets_a_status_and_one_sentence(client: httpx.Client, name: str):
    status, send = BAD[name]
    answer = send(client)
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert 0 < len(detail) <= 300
    assert "Traceback" not in detail
    eventually(lambda: metric(client, "pca_protect_jobs") == 0)


def test_bad_requests_do_not_disturb_others(client: httpx.Client):
    """After all of the above: the server is ready, no job is left, and a picture is protected."""
    assert client.get("/healthz").json() == {"status": "ready"}
    assert client.post(PROTECT, params=QUICK, content=png()).status_code == 200


def test_full_queue(client: httpx.Client):
    sent, later = png(LONG_PX, LONG_PX), {"Prefer": "respond-async"}
    places = [
        client.post(PROTECT, params=LONG, content=sent, headers=later).headers["location"]
        for _ in range(LIMITS.max_jobs)
    ]
    try:
        refused = client.post(PROTECT, params=QUICK, content=png())
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
    finally:
        for place in places:
            client.delete(place)
    eventually(lambda: client.post(PROTECT, params=QUICK, content=png()).status_code == 200)


def test_uploads_count_before_their_bodies_are_read(client: httpx.Client):
    """Otherwise many slow uploads would fill the memory."""
    address = (client.base_url.host, client.base_url.port)
    head = b"POST /v1/protect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    slow = [socket.create_connection(address, timeout=20) for _ in range(LIMITS.max_jobs)]
    try:
        for connection in slow:
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # the server waits for the body
        assert client.post(PROTECT, params=QUICK, content=png()).status_code == 429
    finally:
        for connection in slow:
            connection.close()
    eventually(lambda: client.post(PROTECT, params=QUICK, content=png()).status_code == 200)


def test_client_that_leaves_during_its_upload(client: httpx.Client):
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall(b"POST /v1/protect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        time.sleep(0.2)
    status = 'pca_protect_requests_total{{route="/v1/protect",status="{}"}}'
    eventually(lambda: metric(client, status.format(499)) > 0)
    assert metric(client, status.format(500)) == 0


def test_body_is_not_requested_where_it_would_be_refused(client: httpx.Client):
    """curl waits for `100 Continue` before it sends a large file."""
    address = (client.base_url.host, client.base_url.port)
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(
            b"POST /v1/protect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_description_names_every_option_and_needs_no_other_host(client: httpx.Client):
    description = client.get("/openapi.json").json()
    parameters = {parameter["name"] for parameter in description["paths"][PROTECT]["post"]["parameters"]}
    assert parameters >= set(ProtectOptions.model_fields)
    found = client.post("/v1/check", content=png()).json()
    checked = description["components"]["schemas"]["CheckView"]["properties"]
    assert set(checked) <= set(found)
    assert set(description["components"]["schemas"]["EncoderView"]["properties"]) <= set(found["vaes"][0])
    page = client.get("/docs").text
    assert "://" not in page
    for place in ("/static-offline-docs/swagger-ui.css", "/static-offline-docs/swagger-ui-bundle.js"):
        assert place in page
        assert client.get(place).status_code == 200


def test_no_cors_by_default(client: httpx.Client):
    answer = client.options(PROTECT, headers={"Access-Control-Request-Method": "POST"})
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_uploads_stay_in_memory(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, pocket: Surrogate):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    sent = encoded(smooth_picture(64, 48), "TIFF") + bytes(2_000_000)  # Starlette would write over 1 MB to the disk
    with serving(pocket) as roomy:
        assert roomy.post(PROTECT, params=QUICK, files={"picture": sent}).status_code == 200


def test_token_hosts_and_origins(pocket: Surrogate):
    with serving(pocket, token=TOKEN, hosts=["pics.example"], origins=["https://pics.example"]) as client:
        right = {"Authorization": f"Bearer {TOKEN}"}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = client.post(PROTECT, content=png(), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/metrics", "/v1/jobs/x", "/v1/protect"):
            assert client.get(path).status_code == 401
        for path in ("/healthz", "/openapi.json", "/docs"):
            assert client.get(path).status_code == 200
        answer = client.post(
            PROTECT,
            params=QUICK,
            content=png(),
            headers={**right, "Host": "pics.example:8443", "Origin": "https://pics.example"},
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://pics.example"
        assert "X-PCA-Record" in answer.headers["access-control-expose-headers"]
        assert client.post(PROTECT, headers={**right, "Origin": "https://evil.example"}).status_code == 403


def test_behind_a_proxy_that_removes_a_prefix(pocket: Surrogate):
    with serving(pocket, root_path="/protect", token=TOKEN) as client:
        assert client.get("/v1/jobs/x").status_code == 401
        assert client.get("/healthz").status_code == 200
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        answer = client.post(PROTECT, params=QUICK, content=png(), headers={"Prefer": "respond-async"})
        place = answer.headers["location"]
        assert place.startswith("/protect/v1/jobs/")
        eventually(lambda: client.get(place.removeprefix("/protect")).json()["state"] == "done")
        assert "/protect/openapi.json" in client.get("/docs").text


def test_record_header_is_bounded(client: httpx.Client):
    view = client.post(PROTECT, params=QUICK, content=png(), headers={"Accept": "application/json"}).json()
    record = {**view["record"], "warnings": ["Æ" * 100] * 50}
    text = record_header(record)
    assert len(text) <= LARGEST_RECORD_BYTES
    assert text.isascii()
    assert json.loads(text)["warnings_left_out"] > 0
