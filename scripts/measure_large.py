"""Measure peak memory and time of large pictures: it should grow with the window, not with the picture.

python scripts/measure_large.py --images FOLDER

Every picture is protected in a process of its own, from file to file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import pictures_in

_ONE = """
import json, sys
from pathlib import Path
from pca_protect import ProtectConfig, protect
from pca_protect.device import peak_megabytes, resolve_device
source, target, settings = sys.argv[1:]
result = protect(source, ProtectConfig(**json.loads(settings)))
before = result.record.peak_megabytes
record = result.save(target)
print(json.dumps({
    "width_px": record.width_px, "height_px": record.height_px, "tile_px": record.tile_px,
    "seconds": record.seconds, "peak_megabytes_optimising": before,
    "peak_megabytes": peak_megabytes(resolve_device(record.config["device"])),
    "output_megabytes": Path(target).stat().st_size / 1e6, "max_change_levels": record.max_change_levels,
    "gain_over_noise": record.gain_over_noise,
}))
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--vae", default="pocket")
    parser.add_argument("--tiles", type=int, nargs="+", default=[768, 512, 256])
    parser.add_argument("--steps", type=int, default=1, help="memory does not depend on them, time does")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/large.json"))
    options = parser.parse_args(arguments)

    rows = []
    for path in pictures_in(options.images):
        for tile_px in options.tiles:
            settings = {"vae": options.vae, "tile_px": tile_px, "steps": options.steps, "device": options.device}
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-c", _ONE, str(path), f"{folder}/out.png", json.dumps(settings)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.splitlines()[-1]}
            rows.append({"picture": path.name, "asked_tile_px": tile_px, **found})
            print(json.dumps(rows[-1]), flush=True)
    from pca_protect.device import resolve_device  # noqa: PLC0415 - after the processes that need the memory

    content = {
        "vae": options.vae,
        "steps": options.steps,
        "environment": environment(resolve_device(options.device)),
        "rows": rows,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
