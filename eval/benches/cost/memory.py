"""`pca-protect bench cost --what memory`: peak memory and time of large pictures. Memory should grow with the window, not with
the picture.

A subprocess protects each picture, from file to file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.cost.config import MemoryConfig
from pca_protect.eval.results import Finished, Json, OnProgress, Row

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
    "gain_over_noise": record.gain_over_noise, "error": "",
}))
"""


def measure_memory(config: MemoryConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    The row of a picture that fails, for lack of memory for example, holds the error.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        DeviceError: the device is unavailable.
    """
    bench = Bench("cost --what memory", config, folder, on_progress, timed=True)
    bench.open()

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        for tile in missing:
            yield tile, _in_a_process(path, int(tile), config)

    entries = bench.entries(config.vae, [str(tile_px) for tile_px in config.tiles_px], measure)
    rows: list[Row] = [
        {"picture": picture, "asked_tile_px": int(tile), **entry}
        for tile, measured in entries.items()
        for picture, entry in measured.items()
    ]
    return bench.finish({"memory": rows})


def _in_a_process(path: Path, tile_px: int, config: MemoryConfig) -> Json:
    settings = {"vae": config.vae, "tile_px": tile_px, "steps": config.steps, "device": config.device}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", _ONE, str(path), f"{scratch}/out.png", json.dumps(settings)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = done.stderr.splitlines()
        return {"error": errors[-1] if errors else f"ended with exit code {done.returncode}"}
    found: Json = json.loads(done.stdout)
    return found
