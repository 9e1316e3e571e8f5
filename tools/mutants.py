"""Mutation score of the method and of the statistics. `make mutants` runs this:

    python tools/mutants.py --sample 12

mutmut generates mutants. For a seeded sample per module it runs the tests that cover the mutated function. It works on a copy of
the package in build/mutants, with the installed layout (`cli/` and `eval/` inside `pca_protect/`).
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "mutants"
MUTATED = (
    "attack/*.py",
    "eval/stat*.py",
    "eval/tables.py",
    "eval/measured.py",
    "eval/comparisons.py",
    "eval/claims.py",
)
"""Mutated modules, relative to the package."""
TESTS = (
    *("losses", "posterior", "pgd", "objectives", "ensemble", "eot", "transforms", "visibility", "visibility_penalty"),
    *("universal", "collapse", "properties", "until", "stat*", "tables", "bench_tables", "claims"),
)
"""NAME of each test file `test_NAME.py`, anywhere in `tests/`, to run."""
SEED = 0
CAUGHT = {"killed", "timeout", "segfault", "caught by type check"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=12, help="mutants per module (%(default)s)")
    parser.add_argument("--children", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args()
    copy()
    names = [name for name, _ in statuses(generate=True)]
    chosen = sample(names, options.sample)
    mutmut("run", "--max-children", str(options.children), *chosen)
    found = {name: status for name, status in statuses() if name in chosen}
    report(found, total=len(names))
    return 0


def copy() -> None:
    """Copy the package in its installed layout and its tests, and write the settings of mutmut."""
    shutil.rmtree(TREE, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    package = TREE / "pca_protect"
    shutil.copytree(ROOT / "pca_protect", package, ignore=ignore)
    for part in ("cli", "eval"):
        shutil.copytree(ROOT / part, package / part, ignore=ignore)
    for part in ("tests", "examples"):
        shutil.copytree(ROOT / part, TREE / part, ignore=ignore)
    tests = [
        str(path.relative_to(TREE)) for name in TESTS for path in sorted((TREE / "tests").rglob(f"test_{name}.py"))
    ]
    settings = (
        "\n[tool.mutmut]\n"
        'source_paths = ["pca_protect"]\n'
        f"only_mutate = {[f'pca_protect/{pattern}' for pattern in MUTATED]}\n"
        'also_copy = ["examples"]\n'
        f"pytest_add_cli_args_test_selection = {tests}\n"
        "use_git_change_detection = false\n"
    )
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (TREE / "pyproject.toml").write_text(project + settings, encoding="utf-8")


def mutmut(*words: str) -> str:
    """Run mutmut and return its output.

    Raises:
        SystemExit: mutmut failed; with its last lines.
    """
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words], cwd=TREE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit("\n".join((done.stdout + done.stderr).splitlines()[-30:]))
    return done.stdout


def statuses(*, generate: bool = False) -> list[tuple[str, str]]:
    """Every mutant and its status, sorted by name.

    Args:
        generate: first generate the mutants, by running one of them.
    """
    if generate:
        mutmut("run", "--max-children", "1", "pca_protect.attack.losses.x_latent_power__mutmut_1")
    return sorted(re.findall(r"^ *(pca_protect\S+): (.+)$", mutmut("results", "--all", "true"), re.MULTILINE))


def module_of(name: str) -> str:
    return name.removeprefix("pca_protect.").rpartition(".")[0]


def sample(names: Sequence[str], count: int) -> list[str]:
    """At most `count` mutants per module, deterministic in the code."""
    by_module = defaultdict(list)
    for name in names:
        by_module[module_of(name)].append(name)
    generator = random.Random(SEED)
    return [name for group in by_module.values() for name in generator.sample(group, min(count, len(group)))]


def report(found: dict[str, str], *, total: int) -> None:
    caught, of = defaultdict[str, int](int), defaultdict[str, int](int)
    for name, status in found.items():
        of[module_of(name)] += 1
        caught[module_of(name)] += status in CAUGHT
    for module, count in of.items():
        print(f"{module}: {caught[module]} of {count}")
    for name, status in found.items():
        if status not in CAUGHT:
            lines = mutmut("show", name).splitlines()
            changed = [line for line in lines if re.match(r"[-+](?![-+])", line)]
            print(f"\n{name} ({status})", *changed, sep="\n")
    print(f"\n{sum(caught.values())} of {len(found)} sampled mutants are caught; the modules have {total}.")


if __name__ == "__main__":
    sys.exit(main())
