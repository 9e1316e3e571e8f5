"""Run mypy over the package in its installed layout (`cli/` and `eval/` inside `pca_protect/`) and over `tools/`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "typecheck"


def main() -> int:
    shutil.rmtree(TREE, ignore_errors=True)
    package = TREE / "pca_protect"
    package.mkdir(parents=True)
    for part in [*(ROOT / "pca_protect").iterdir(), ROOT / "cli", ROOT / "eval"]:
        (package / part.name).symlink_to(part)
    (TREE / "tools").symlink_to(ROOT / "tools")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "pca_protect"]
    command += ["-p", "tools"]
    environment = {**os.environ, "MYPYPATH": str(TREE), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}
    return subprocess.run(command, cwd=TREE, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
