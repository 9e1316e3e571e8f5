"""What the documents show is run, as far as a few seconds allow, and where they point to is there."""

from __future__ import annotations

import argparse
import contextlib
import doctest
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import click
import pytest
import typer.main
from conftest import ROOT, smooth_picture
from documents import DOCUMENTS, Block, anchors_of, blocks_of, links_of, prose_of, spoken_commands

import pca_protect.batch.estimate
import pca_protect.protection
import pca_protect.surrogates.load
from pca_protect import DeviceError, ProtectConfig
from pca_protect.attack import visibility
from pca_protect.cli.main import app, protect_app
from pca_protect.presets import PRESETS

NOT_RUN = {
    "cd": "moves the reader, not the program",
    "docker": "needs a container engine",
    "git": "fetches this repository",
    "pca-protect universal train --vae sd": "downloads an encoder; test_universal.py has a local one",
    "podman": "needs a container engine",
    "python3 -m venv": "makes an environment",
    "protect photo.png --vae today": "looks its encoders up on the hub; test_families.py has one",
}
"""Beginnings of commands that nothing here runs, and why. A block may say `<!-- not run: WHY -->` instead."""

OTHERS_OPTIONS = {"--build-arg", "--gpus", "--help", "--user", "--userns"}
"""Of container engines, and every program."""

WORK = (
    ("pca_protect.eval.benches.editing", "measure_editing"),
    ("pca_protect.eval.benches.transfer", "measure_transfer"),
    ("pca_protect.eval.benches.purify", "measure_purify"),
    ("pca_protect.eval.benches.encoders", "measure_encoders"),
    ("pca_protect.eval.benches.latents", "measure_latents"),
    ("pca_protect.eval.benches.real.run", "measure_real"),
    *(
        (f"pca_protect.eval.benches.{name}", f"measure_{name}")
        for name in ("uploads", "steps", "flat", "scales", "grid", "check", "ingredients")
    ),
    ("pca_protect.eval.benches.cost.run", "measure_cost"),
    *((f"pca_protect.eval.benches.cost.{name}", f"measure_{name}") for name in ("memory", "scale", "folders")),
    ("pca_protect.eval.benches.cost.encoder_step", "measure_step"),
    ("pca_protect.eval.benches.testbed", "measure_testbed"),
    ("pca_protect.eval.judge.run", "judge_run"),
    ("pca_protect.eval.judge.answers", "judge_by_people"),
    ("pca_protect.eval.judge.sheet", "write_sheet"),
    ("pca_protect.eval.check.run", "check_picture"),
    ("pca_protect.eval.report.page", "write_report"),
    ("pca_protect.batch.inspect", "status"),
    ("pca_protect.batch.inspect", "verify"),
    ("pca_protect.batch.inspect", "clean"),
)
"""Where the work of commands begins that take minutes to hours, or a cluster: they are run up to there, so that every option is
parsed and every setting validated. What they do then has tests of its own. `protect` is run with --dry-run, scripts until they
have parsed their options."""

BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
COMMANDS = [
    pytest.param(command, id=f"{block.document.name}: {command}")
    for block in BLOCKS
    if not block.why_not_run
    for command in block.commands
]
SPOKEN = sorted({command for document in DOCUMENTS for command in spoken_commands(document)})
PYTHON = [block for block in BLOCKS if block.language == "python" and not block.why_not_run]
SCRIPTS = {path: path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")}


class Begins(BaseException):
    """The work would begin."""


def begins(*_: object, **__: object) -> None:
    raise Begins


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the repository's folders and a few pictures, as a reader of the documents would have it."""
    for name in ("examples", "scripts", "tools", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("photos/holiday", "crops", "DATA/eval/photos", "DATA/eval/portraits", "DATA/eval/large"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("beach.png", "dune.png"):
            smooth_picture(16, 16).save(tmp_path / folder / name)
    for name in ("photo.png", "photo.jpg"):
        smooth_picture(16, 16).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work raises `Begins` instead, and a preview does not measure how long the work would take."""
    for module, function in WORK:
        monkeypatch.setattr(import_module(module), function, begins)

    def refuse(*_: object, **__: object) -> None:
        raise DeviceError("not measured here")

    monkeypatch.setattr(pca_protect.batch.estimate, "estimate", refuse)


@pytest.mark.parametrize("module", [pca_protect.protection, pca_protect.surrogates.load])
def test_docstrings_can_be_pasted(workplace: Path, module: object):
    result = doctest.testmod(module, verbose=False)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.document.name}: {block.text.split()[1]}")
def test_python_can_be_pasted(
    workplace: Path, block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """With one step instead of forty; what is a part of an example is run with that, in test_guides.py."""
    if any(block.text in text for text in SCRIPTS.values()):
        return
    monkeypatch.setattr(pca_protect, "ProtectConfig", partial(ProtectConfig, steps=1))
    exec(compile(block.text, block.document.name, "exec"), {})
    for name in re.findall(r'\.save\("([^"]+)"', block.text):
        assert (workplace / name).exists()
    printed = capsys.readouterr().out
    assert bool(printed) == ("print(" in block.text)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("command", COMMANDS)
def test_command_can_be_pasted(workplace: Path, command: str, monkeypatch: pytest.MonkeyPatch):
    try_out(command, monkeypatch)


def try_out(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command as far as this is cheap.

    Raises whatever is wrong with it.
    """
    if any(command == beginning or command.startswith(f"{beginning} ") for beginning in NOT_RUN):
        return
    words = list(expanded(shlex.split(re.sub(r" *[|<>].*", "", command))))
    match words:
        case ["protect", *rest]:
            try_protect(typer.main.get_command(protect_app), rest)
        case ["pca-protect", *rest] | ["python", "-m", "pca_protect", *rest]:
            try_pca_protect(rest)
        case ["python", "-m", "training", *rest]:
            try_training(rest)
        case ["python", script, *rest]:
            try_script(Path(script), rest, monkeypatch)
        case ["pip", "install", *rest]:
            try_pip(rest)
        case ["make", *targets]:
            assert targets
            for target in targets:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
        case _:
            pytest.fail(
                f"nothing here knows how to run `{command}`: teach it, add it to NOT_RUN with a reason, or write "
                "`<!-- not run: WHY -->` right before its block"
            )


def expanded(words: list[str]) -> Iterator[str]:
    """Names instead of patterns; what a command reads and earlier ones would have made is made."""
    for before, word in zip(["", *words], words, strict=False):
        if "*" in word and not word.startswith("-"):
            yield from sorted(map(str, Path().glob(word)))
            continue
        path = Path(word)
        if before not in ("-o", "--output", "--out", "--errors") and not path.exists():
            if path.suffix == ".png":
                smooth_picture(16, 16).save(path)
            elif path.suffix == ".jsonl":
                path.write_text(example_record())
        yield word


def example_record() -> str:
    picture = pca_protect.protection.protect(smooth_picture(16, 16), ProtectConfig(vae="pocket", preset="instant"))
    return picture.record.as_json() + "\n"


def try_pca_protect(words: list[str]) -> None:
    """`run` as far as a preview, `vaes` all the way, `check` and `bench` until the work begins; of all others the options are
    parsed."""
    if words[0] == "run":
        try_protect(*command_named(words))
    elif words[0] == "vaes" or "--help" in words:
        app(words, standalone_mode=False)
    elif words[0] in ("check", "bench", "status", "verify", "clean"):
        with pytest.raises(Begins):
            app(words, standalone_mode=False)
    else:
        command, rest = command_named(words)
        command.make_context(words[0], rest)


def try_protect(command: click.Command, words: list[str]) -> None:
    """As far as a preview; of a bucket, which is not there, and of a stream the options are parsed."""
    if any("://" in word or word == "-" for word in words):
        command.make_context("protect", words)
    else:
        command.main([*words, "--dry-run"], standalone_mode=False)


def command_named(words: list[str]):
    """Of `pca-protect`, and the words that are left to it."""
    command = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    return command, rest


def try_script(path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its options are parsed; all the way if it has none."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> None:
        parse(parser, arguments)
        raise Begins

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    has_options = "parse_args" in path.read_text(encoding="utf-8")
    if not has_options and path.parent.name == "examples":
        return  # test_guides.py runs it
    with pytest.raises(Begins) if has_options else contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(path), run_name="__main__")


def try_training(words: list[str]) -> None:
    """Until its options are parsed."""
    from training.__main__ import parser

    parser().parse_args(words)


def try_pip(words: list[str]) -> None:
    """Nothing is installed: every extra has to be one of ours."""
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert words, "nothing to install"
    for name in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        for extra in name.split(","):
            assert re.search(rf"^{extra} = \[", extras, re.MULTILINE), f"no extra {extra}"


def test_spoken_commands_exist():
    assert SPOKEN
    for command in SPOKEN:
        assert_exists(command)


def assert_exists(command: str) -> None:
    """Of commands within sentences, which may be parts of one: the program, the command and the options."""
    if command.startswith("python -c"):
        return
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        try_pip(words)
    elif words[:2] == ["-m", "training"]:
        from training.__main__ import NAMES

        assert words[2] in (*NAMES, "NAME")
    elif program == "python":
        text = (ROOT / words[0]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in text for word in words if word.startswith("--"))
    else:
        found = typer.main.get_command(protect_app) if program == "protect" else command_named(words)[0]
        known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= {*known, "-"}


def test_links_lead_somewhere():
    links = [(document, link) for document in DOCUMENTS for link in links_of(document)]
    assert links
    for document, link in links:
        if re.match(r"(https?|mailto):", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{document.name}: {link}"
        assert not anchor or anchor in anchors_of(target), f"{document.name}: {link}"


def test_options_named_in_documents_exist():
    known = OTHERS_OPTIONS | set(options_of(typer.main.get_command(app)))
    for folder in ("examples", "scripts", "tools", "training"):
        for path in (ROOT / folder).glob("*.py"):
            known |= set(re.findall(r'"(--[a-z][a-z0-9-]+)"', path.read_text(encoding="utf-8")))
    named = {
        (document.name, option)
        for document in DOCUMENTS
        for option in re.findall(r"`(--[a-z][a-z0-9_-]+)[^`]*`", prose_of(document))
    }
    assert len(named) > 20
    unknown = sorted(f"{name}: {option}" for name, option in named if option not in known)
    assert unknown == []


def options_of(command: click.Command) -> Iterator[str]:
    """Those of its subcommands too."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for one in getattr(command, "commands", {}).values():
        yield from options_of(one)


def test_commands_are_found(tmp_path: Path):
    document = tmp_path / "document.md"
    document.write_text(
        "Look:\n\n<!-- not run: needs a GPU -->\n```sh\nprotect a.png   # quickly\n```\n\n"
        "```sh\nA=1 protect b.png \\\n  -r\n\n# a remark\nfrobnicate\n```\n\n1. So:\n\n       make c\n       c -> d\n\n"
        "```math\nprotect e\n```\n"
    )
    waiting, fenced, *others = blocks_of(document)
    assert (waiting.why_not_run, waiting.commands) == ("needs a GPU", ["protect a.png"])
    assert (fenced.why_not_run, [" ".join(line.split()) for line in fenced.commands]) == (
        None,
        ["protect b.png -r", "frobnicate"],
    )
    assert [block.commands for block in others] == [[], ["make c"]]


@pytest.mark.usefixtures("idle")
def test_unknown_command_fails(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    for command in ("frobnicate", "make nothing", "pip install '.[nothing]'"):
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            try_out(command, monkeypatch)
    for command in ("protect photo.png --nothing", "pca-protect nothing", "pca-protect bench editing --nothing"):
        with pytest.raises(Exception, match=r"No such (option|command)|nothing"):
            try_out(command, monkeypatch)


def test_threat_model_quotes_measured_figures():
    """Every share and every distance in it is in the results."""
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").replace(" %", "%").replace("+", "")
    quoted = re.sub(r"\[arXiv[^)]*\)", "", prose_of(ROOT / "docs" / "threat-model.md")).replace(" %", "%")
    figures = re.findall(r"[\d.]+%|\d\.\d{3}", quoted)
    assert len(figures) > 15
    assert [figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}", results)] == []


def test_method_has_the_constants_of_the_code():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    subtle, social = ProtectConfig(mode="subtle"), ProtectConfig(mode="subtle", survive="social")
    for part in (
        rf"\lambda = {subtle.visibility_weight:g} .",
        rf"$\lambda = {social.visibility_weight:g}$",
        f"G_{{{visibility._LUMA_BLUR_PX}}} * \\delta_Y",
        f"G_{{{visibility._CHROMA_BLUR_PX}}} * \\delta_B",
        f"T = {visibility.FLAT_THRESHOLD} + \\sqrt{{G_{visibility._SURROUNDINGS_PX:g} *",
        f"at most {visibility._FASTEST} a step",
        f"below {pca_protect.protection.MIN_GAIN:g} the program",
        f"above {ProtectConfig.tile_px} pixels",
        f"walks {PRESETS['paper'].steps} times",
    ):
        assert part in text, part
