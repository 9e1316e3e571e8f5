"""`pca-protect ui`: serves the web page."""

from __future__ import annotations

import math
import os
from typing import Annotated

import typer

from pca_protect.cli import console
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute, many
from pca_protect.cli.stop_signals import stop_quietly
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.limits import MAX_PIXELS

HOST, PORT = "127.0.0.1", 7860

Host = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS", help="Address to listen on; 0.0.0.0 opens the page to the network, without a password."
    ),
]
Port = Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", metavar="NAME", help="Host name of a proxy in front of the page. Repeatable."),
]
RootPath = Annotated[
    str, typer.Option(metavar="PATH", help="Prefix that a proxy removes from the page's path, such as /protect.")
]
MaxUpload = Annotated[int, typer.Option(metavar="MB", min=1, help="Largest uploaded file.")]

JobSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="S", min=1, help="Time limit of a job; finished pictures are kept.  [default: none]", show_default=False
    ),
]


def ui(
    host: Host = HOST,
    port: Port = PORT,
    open_page: Open = False,
    device: compute.DeviceName = ProtectConfig.device,
    offline: compute.Offline = False,
    max_megapixels: many.MaxMegapixels = None,
    max_upload: MaxUpload = 200,
    job_seconds: JobSeconds = None,
    allowed_host: AllowedHosts = None,
    root_path: RootPath = "",
) -> None:
    """Serve a web page that protects pictures on this machine.

    The page compares pictures before and after. Pictures stay on this machine.
    """
    ProtectConfig(device=device)  # validates it
    if root_path and not root_path.startswith("/"):
        raise UsageError(f"--root-path {root_path}: has to start with /; give /{root_path}")
    from pca_protect.cli.web.address import check_address, is_public, public_warning

    check_address(host, port)
    console.say("starting the page; this takes some seconds")
    # gradio and huggingface_hub read these on import.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with needs_extra("ui"):
        from pca_protect.cli.web.server import PageServer
        from pca_protect.cli.web.state import Limits
    limits = Limits(
        max_pixels=MAX_PIXELS if max_megapixels is None else round(max_megapixels * 1_000_000),
        max_megabytes=max_upload,
        job_seconds=math.inf if job_seconds is None else job_seconds,
    )
    visible_host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{visible_host}:{port}"

    def ready() -> None:
        if is_public(host):
            console.warn(public_warning(host))
        console.result(address)
        console.say("open this address in a browser; Ctrl-C stops the server")
        if open_page:
            typer.launch(address)

    server = PageServer(
        host=host,
        port=port,
        device=device,
        offline=offline,
        limits=limits,
        on_ready=ready,
        allowed_hosts=allowed_host or (),
        root_path=root_path.rstrip("/"),
    )
    with stop_quietly():
        server.run()
    console.say("stopped")
