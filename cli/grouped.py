"""A command with grouped help whose options can also be set by environment variables and a settings file."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from pca_protect.cli.settings_file import read_settings
from pca_protect.errors import UsageError

SETTINGS_FILE = "pca-protect.toml"
"""Settings file of the current folder, used without being named."""
_PREFIX = "PCA_PROTECT_"
_UNGROUPED = "Other"
_ONLY_ON_THE_COMMAND_LINE = ("config", "help", "version", "install_completion", "show_completion", "port")
"""Kubernetes sets PCA_PROTECT_PORT=tcp://ADDRESS:PORT beside a service named pca-protect."""


class GroupedCommand(TyperCommand):
    """Lists options under the headings given by `rich_help_panel`, in the order of their first option.

    An option `--max-visibility` is taken from the command line, else from `PCA_PROTECT_MAX_VISIBILITY`, else from the key
    `max-visibility` of the settings file, else from its default.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the arguments of click's class
        super().__init__(*args, **kwargs)
        for option in self._settable():
            option.envvar = _PREFIX + _long_name(option).upper().replace("-", "_")
            option.show_envvar = False  # the help of --config names the rule

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer hides click's classes since 0.29
        groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                groups[getattr(parameter, "rich_help_panel", None) or _UNGROUPED].append(row)
        groups[_UNGROUPED] = groups.pop(_UNGROUPED, [])  # last
        for heading, rows in groups.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def use_settings_file(self, ctx: typer.Context, file: Path | None) -> None:
        """Make the settings of a file the defaults of the options.

        Args:
            file: the file given; None for that of the current folder, if there is one.

        Raises:
            UsageError: the file cannot be read, sets something unknown, or a value does not fit its option.
        """
        path = file if file is not None else Path(SETTINGS_FILE)
        if file is None and not path.is_file():
            return
        options = {_long_name(option): option for option in self._settable()}
        defaults = {}
        for key, value in read_settings(path, known=list(options)).items():
            option = options[key]
            if option.multiple and isinstance(value, str):
                value = [value]
            defaults[str(option.name)] = value
            try:
                option.process_value(ctx, value)
            except (typer.BadParameter, TypeError) as error:
                raise UsageError(f"{path}: {key} = {value!r} is invalid ({error}); see --help") from error
        ctx.default_map = defaults
        ctx.meta["settings_file"] = str(path)

    def _settable(self) -> list[TyperOption]:
        options = [parameter for parameter in self.params if isinstance(parameter, TyperOption)]
        return [option for option in options if option.name not in _ONLY_ON_THE_COMMAND_LINE]


def _long_name(option: TyperOption) -> str:
    """`max-visibility` for `--max-visibility`."""
    return max(option.opts, key=len).removeprefix("--")
