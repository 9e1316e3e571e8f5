"""`pca-protect ui`: the same work on a web page."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pca_protect.cli import console, options
from pca_protect.cli.extras import needs_extra
from pca_protect.config import ProtectConfig
from pca_protect.io.limits import MAX_PIXELS

HOST, PORT = "127.0.0.1", 7860

Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 lets others in, without a password.")
]
Port = Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")]
MaxUpload = Annotated[int, typer.Option(metavar="MB", min=1, help="Largest file that can be uploaded.")]


def ui(
    host: Host = HOST,
    port: Port = PORT,
    open_page: Open = False,
    device: options.DeviceName = ProtectConfig.device,
    offline: options.Offline = False,
    max_megapixels: options.MaxMegapixels = None,
    max_upload: MaxUpload = 200,
) -> None:
    """Serve a page on this machine where pictures are dropped, protected and compared. Nothing is uploaded anywhere else."""
    ProtectConfig(device=device)  # validates it
    # Read when gradio and the hub's client are imported.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with needs_extra("ui"):
        from pca_protect.cli.web.server import Web, is_public, public_warning
        from pca_protect.cli.web.service import Limits
    limits = Limits(
        most_pixels=MAX_PIXELS if max_megapixels is None else round(max_megapixels * 1_000_000),
        most_megabytes=max_upload,
    )
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{shown}:{port}"

    def ready() -> None:
        if is_public(host):
            console.warn(public_warning(host))
        console.result(address)
        console.say("open this address in a browser; Ctrl-C ends it")
        if open_page:
            typer.launch(address)

    Web(host=host, port=port, device=device, offline=offline, limits=limits, on_ready=ready).run()
