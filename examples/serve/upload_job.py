"""A background job of an upload pipeline, as Pixelfed or any other site with a job queue has it: protect a resized picture.

    python examples/serve/upload_job.py resized.jpg public.png --server http://127.0.0.1:7861

Runs after the resizer: each size that the site shows is protected by itself. Publish the result only; keep the upload private.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import httpx

OPTIONS = {"mode": "subtle"}
"""The server's first --preset is the default."""


def protect_upload(
    resized: Path, public: Path, client: httpx.Client, *, options: dict[str, str], patience: float
) -> None:
    """Write the protected picture. Nothing is published if this fails.

    Args:
        client: of the server, with its address and token.
        patience: seconds to wait for a place in the server's queue and for the result.

    Raises:
        httpx.HTTPStatusError: the picture or an option was refused; retrying does not help.
        TimeoutError: the server stayed busy, or the job took longer.
    """
    deadline = time.monotonic() + patience
    job = _submit(resized.read_bytes(), client, options, deadline)
    while (state := client.get(job).raise_for_status().json())["state"] in ("waiting", "running"):
        if time.monotonic() > deadline:
            client.delete(job)
            raise TimeoutError(f"{resized}: was not protected within {patience:g} s")
        time.sleep(0.2)
    file = client.get(f"{job}/file").raise_for_status()
    client.delete(job)
    if state["record"]["test_only"]:
        print("warning: the server has a test model; this file is not protected against real editors")
    temporary = public.with_name(f".{public.name}.new")
    temporary.write_bytes(file.content)
    temporary.replace(public)


def _submit(picture: bytes, client: httpx.Client, options: dict[str, str], deadline: float) -> str:
    """The path of a new job."""
    while True:
        answer = client.post("/v1/protect", params=options, content=picture, headers={"Prefer": "respond-async"})
        if answer.status_code not in (429, 503) or time.monotonic() > deadline:
            return answer.raise_for_status().headers["Location"]
        time.sleep(float(answer.headers.get("Retry-After", "1")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("resized", type=Path, help="picture from the resizer")
    parser.add_argument("public", type=Path, help="protected picture to write, .png")
    parser.add_argument("--server", default="http://127.0.0.1:7861", help="address of pca-protect serve")
    arguments = parser.parse_args()
    token = os.environ.get("PCA_PROTECT_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=arguments.server, headers=headers, timeout=60) as client:
        protect_upload(arguments.resized, arguments.public, client, options=OPTIONS, patience=600)


if __name__ == "__main__":
    main()
