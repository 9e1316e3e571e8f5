"""Build the sdist and from it the wheel, install that into an empty environment, and run its commands outside this folder."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraint", type=Path, required=True, help="pip constraints file")
    constraint = parser.parse_args().constraint.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        elsewhere = Path(temporary)
        subprocess.run(
            [sys.executable, "-m", "build", "--outdir", elsewhere, ROOT],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = elsewhere.glob("*.whl")
        environment = elsewhere / "empty"
        venv.create(environment, with_pip=True)
        bin_folder = environment / ("Scripts" if sys.platform == "win32" else "bin")
        pip: list[str | Path] = [
            bin_folder / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "--constraint", constraint, wheel], check=True)
        for command in (["protect", "--version"], ["pca-protect", "vaes"]):
            subprocess.run([bin_folder / command[0], *command[1:]], cwd=elsewhere, check=True)
        picture = ROOT / "examples" / "astronaut.png"
        protect: list[str | Path] = [
            bin_folder / "protect",
            picture,
            "--vae",
            "pocket",
            "--steps",
            "1",
            "-o",
            elsewhere / "out.png",
        ]
        subprocess.run(protect, cwd=elsewhere, check=True)
        demo: list[str | Path] = [bin_folder / "python", ROOT / "examples" / "demo.py", "--output", elsewhere / "demo"]
        subprocess.run(demo, cwd=elsewhere, check=True)
    print("the wheel from the sdist works on its own")


if __name__ == "__main__":
    main()
