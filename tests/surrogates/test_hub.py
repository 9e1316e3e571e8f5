"""Surrogates from the model hub: downloads, the local cache, and every way in which a hub can let one down.

The hub is `hub_server`, the client is the real `huggingface_hub`. It reads its settings when it is imported, so the code
under test runs in processes of its own, each test with a cache of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_kl
from hub_server import GATED, Cut, HubServer, Repository, deaf_port, hub_server
from PIL import Image

from pca_protect.cli.flags import in_flags
from pca_protect.surrogates.registry import REGISTRY

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
FP16_WEIGHTS = "diffusion_pytorch_model.fp16.safetensors"
PICKLED_WEIGHTS = "diffusion_pytorch_model.bin"
SD_REPOSITORY = "stabilityai/sd-vae-ft-mse"

LOCATE = """
import json, sys
from pca_protect.errors import PcaProtectError
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.locate import locate

name, offline = json.loads(sys.argv[1])
try:
    found = locate(name, offline=offline)
    answer = {"name": found.name, "origin": found.origin, "config": found.config, "weights": str(found.weights[0])}
    answer["is_cached"] = found.entry is not None and is_cached(found.entry)
except PcaProtectError as error:
    answer = {"error": type(error).__name__, "exit_code": error.exit_code, "message": str(error)}
assert "torch" not in sys.modules
print(json.dumps(answer))
"""

# Several commands in one interpreter, because each would spend seconds on importing torch.
COMMANDS = """
import contextlib, io, json, sys
from pca_protect.cli.main import main

answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["pca-protect", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Client:
    """Someone's computer: a home folder with the hub's cache in it, and a folder with a picture."""

    folder: Path
    endpoint: str

    @property
    def cache(self) -> Path:
        return self.folder / "huggingface"

    @property
    def picture(self) -> Path:
        return self.folder / "picture.png"

    @property
    def outputs(self) -> list[str]:
        return [path.name for path in (self.folder / "out").iterdir()]

    def environment(self, endpoint: str | None = None, **more: str) -> dict[str, str]:
        """This process's, without anything that would lead to another hub, cache, token or proxy."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_")) and not name.lower().endswith("_proxy")
        }
        return kept | {
            "HF_ENDPOINT": endpoint or self.endpoint,
            "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            **more,
        }

    def locate(
        self, name: str, *, offline: bool = False, endpoint: str | None = None, seconds: float = 60, **environment: str
    ) -> dict[str, Any]:
        """What `locate` returned or raised. Fails if it takes longer, or raises anything that is no PcaProtectError."""
        done = subprocess.run(
            [sys.executable, "-c", LOCATE, json.dumps([name, offline])],
            env=self.environment(endpoint, **environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def arguments(self, vae: str, *more: str) -> list[str]:
        """Of a command that protects the picture."""
        options = ["--vae", vae, "--steps", "2", "--device", "cpu", "-o", str(self.folder / "out"), "--json", *more]
        return ["run", str(self.picture), *options]

    def commands(
        self, *commands: list[str], endpoint: str | None = None, **environment: str
    ) -> list[tuple[int, str, str]]:
        """Exit code, stdout and stderr of each `pca-protect` command."""
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps(commands)],
            env=self.environment(endpoint, **environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(answer) for answer in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def vae_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A tiny VAE as diffusers saves it: its configuration, and its weights in every form."""
    vae = tiny_kl()
    folder = tmp_path_factory.mktemp("vae")
    vae.save_pretrained(folder)
    vae.save_pretrained(folder, safe_serialization=False)
    vae.half().save_pretrained(folder, variant="fp16")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {CONFIG, WEIGHTS, FP16_WEIGHTS, PICKLED_WEIGHTS}
    return files


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def client(hub: HubServer, tmp_path: Path) -> Client:
    client = Client(tmp_path, hub.endpoint)
    (tmp_path / "out").mkdir()
    Image.frombytes("RGB", (37, 29), random.Random(0).randbytes(37 * 29 * 3)).save(client.picture)
    return client


def repository(files: dict[str, bytes], *names: str, folder: str = "") -> Repository:
    return Repository({folder + name: files[name] for name in names})


def assert_refused(answer: dict[str, Any], *parts: str, exit_code: int = 3) -> None:
    """A failure that is one sentence with these parts, not a page of somebody else's."""
    assert answer.get("exit_code") == exit_code, answer
    assert answer["message"].count("\n") == 0
    assert len(answer["message"]) <= 300
    for part in parts:
        assert part in answer["message"]


@pytest.mark.parametrize("weights", [WEIGHTS, FP16_WEIGHTS])
@pytest.mark.parametrize(
    ("repo_id", "folder", "name"),
    [
        ("owner/pipeline", "vae/", "owner/pipeline"),
        ("owner/tiny-vae", "", "owner/tiny-vae"),
        (SD_REPOSITORY, "", "sd"),
    ],
)
def test_downloaded_once_and_then_never_asked_for_again(
    hub: HubServer, client: Client, vae_files: dict[str, bytes], repo_id: str, folder: str, name: str, weights: str
) -> None:
    hub.repositories[repo_id] = repository(vae_files, CONFIG, weights, folder=folder)

    first = client.locate(name)
    assert (first["name"], first["origin"]) == (name, repo_id)
    assert first["config"] == json.loads(vae_files[CONFIG])
    assert Path(first["weights"]).read_bytes() == vae_files[weights]
    assert Path(first["weights"]).is_relative_to(client.cache)

    hub.asked.clear()
    assert client.locate(name) == first
    assert client.locate(name, offline=True) == first
    assert hub.asked == []
    with deaf_port() as endpoint:
        assert client.locate(name, endpoint=endpoint) == first


def test_full_precision_is_preferred(hub: HubServer, client: Client, vae_files: dict[str, bytes]) -> None:
    hub.repositories["owner/tiny-vae"] = repository(vae_files, *vae_files)
    assert Path(client.locate("owner/tiny-vae")["weights"]).name == WEIGHTS
    assert hub.downloads(FP16_WEIGHTS) == hub.downloads(PICKLED_WEIGHTS) == []


def test_connection_lost_once_is_taken_up_where_it_broke(
    hub: HubServer, client: Client, vae_files: dict[str, bytes]
) -> None:
    """huggingface_hub keeps what arrived in units of 10 MiB, so the weights have to be larger than a tiny VAE's; their
    content does not matter here."""
    unit = 10 * 2**20
    weights = random.Random(0).randbytes(2 * unit + 12345)
    hub.repositories["owner/tiny-vae"] = Repository({CONFIG: vae_files[CONFIG], WEIGHTS: weights})
    hub.cut = Cut(after_bytes=unit + 54321, times=1)

    found = client.locate("owner/tiny-vae")
    assert hub.cut.times == 0
    assert hub.downloads(WEIGHTS) == [(None, HTTPStatus.OK), (f"bytes={unit}-", HTTPStatus.PARTIAL_CONTENT)]
    assert Path(found["weights"]).read_bytes() == weights


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_connection_lost_again_and_again_fails_and_a_rerun_downloads(
    hub: HubServer, client: Client, vae_files: dict[str, bytes], reset: bool
) -> None:
    hub.repositories["owner/tiny-vae"] = repository(vae_files, CONFIG, WEIGHTS)
    hub.cut = Cut(after_bytes=1000, times=1000, reset=reset)

    assert_refused(client.locate("owner/tiny-vae"), WEIGHTS, "could not be downloaded", "run again")
    assert_refused(client.locate("owner/tiny-vae", offline=True), "not in the local cache")

    hub.cut = None
    found = client.locate("owner/tiny-vae")
    assert Path(found["weights"]).read_bytes() == vae_files[WEIGHTS]
    assert list(client.cache.rglob("*.incomplete")) == []


def test_interrupting_a_download_leaves_nothing_behind(
    hub: HubServer, client: Client, vae_files: dict[str, bytes]
) -> None:
    hub.repositories["owner/tiny-vae"] = repository(vae_files, CONFIG, WEIGHTS)
    hub.cut = Cut(after_bytes=1000, times=1, hold=True)
    command = [sys.executable, "-m", "pca_protect", *client.arguments("owner/tiny-vae")]
    with subprocess.Popen(
        command, env=client.environment(), cwd=client.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert hub.holding.wait(timeout=60)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("interrupted; ")
    assert "Traceback" not in stderr
    assert client.outputs == []
    assert list(client.cache.rglob("*.incomplete")) == []


def test_missing_repository(client: Client) -> None:
    assert_refused(client.locate("owner/missing"), "owner/missing is not on the hub", "check the id", "hf auth login")


def test_gated_repository(hub: HubServer, client: Client) -> None:
    hub.repositories["owner/gated"] = GATED
    assert_refused(client.locate("owner/gated"), "owner/gated is gated", "accept its licence", "hf auth login")


def test_wrong_token(hub: HubServer, client: Client) -> None:
    headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.repositories["owner/tiny-vae"] = Repository(refusal=(HTTPStatus.UNAUTHORIZED, headers))
    answer = client.locate("owner/tiny-vae", HF_TOKEN="hf_wrong")
    assert_refused(answer, "the hub answered 401", "hf auth login", "HF_TOKEN")


def test_repository_without_a_vae(hub: HubServer, client: Client, vae_files: dict[str, bytes]) -> None:
    hub.repositories["owner/model"] = Repository({"model.safetensors": b""})
    assert_refused(client.locate("owner/model"), "owner/model contains no VAE", "give a VAE or a pipeline repository")

    # The cache remembers what was not there; it must not outlive the repository's next commit.
    hub.repositories["owner/model"] = repository(vae_files, CONFIG, WEIGHTS, folder="vae/")
    assert Path(client.locate("owner/model")["weights"]).read_bytes() == vae_files[WEIGHTS]


@pytest.mark.parametrize("folder", ["", "vae/"])
def test_pickled_weights_are_refused_without_being_downloaded(
    hub: HubServer, client: Client, vae_files: dict[str, bytes], folder: str
) -> None:
    hub.repositories["owner/old"] = repository(vae_files, CONFIG, PICKLED_WEIGHTS, folder=folder)
    assert_refused(client.locate("owner/old"), PICKLED_WEIGHTS, "can run code when loaded", "convert")
    assert hub.downloads(PICKLED_WEIGHTS) == []


def test_configuration_without_weights(hub: HubServer, client: Client, vae_files: dict[str, bytes]) -> None:
    hub.repositories["owner/empty"] = repository(vae_files, CONFIG)
    answer = client.locate("owner/empty")
    assert_refused(answer, f"no {WEIGHTS}")
    assert "pickled" not in answer["message"]


def test_hub_in_trouble(hub: HubServer, client: Client) -> None:
    """huggingface_hub tries six times; `Retry-After: 0` makes it wait a second each time and not up to eight."""
    statuses = [HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE]
    for status in statuses:
        hub.repositories[f"owner/{status.value}"] = Repository(refusal=(status, {"Retry-After": "0"}))
    with ThreadPoolExecutor() as pool:
        for status, answer in zip(statuses, pool.map(client.locate, hub.repositories), strict=True):
            assert_refused(answer, f"the hub answered {status.value}", "try again later")


def test_too_many_requests_are_not_waited_out(hub: HubServer, client: Client) -> None:
    """huggingface_hub alone would wait for the day that is asked for."""
    hub.repositories["owner/busy"] = Repository(refusal=(HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "86400"}))
    answer = client.locate("owner/busy", seconds=20)
    assert_refused(answer, "the hub answered 429", "owner/busy (vae/config.json)", "try again in 86400 s")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"ALL_PROXY": "socks://127.0.0.1:9/"}, "Unknown scheme for proxy URL"),
        ({"HF_TOKEN": "hf_ä"}, "HF_TOKEN"),
        ({"HF_HUB_DOWNLOAD_TIMEOUT": "abc"}, "check the variables HF_*"),
    ],
    ids=["proxy", "token", "timeout"],
)
def test_impossible_settings_are_one_sentence(
    hub: HubServer, client: Client, vae_files: dict[str, bytes], environment: dict[str, str], says: str
) -> None:
    hub.repositories["owner/tiny-vae"] = repository(vae_files, CONFIG, WEIGHTS)
    assert_refused(client.locate("owner/tiny-vae", **environment), says)


def test_an_impossible_setting_of_the_hub_client_stops_models_that_diffusers_builds(client: Client) -> None:
    """diffusers imports the hub client; an embedded KL encoder needs neither."""
    names = ("pocket-tiny", "pocket")
    refused, done = client.commands(*(client.arguments(name) for name in names), HF_HUB_DOWNLOAD_TIMEOUT="abc")
    assert_one_error(refused, 3, "check the variables HF_*")
    assert done[0] == 0, done[2]
    assert len(client.outputs) == 1


def test_what_was_damaged_on_the_way_is_removed_and_a_rerun_downloads(
    hub: HubServer, client: Client, vae_files: dict[str, bytes]
) -> None:
    hub.repositories["owner/tiny-vae"] = repository(vae_files, CONFIG, WEIGHTS)
    hub.damage = True
    assert_refused(client.locate("owner/tiny-vae"), WEIGHTS, "SHA-256", "run again")
    hub.damage = False
    assert Path(client.locate("owner/tiny-vae")["weights"]).read_bytes() == vae_files[WEIGHTS]


def test_a_cached_file_that_cannot_be_parsed_is_named_and_once_deleted_comes_anew(
    hub: HubServer, client: Client, vae_files: dict[str, bytes]
) -> None:
    hub.repositories["owner/tiny-vae"] = repository(vae_files, CONFIG, WEIGHTS)
    weights = Path(client.locate("owner/tiny-vae")["weights"])
    stored = (weights.parent / CONFIG).resolve()
    stored.write_bytes(b"<html>")
    assert_refused(client.locate("owner/tiny-vae"), f"{stored}: not readable as JSON", "delete it")
    stored.unlink()
    assert client.locate("owner/tiny-vae")["config"] == json.loads(vae_files[CONFIG])


def test_offline_the_missing_file_is_named(hub: HubServer, client: Client, vae_files: dict[str, bytes]) -> None:
    hub.repositories["owner/tiny-vae"] = repository(vae_files, CONFIG, WEIGHTS)
    found = client.locate("owner/tiny-vae")
    assert_refused(
        client.locate("owner/other", offline=True), "owner/other (vae/config.json) is not in the local cache"
    )
    Path(found["weights"]).unlink()
    assert_refused(
        client.locate("owner/tiny-vae", offline=True), f"owner/tiny-vae ({WEIGHTS}) is not in the local cache"
    )


def test_shards_come_with_their_index(hub: HubServer, client: Client, vae_files: dict[str, bytes]) -> None:
    """The shard of the decoder is neither downloaded nor missed."""
    encoder, decoder = (f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2))
    index = {"weight_map": {"encoder.conv_in.weight": encoder, "decoder.conv_in.weight": decoder}}
    files = {CONFIG: vae_files[CONFIG], f"{WEIGHTS}.index.json": json.dumps(index).encode()}
    hub.repositories["owner/shards"] = Repository(files)
    assert_refused(client.locate("owner/shards"), f"no {WEIGHTS}", "download or copy the weights too")

    files = {**files, encoder: b"first", decoder: b"second"}
    hub.repositories["owner/shards"] = Repository(files)
    found = client.locate("owner/shards")
    assert Path(found["weights"]).read_bytes() == b"first"
    assert client.locate("owner/shards", offline=True) == found
    assert hub.downloads(decoder) == []
    Path(found["weights"]).unlink()
    assert_refused(client.locate("owner/shards", offline=True), f"owner/shards ({encoder}) is not in the local cache")


def test_a_gated_repository_of_the_registry_names_a_copy(hub: HubServer, client: Client) -> None:
    hub.repositories["stabilityai/stable-diffusion-3-medium-diffusers"] = GATED
    answer = client.locate("sd3")
    assert_refused(answer, "is gated", "hf auth login", "use `vae=v2ray/stable-diffusion-3-medium-diffusers`")


@pytest.mark.parametrize(
    ("name", "other"),
    [("flux1", "black-forest-labs/FLUX.1-schnell"), ("sd21", "stabilityai/stable-diffusion-2-1")],
)
def test_another_repository_with_the_vae_is_taken_if_it_is_cached(
    hub: HubServer, client: Client, vae_files: dict[str, bytes], name: str, other: str
) -> None:
    """It is never downloaded, and what the registry names first is preferred."""
    hub.repositories[other] = repository(vae_files, CONFIG, WEIGHTS, folder="vae/")
    assert_refused(client.locate(name), REGISTRY[name].repo_id, "is not on the hub")
    theirs = client.locate(other)
    asked = len(hub.asked)
    for offline in (True, False):
        found = client.locate(name, offline=offline)
        assert (found["name"], found["origin"], found["weights"]) == (name, other, theirs["weights"])
        assert found["is_cached"]
    assert len(hub.asked) == asked
    hub.repositories[REGISTRY[name].repo_id] = repository(vae_files, CONFIG, WEIGHTS, folder="vae/")
    client.locate(REGISTRY[name].repo_id)
    assert client.locate(name, offline=True)["origin"] == REGISTRY[name].repo_id


def test_something_else_in_place_of_the_hub(hub: HubServer, client: Client) -> None:
    """A captive portal says 200 to everything."""
    hub.repositories["owner/tiny-vae"] = Repository(refusal=(HTTPStatus.OK, {}))
    assert_refused(client.locate("owner/tiny-vae"), "does not seem", "check the network")


@pytest.mark.parametrize("name", ["owner/tiny-vae", "sd"])
def test_nothing_listening_is_found_out_fast(client: Client, name: str) -> None:
    """huggingface_hub alone would retry for 23 seconds."""
    with deaf_port() as endpoint:
        answer = client.locate(name, endpoint=endpoint, seconds=10)
    assert_refused(answer, "the hub cannot be reached", "Connection refused", "check the network", "`vae=pocket`")


def test_impossible_endpoint(client: Client) -> None:
    assert_refused(client.locate("sd", endpoint="nowhere"), "nowhere", "HF_ENDPOINT")


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["option", "variable"])
def test_not_cached_and_offline_asks_nothing(hub: HubServer, client: Client, environment: dict[str, str]) -> None:
    hub.repositories["owner/tiny-vae"] = GATED
    answer = client.locate("owner/tiny-vae", offline=not environment, **environment)
    asked_by = "HF_HUB_OFFLINE" if environment else "`offline`"
    assert_refused(answer, "not in the local cache", f"{asked_by} forbids the network", "run once without it")
    assert hub.asked == []


def test_unknown_name_and_impossible_id_ask_nothing(hub: HubServer, client: Client) -> None:
    assert_refused(client.locate("sdlx"), "unknown VAE 'sdlx'", "did you mean sdxl?", exit_code=2)
    assert_refused(client.locate("owner/tiny--vae"), "not a valid hub id", "owner/name")
    assert hub.asked == []


def test_command_line_with_a_hub(hub: HubServer, client: Client, vae_files: dict[str, bytes]) -> None:
    hub.repositories["owner/pipeline"] = repository(vae_files, CONFIG, WEIGHTS, folder="vae/")
    hub.repositories[SD_REPOSITORY] = repository(vae_files, CONFIG, FP16_WEIGHTS)
    by_id, auto, sd, vaes = client.commands(
        client.arguments("owner/pipeline"),
        client.arguments("auto", "--overwrite"),
        client.arguments("sd", "--overwrite", "--offline"),
        ["vaes", "--json"],
    )
    for (code, stdout, stderr), name, origin in (
        (by_id, "owner/pipeline", "owner/pipeline"),
        (auto, "sd", SD_REPOSITORY),
        (sd, "sd", SD_REPOSITORY),
    ):
        assert code == 0, stderr
        record = json.loads(stdout)
        assert (record["vae"]["name"], record["vae"]["origin"]) == (name, origin)
        assert record["warnings"] == []
        assert "pocket" not in stderr
    listed = [json.loads(line) for line in vaes[1].splitlines()]
    assert {entry["name"] for entry in listed if entry.get("is_cached")} == {
        "pocket",
        "pocket-b",
        "pocket-16",
        "pocket-tiny",
        "sd",
    }
    assert client.outputs == ["picture.protected.png"]


def test_command_line_without_a_hub(client: Client) -> None:
    with deaf_port() as endpoint:
        sd, unknown, auto = client.commands(
            client.arguments("sd"), client.arguments("sdlx"), client.arguments("auto"), endpoint=endpoint
        )
    assert_one_error(sd, 3, "the hub cannot be reached")
    assert_one_error(unknown, 2, "did you mean sdxl?")

    code, stdout, stderr = auto
    assert code == 0, stderr
    record = json.loads(stdout)
    assert record["vae"]["name"] == "pocket"
    (unavailable,) = record["warnings"]
    assert record["test_only"]
    assert unavailable.startswith("test only: not protected against any real editor")
    assert "the hub cannot be reached" in unavailable
    warned = [line for line in stderr.splitlines() if line.startswith("warning: ")]
    assert warned == [f"warning: {in_flags(unavailable)}"], "once, without the general warning of embedded models"
    assert client.outputs == ["picture.test-only.png"]


def test_command_line_failures_are_one_line_and_write_nothing(
    hub: HubServer, client: Client, vae_files: dict[str, bytes]
) -> None:
    hub.repositories["owner/gated"] = GATED
    hub.repositories["owner/model"] = Repository({"model.safetensors": b""})
    hub.repositories["owner/old"] = repository(vae_files, CONFIG, PICKLED_WEIGHTS)
    hub.repositories["owner/reset"] = repository(vae_files, CONFIG, WEIGHTS)
    hub.cut = Cut(after_bytes=1000, times=1000, reset=True)
    failures = {
        "owner/gated": "is gated",
        "owner/model": "contains no VAE",
        "owner/old": "can run code",
        "owner/reset": "could not be downloaded",
        "owner/missing": "is not on the hub",
    }
    answers = client.commands(*(client.arguments(name) for name in failures))
    for answer, part in zip(answers, failures.values(), strict=True):
        assert_one_error(answer, 3, part)
    assert client.outputs == []


def assert_one_error(answer: tuple[int, str, str], exit_code: int, part: str) -> None:
    code, stdout, stderr = answer
    assert code == exit_code, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    (line,) = (line for line in stderr.splitlines() if line.startswith("error: "))
    assert part in line
    assert line == stderr.splitlines()[-1]
