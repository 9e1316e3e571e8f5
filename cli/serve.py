"""`pca-protect serve`: an HTTP API for upload pipelines."""

from __future__ import annotations

import ipaddress
import os
import signal
import warnings
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pca_protect.batch.device_choice import DeviceChoice
from pca_protect.cli import console
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute, strength
from pca_protect.cli.stop_signals import stop_quietly
from pca_protect.config import ProtectConfig
from pca_protect.device_names import Precision
from pca_protect.errors import FallbackWarning, UsageError
from pca_protect.image.scale_names import Scale, parse_scales
from pca_protect.presets import PRESETS

if TYPE_CHECKING:
    from pca_protect.surrogates.encoder import AnySurrogate

HOST, PORT = "127.0.0.1", 7861
TOKEN_VARIABLE = "PCA_PROTECT_TOKEN"
_SHORTEST_TOKEN = 16
_LAST_STEP_SECONDS = 10
"""Time for the last step of a job that was settled at the end."""

_server = partial(typer.Option, rich_help_panel="Server")
_limits = partial(typer.Option, rich_help_panel="Limits")

Vaes = Annotated[
    list[str],
    _server(
        "--vae",
        metavar="NAME",
        help=(
            "Image encoder (VAE) of the editors to protect against: a family (editors, classic, today), another name from "
            "`pca-protect vaes`, a Hugging Face id or a file. Repeatable. Default: `auto`, the Stable Diffusion VAE, "
            "without which the server does not start."
        ),
        show_default=False,
    ),
]
Host = Annotated[
    str, _server(metavar="ADDRESS", help="Address to listen on; any but a loopback address needs a token.")
]
Port = Annotated[int, _server(metavar="N", min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
TokenFile = Annotated[
    Path | None,
    _server(
        metavar="FILE",
        help=f"File with the bearer token that requests have to send. Default: the environment variable {TOKEN_VARIABLE}.",
        show_default=False,
    ),
]
NoToken = Annotated[bool, _server("--no-token", help="Serve without a token on any address.")]
AllowedHosts = Annotated[
    list[str],
    _server(
        "--allowed-host",
        metavar="NAME",
        help="Name under which clients reach the server, beside localhost and addresses. Repeatable.",
        show_default=False,
    ),
]
AllowedOrigins = Annotated[
    list[str],
    _server(
        "--allow-origin",
        metavar="URL",
        help="Origin of web pages that may use the API (CORS), such as https://example.org. Repeatable.",
        show_default=False,
    ),
]
RootPath = Annotated[str, _server(metavar="PATH", help="Prefix that a proxy removes from paths.", show_default=False)]
Presets = Annotated[
    list[str],
    _limits(
        "--preset",
        metavar="NAME",
        help=(
            f"Preset that requests may choose: {', '.join(PRESETS)}. Repeatable; the first is the default of requests. "
            "Without this option, all are offered, and the default is thorough on CUDA, balanced on MPS and fast on the CPU."
        ),
        show_default=False,
    ),
]
Scales = Annotated[
    str,
    _server(
        metavar="PX,...",
        help=(
            "Default of requests for `scales`: sizes at which editors process pictures, as for `protect`.  [default: the size "
            "of the editors; on a GPU also native]"
        ),
        show_default=False,
    ),
]
MaxUpload = Annotated[int, _limits(metavar="MB", min=1, help="Largest request body.")]
MaxMegapixels = Annotated[
    float, _limits(metavar="N", min=0.001, help="Largest picture in megapixels, all frames together.")
]
MaxJobs = Annotated[
    int, _limits(metavar="N", min=1, help="Most requests that upload, wait or run at a time; further ones get 429.")
]
JobSeconds = Annotated[float, _limits(metavar="S", min=0.1, help="Time limit of a job.")]
BodySeconds = Annotated[float, _limits(metavar="S", min=0.1, help="Time limit for sending a request body.")]
KeepSeconds = Annotated[float, _limits(metavar="S", min=1, help="How long results of jobs are kept.")]
KeepResults = Annotated[int, _limits(metavar="N", min=1, help="How many results of jobs are kept.")]
GraceSeconds = Annotated[float, _server(metavar="S", min=0, help="Time for the running job after a signal to stop.")]
AccessLog = Annotated[bool, _server("--access-log", help="Print each request to stderr.")]


def serve(
    host: Host = HOST,
    port: Port = PORT,
    token_file: TokenFile = None,
    no_token: NoToken = False,
    allowed_host: AllowedHosts = [],  # noqa: B006 - typer copies it
    allow_origin: AllowedOrigins = [],  # noqa: B006
    root_path: RootPath = "",
    vae: Vaes = [],  # noqa: B006
    preset: Presets = [],  # noqa: B006
    scales: Scales = "",
    max_upload: MaxUpload = 50,
    max_megapixels: MaxMegapixels = 50.0,
    max_jobs: MaxJobs = 32,
    job_seconds: JobSeconds = 600.0,
    body_seconds: BodySeconds = 30.0,
    keep_seconds: KeepSeconds = 600.0,
    keep_results: KeepResults = 100,
    grace_seconds: GraceSeconds = 30.0,
    universal: strength.Universal = ProtectConfig.universal,
    tile: compute.Tile = ProtectConfig.tile_px,
    max_memory: compute.MaxMemory = None,
    batch: compute.Batch = None,
    device: compute.DeviceName = ProtectConfig.device,
    precision: compute.PrecisionName = ProtectConfig.precision,
    offline: compute.Offline = False,
    access_log: AccessLog = False,
) -> None:
    """Serve an HTTP API that protects and checks pictures. `/docs` describes it. Pictures stay in memory."""
    base = ProtectConfig(
        universal=universal,
        tile_px=tile,
        max_memory_megabytes=max_memory,
        batch=batch,
        vae=tuple(vae) if vae else ProtectConfig.vae,
        device=device,
        precision=cast(Precision, precision),  # the configuration validates it
    )
    default, presets = _defaults(base, preset, parse_scales(scales))
    token = _token(token_file)
    _check_token(token, host, no_token=no_token)
    root_path = _root_path(root_path)
    with needs_extra("serve"):
        from pca_protect.cli.api.app import build_app
        from pca_protect.cli.api.limits import Limits
        from pca_protect.cli.api.server import ApiServer, bind
        from pca_protect.cli.api.service import Service
    limits = Limits(
        max_bytes=max_upload * 1_000_000,
        max_pixels=round(max_megapixels * 1_000_000),
        max_jobs=max_jobs,
        body_seconds=body_seconds,
        job_seconds=job_seconds,
        kept_results=keep_results,
        kept_seconds=keep_seconds,
    )
    with closing(bind(host, port)) as bound:
        surrogate = _load(base, offline=offline)
        service = Service(surrogate, base=base, default=default, presets=presets, limits=limits)
        app = build_app(service, token=token, hosts=allowed_host, origins=allow_origin)
        shown_host, shown_port = bound.getsockname()[:2]
        address = f"http://{f'[{shown_host}]' if ':' in shown_host else shown_host}:{shown_port}"

        def ready() -> None:
            console.result(address)
            sizes = ", ".join(map(str, default.scales))
            console.say(f"protects against {surrogate.name} on {surrogate.device}; Ctrl-C stops the server")
            console.say(f"requests without these options: preset={presets[0]}, scales={sizes}")

        server = ApiServer(
            app, service, grace_seconds=grace_seconds, on_ready=ready, root_path=root_path, access_log=access_log
        )
        try:
            with stop_quietly():
                server.serve_on(bound)
            console.say("stopped")
        finally:
            if not service.queue.join(_LAST_STEP_SECONDS):
                # Native code cannot be interrupted; the end of the interpreter under it would abort the process.
                os._exit(128 + signal.SIGTERM)


def _load(base: ProtectConfig, *, offline: bool) -> AnySurrogate:
    """The encoders, never the embedded test model in their place. Prints their warnings."""
    from pca_protect.surrogates.load import load_surrogates

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)  # encoders that are left out are in their warnings too
        surrogate = load_surrogates(
            base.vaes, device=base.device, precision=base.precision, offline=offline, fallback=False
        )
    for warning in surrogate.warnings:
        console.warn(warning)
    return surrogate


def _defaults(
    base: ProtectConfig, names: list[str], scales: tuple[Scale, ...]
) -> tuple[ProtectConfig, tuple[str, ...]]:
    """The settings of requests without a preset and scales, and the presets on offer, the default first."""
    default, _ = DeviceChoice(scales=not scales, tile_px=base.tile_px == ProtectConfig.tile_px).applied(base)
    presets = dict.fromkeys(ProtectConfig(preset=name).preset for name in names or [default.preset, *PRESETS])
    return replace(default, scales=scales or default.scales), tuple(presets)


def _token(file: Path | None) -> str:
    """The token of the file, else of the environment; empty for none.

    Raises:
        UsageError: the file cannot be read, or the token is too short or not ASCII.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    where = TOKEN_VARIABLE
    if file is not None:
        where = str(file)
        try:
            given = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: the token cannot be read ({error}); check the file") from error
    if given is None:
        return ""
    token = given.strip()
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{where}: the token is not {_SHORTEST_TOKEN} or more ASCII characters without spaces; "
            "`openssl rand -hex 32` makes one"
        )
    return token


def _check_token(token: str, host: str, *, no_token: bool) -> None:
    """Raises:
    UsageError: the network could use the server without a token, or a token is given and not wanted.
    """
    if token and no_token:
        raise UsageError("a token and --no-token are mutually exclusive; leave one of them out")
    if not token and not no_token and not _is_loopback(host):
        raise UsageError(
            f"--host {host} opens the server to the network and there is no token; add --token-file FILE or set "
            f"{TOKEN_VARIABLE}, or add --no-token if a proxy checks who may use it"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _root_path(path: str) -> str:
    if path and (not path.startswith("/") or path.endswith("/")):
        raise UsageError(f"--root-path {path}: has to start with / and not end with /; give a path such as /protect")
    return path
