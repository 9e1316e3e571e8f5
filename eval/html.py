"""Self-contained HTML pages from templates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(package: str, template: str, *, inline: Callable[[Path], str], **values: object) -> str:
    """The page as a string.

    Args:
        package: with the template.
        inline: a picture file -> its data URL; the filter `inline` of the template.
        values: variables of the template, escaped where they are inserted.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    return environment.get_template(template).render(**values)
