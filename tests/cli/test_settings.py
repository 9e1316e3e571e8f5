"""Options from a settings file and from the environment; grouped help; shell completion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pca_protect import UsageError
from pca_protect.cli.main import app, protect_app
from pca_protect.cli.settings_file import read_settings

QUICK = ["--vae", "pocket", "--steps", "1", "--no-evaluate", "--json"]


def budget_of(arguments: list[str], **environment: str) -> object:
    """The budget in the record of one protected picture."""
    done = CliRunner().invoke(protect_app, ["photo.png", *QUICK, *arguments], env=environment, catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)["config"]["budget_levels"]


def test_the_command_line_precedes_the_environment_and_that_the_file(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert budget_of(["-o", "1.png"]) == 16
    Path("pca-protect.toml").write_text("budget = 5")
    assert budget_of(["-o", "2.png"]) == 5
    assert budget_of(["-o", "3.png"], PCA_PROTECT_BUDGET="6") == 6
    assert budget_of(["-o", "4.png", "--budget", "7"], PCA_PROTECT_BUDGET="6") == 7
    Path("other.toml").write_text("budget = 8")
    assert budget_of(["-o", "5.png", "--config", "other.toml"]) == 8


def test_a_settings_file_sets_lists_flags_and_names_with_hyphens(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    lines = [
        'vae = "pocket"',
        "steps = 1",
        "no-evaluate = true",
        "max_visibility = 0.5",
        "json = true",
        'output = "a.png"',
    ]
    Path("pca-protect.toml").write_text("\n".join(lines))
    done = CliRunner().invoke(protect_app, ["photo.png"], catch_exceptions=False)
    record = json.loads(done.stdout)
    assert (record["vae"]["name"], record["config"]["max_visibility"], record["output"]) == ("pocket", 0.5, "a.png")
    assert "pca-protect.toml" in done.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("budgte = 6", "unknown setting 'budgte'; did you mean budget"),
        ("version = true", "unknown setting 'version'"),
        ('budget = "six"', "budget = 'six' is invalid"),
        ("steps = [1]", r"steps = \[1\] is invalid"),
        ("steps = 1.5", "steps = 1.5 is invalid"),
        ("[protect]\nbudget = 6", "unknown setting 'protect'"),
        ("budget = 2000-01-01", "budget is a table or a date"),
        ("budget = ", "is not a TOML file"),
        (b"\xff\xfe", "is not a TOML file"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_settings_file_is_refused(tmp_path: Path, photo: Path, content: str | bytes | None, problem: str):
    file = tmp_path / "settings.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=problem):
        CliRunner().invoke(protect_app, [str(photo), "--config", str(file)], catch_exceptions=False)
    assert not photo.with_name("photo.protected.png").exists()


def test_settings_keep_their_types(tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text('budget = 6\nvae = ["a", "b"]\nrecursive = true')
    assert read_settings(file, known=["budget", "vae", "recursive"]) == {
        "budget": 6,
        "vae": ["a", "b"],
        "recursive": True,
    }


def test_every_option_of_the_help_is_in_a_group():
    lines = CliRunner().invoke(app, ["run", "--help"]).stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings[:2] == ["Pictures:", "Main options:"]
    others = lines[lines.index("Other:") + 1 :]
    assert [line.split()[0] for line in others if line.startswith("  -")] == ["-h,"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("protect --mode con", ["concentration"]),
        ("protect --preset ", ["auto", "paper", "instant", "fast", "balanced", "thorough"]),
        ("protect --vae konte", ["kontext"]),
        ("protect --max-v", ["--max-visibility"]),
    ],
)
def test_completion_knows_the_values(words: str, expected: list[str]):
    variables = {
        "_PROTECT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    script = "from pca_protect.cli.main import protect_app; protect_app(prog_name='protect')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == expected
