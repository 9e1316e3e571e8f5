"""The shape of the project: who may import whom, what is public, what is packaged."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import ROOT
from fresh_python import run_python

import pca_protect

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

FOLDERS = {"pca_protect": ROOT / "pca_protect", "pca_protect.cli": ROOT / "cli", "pca_protect.eval": ROOT / "eval"}
HEAVY = {"torch", "diffusers", "transformers", "huggingface_hub", "gradio", "ray", "numpy", "PIL", "fastapi", "uvicorn"}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join([package, *parts])] = path
    return found


MODULES = modules()


def imports(path: Path, *, top_level_only: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    yield from imports_of(tree.body if top_level_only else list(ast.walk(tree)))


def imports_of(nodes: Sequence[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"from .{node.module}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def belongs_to(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def forbidden_to(module: str) -> tuple[str, ...]:
    forbidden: tuple[str, ...] = ("cli", "eval", "training", "tools")
    if belongs_to(module, ("pca_protect.eval",)):
        forbidden += ("pca_protect.cli",)
    elif not belongs_to(module, ("pca_protect.cli", "pca_protect.__main__")):
        forbidden += ("pca_protect.cli", "pca_protect.eval", "typer", "rich", "gradio")
        if module != "pca_protect.batch.executors.ray":
            forbidden += ("ray",)
        if module != "pca_protect.batch.store":
            forbidden += ("fsspec",)
    if belongs_to(module, ("pca_protect.attack", "pca_protect.image")):
        forbidden += ("pca_protect.config", "pca_protect.surrogates", "pca_protect.protection", "pca_protect.engine")
    if not belongs_to(module, ("pca_protect.batch", "pca_protect.cli", "pca_protect.eval")):
        forbidden += ("pca_protect.batch",)
        if not belongs_to(module, ("pca_protect.universal_training",)):
            forbidden += ("pca_protect.universal_training",)
    if belongs_to(module, ("pca_protect.universals",)):
        forbidden += ("pca_protect.engine", "pca_protect.config")
    if belongs_to(module, ("pca_protect.io",)):
        forbidden += ("torch", "pca_protect.surrogates")
    if module == "pca_protect.surrogates.resolve":
        forbidden += ("torch", "diffusers", "pca_protect.surrogates.load", "pca_protect.surrogates.encoder")
    if module in ("pca_protect.surrogates.kl_encoder", "pca_protect.surrogates.winograd"):
        forbidden += ("diffusers", "accelerate", "pca_protect.surrogates.load", "pca_protect.surrogates.encoder")
    if module != "pca_protect.batch.run" and not belongs_to(module, ("pca_protect.batch.executors",)):
        forbidden += ("pca_protect.batch.executors",)
    if belongs_to(module, ("pca_protect.cli.api",)):
        forbidden += ("pca_protect.cli.web", "gradio")
    return forbidden


def test_direction_of_imports():
    """cli -> eval -> pca_protect, and inside the core the pure parts know neither pictures nor models."""
    upwards = {
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in imports(path, top_level_only=False)
        if belongs_to(name, forbidden_to(module))
    }
    assert upwards == set()


@pytest.mark.parametrize(
    "module",
    [
        *("pca_protect.config", "pca_protect.presets", "pca_protect.modes", "pca_protect.errors"),
        *("pca_protect.device_names", "pca_protect.image.regions", "pca_protect.image.scale_names"),
        *("pca_protect.surrogates.registry", "pca_protect.surrogates.families"),
        *("pca_protect.surrogates.names", "pca_protect.surrogates.weight_files"),
    ],
)
def test_the_lightest_modules_import_the_standard_library_only(module: str):
    tree = ast.parse(MODULES[module].read_text())
    for_types = {name for node in tree.body if isinstance(node, ast.If) for name in imports_of(list(ast.walk(node)))}
    used = {name.split(".")[0] for name in set(imports(MODULES[module], top_level_only=False)) - for_types}
    assert used <= {*sys.stdlib_module_names, "pca_protect"}


def test_the_command_line_imports_heavy_things_in_command_bodies_only():
    """The parts of the web page and of the HTTP API are such bodies: nobody imports them but the commands that serve them."""
    bodies = ("pca_protect.cli.web", "pca_protect.cli.api")
    heavy = {
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if belongs_to(module, ("pca_protect.cli",)) and not belongs_to(module, bodies)
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] in HEAVY or belongs_to(name, bodies)
    }
    assert heavy == set()


def test_the_method_loads_no_request_no_files_and_no_models():
    """Also not through what it imports: each module of `attack` is imported in turn in a fresh interpreter."""
    method = sorted(name for name in MODULES if belongs_to(name, ("pca_protect.attack",)))
    assert len(method) > 8
    code = (
        "import importlib, sys\n"
        "unwanted = ('pca_protect.config', 'pca_protect.io', 'pca_protect.surrogates', 'PIL')\n"
        f"for module in {method!r}:\n"
        "    importlib.import_module(module)\n"
        "    found = [name for name in sys.modules if f'{name}.'.startswith(tuple(f'{one}.' for one in unwanted))]\n"
        "    assert not found, f'{module} loads {found}'\n"
    )
    run_python(code)


def test_few_modules_below_protection_read_the_request():
    readers = {
        name
        for name, path in MODULES.items()
        if "pca_protect.config.ProtectConfig" in imports(path, top_level_only=False)
        and not belongs_to(name, ("pca_protect.cli", "pca_protect.eval", "pca_protect.batch"))
    }
    above = {"pca_protect", "pca_protect.protection", "pca_protect.frames"}
    assert readers == above | {
        "pca_protect.engine",
        "pca_protect.initialisation",
        "pca_protect.universal_training.measure",
    }


def test_nothing_outside_the_command_line_prints():
    for module, path in MODULES.items():
        if belongs_to(module, ("pca_protect.cli",)):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{module}:{node.lineno}"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["bench", "--help"], ["vaes"]])
def test_help_imports_no_torch(arguments: list[str]):
    code = (
        "import sys\n"
        f"sys.argv = ['pca-protect', *{arguments!r}]\n"
        "from pca_protect.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'torch', 'diffusers', 'transformers'} & sys.modules.keys()\n"
    )
    run_python(code)


def test_public_names():
    assert sorted(pca_protect.__all__) == sorted(
        [
            *("Cancelled", "DeviceError", "ModelError", "PcaProtectError", "PictureError", "UsageError"),
            *("ProtectConfig", "Protected", "Record", "Surrogate", "__version__"),
            *("load_surrogate", "posterior_collapse", "protect", "FallbackWarning", "ProtectionWarning"),
            *("PosteriorCollapse", "protect_batch", "register_mode"),
        ]
    )
    for name in pca_protect.__all__:
        thing = getattr(pca_protect, name)
        if callable(thing):
            assert thing.__doc__, f"{name} has no docstring"
            assert thing.__module__.startswith("pca_protect."), name
    with pytest.raises(AttributeError, match="no attribute 'protekt'"):
        pca_protect.protekt  # noqa: B018


def test_every_package_is_declared():
    """A subpackage that is not listed works in the editable install and is missing from the wheel."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(declared) == found
