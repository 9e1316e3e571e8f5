"""`pca-protect serve` as a process: its refusals at the start, and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import typer.main
from api_server import LONG, LONG_PX, QUICK, eventually, png
from web_server import free_port

from pca_protect.cli.api.server import bind
from pca_protect.cli.main import app, main
from pca_protect.cli.serve import PORT, TOKEN_VARIABLE, _defaults
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.image.scale_names import Scale, parse_scales
from pca_protect.presets import PRESETS

TOKEN = "0123456789abcdef"


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and message of a server that does not start."""
    monkeypatch.setattr(sys, "argv", ["pca-protect", "serve", "--offline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return int(str(ended.value.code)), message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_open_to_the_network_needs_a_token(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    code, message = refusal(monkeypatch, capsys, "--host", host, "--vae", "pocket")
    assert code == 2
    assert "--token-file" in message


@pytest.mark.parametrize("token", ["short", "with spaces in the middle", "ümlaut-ümlaut-ümlaut", "\n"])
def test_bad_token(token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "token").write_text(token, encoding="utf-8")
    assert refusal(monkeypatch, capsys, "--token-file", str(tmp_path / "token"))[0] == 2
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    assert refusal(monkeypatch, capsys)[0] == 2


def test_other_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert refusal(monkeypatch, capsys, "--token-file", str(tmp_path / "none"))[0] == 2
    assert refusal(monkeypatch, capsys, "--preset", "magic")[0] == 2
    assert refusal(monkeypatch, capsys, "--root-path", "no-slash")[0] == 2
    assert refusal(monkeypatch, capsys, "--host", "192.0.2.1", "--no-token")[0] == 2  # not of this machine
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert refusal(monkeypatch, capsys, "--no-token")[0] == 2


@pytest.mark.parametrize("vae", [(), ("--vae", "sd")])
def test_never_falls_back_to_the_test_model(
    vae: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    code, message = refusal(monkeypatch, capsys, "--port", "0", *vae)
    assert code == 3
    assert "pocket" not in message.partition("(")[0]


@contextmanager
def server(folder: Path, *arguments: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    port = free_port()
    temporary = folder / "temporary"
    temporary.mkdir()
    environment = {
        **os.environ,
        TOKEN_VARIABLE: TOKEN,
        "PCA_PROTECT_VAE": "pocket",
        "TMPDIR": str(temporary),
    }
    command = [sys.executable, "-m", "pca_protect", "serve", "--port", str(port), "--offline", *arguments]
    with (folder / "stderr.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address == f"http://127.0.0.1:{port}", (folder / "stderr.txt").read_text()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            yield client, process
        assert list(temporary.iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def test_stop_finishes_the_running_job_and_refuses_others(tmp_path: Path):
    with server(tmp_path, "--grace-seconds", "60") as (client, process):
        answers: dict[str, httpx.Response] = {}

        def post(name: str, params: dict[str, str], size_px: int) -> threading.Thread:
            def send() -> None:
                answers[name] = client.post("/v1/protect", params=params, content=png(size_px, size_px))

            thread = threading.Thread(target=send)
            thread.start()
            return thread

        def jobs() -> int:
            return int(float(client.get("/metrics").text.partition("\npca_protect_jobs ")[2].split()[0]))

        running = post("running", {"preset": "paper"}, 128)
        eventually(lambda: jobs() == 1)
        waiting = post("waiting", QUICK, 64)
        eventually(lambda: jobs() == 2)
        process.send_signal(signal.SIGTERM)
        eventually(lambda: "waiting" in answers)
        assert client.get("/healthz").status_code == 503
        refused = client.post("/v1/protect", params=QUICK, content=png())
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        for thread in (running, waiting):
            thread.join(60)
        assert process.wait(30) == 0
        assert answers["waiting"].status_code == 503
        assert answers["running"].status_code == 200
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


def test_stop_does_not_wait_longer_than_told(tmp_path: Path):
    with server(tmp_path, "--grace-seconds", "0.5") as (client, process):
        answers: list[httpx.Response] = []

        def send() -> None:
            answers.append(client.post("/v1/protect", params=LONG, content=png(LONG_PX, LONG_PX)))

        thread = threading.Thread(target=send)
        thread.start()
        eventually(lambda: "\npca_protect_jobs 1.0" in client.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        thread.join(30)
        assert [answer.status_code for answer in answers] == [503]
        assert process.wait(30) == 0
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


def test_port_of_a_kubernetes_service_is_not_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PCA_PROTECT_PORT", "tcp://10.0.0.1:7861")
    monkeypatch.setenv("PCA_PROTECT_MAX_JOBS", "7")
    context = typer.main.get_command(app).commands["serve"].make_context("serve", [])
    assert context.params["port"] == PORT
    assert context.params["max_jobs"] == 7


def test_address_in_use_and_delay():
    """asyncio disables Nagle's algorithm only if the socket was made with its protocol; otherwise each response takes 40 ms."""
    with closing(bind("127.0.0.1", 0)) as bound:
        assert bound.proto == socket.IPPROTO_TCP
        bound.listen()
        with pytest.raises(UsageError):
            bind("127.0.0.1", bound.getsockname()[1])


@pytest.mark.parametrize(
    ("device", "presets", "scales", "default"),
    [
        ("cpu", [], "", ("fast", (256,))),
        ("cuda", [], "", ("thorough", (256, "native"))),
        ("cpu", ["paper", "instant"], "", ("paper", (256,))),
        ("cpu", [], "512,native", ("fast", (512, "native"))),
    ],
)
def test_defaults_of_requests_are_those_of_protect(
    device: str, presets: list[str], scales: str, default: tuple[str, tuple[Scale, ...]]
):
    base = ProtectConfig(vae="pocket", device=device)
    config, offered = _defaults(base, presets, parse_scales(scales))
    assert (offered[0], config.scales) == default
    assert set(offered) == set(presets or PRESETS)


def test_command_is_listed():
    assert "serve" in {command.name for command in app.registered_commands}
