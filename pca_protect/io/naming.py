"""Names of outputs from a template such as `{stem}_protected{ext}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from string import Formatter

from pca_protect.errors import UsageError

PROTECTED = "protected"
"""Part of an output's default name, `NAME.protected.EXT`."""

TEST_ONLY = "test-only"
"""Replaces `PROTECTED` if all encoders are embedded test models, which protect against no real editor."""

_FIELDS = ("stem", "name", "number", "parent", "ext")
_DISTINCT = {"stem", "name", "number"}
"""Fields of which a template needs one, since the others are equal for all pictures of a folder."""
_END = "{ext}"


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """The template of outputs' paths, relative to the output folder.

    Attributes:
        text: file name with fields in braces: `stem` (the picture's name without its extension), `name` (with it), `number`
            (position in the run from 1, `number:04` with zeros) and `ext` (the output's extension with the dot, always last).
            Without a slash, the file goes into the mirrored folder of its picture; with one, the template is the whole path,
            and `parent` is that folder, between slashes.

    Raises:
        UsageError: an unknown field, no `ext` at the end, no field that differs between pictures, or a path that leaves the
            output folder.
    """

    text: str = f"{{stem}}.{PROTECTED}{_END}"

    def __post_init__(self) -> None:
        try:
            fields = [(field, spec, kind) for _, field, spec, kind in Formatter().parse(self.text) if field is not None]
        except ValueError as error:
            raise self._invalid(f"has an unmatched brace ({error}); write {{stem}}_protected{_END}") from error
        for field, spec, conversion in fields:
            if field not in _FIELDS or conversion:
                asked = f"{field}!{conversion}" if conversion else field
                raise self._invalid(f"has no field {{{asked}}}; choose from {', '.join(_FIELDS)}")
            if spec and not (field == "number" and re.fullmatch(r"0?[1-9]", spec)):
                raise self._invalid(f"has the width {spec!r}, which only {{number:04}} takes; leave it out")
        if not self.text.endswith(_END) or [field for field, _, _ in fields].count("ext") > 1:
            raise self._invalid(f"has to end in {_END}, once; `output_format` sets the extension")
        last = self.text.rpartition("/")[2]
        if not _DISTINCT & {field for _, field, _, _ in Formatter().parse(last)}:
            raise self._invalid(
                "gives all pictures of a folder one name; add {stem}, {name} or {number} to the file name"
            )
        parts = self.text.split("/")
        if any("{parent}" in part and part != "{parent}" for part in parts):
            raise self._invalid("joins {parent} to a name; write it between slashes, as {parent}/{stem}{ext}")
        if "" in parts or ".." in parts or "\0" in self.text or PurePath(self.text).is_absolute():
            raise self._invalid("is not a path below the output folder; use -o for the folder")

    @property
    def is_path(self) -> bool:
        """Whether the template sets the folders too."""
        return "/" in self.text

    def test_only(self, *, fallback: bool) -> NameTemplate:
        """The template for outputs of test models, see `TEST_ONLY`.

        Args:
            fallback: the user named no test model, so a template other than the default is marked too, before the extension.
        """
        is_default = self == NameTemplate()
        if not is_default and not fallback:
            return self
        marked = self.text.removesuffix(_END)
        if is_default:
            marked = marked.removesuffix(f".{PROTECTED}")
        return NameTemplate(f"{marked}.{TEST_ONLY}{_END}")

    def place(self, picture: PurePath, *, suffix: str, number: int) -> PurePosixPath:
        """The output's path relative to the output folder.

        Args:
            picture: the picture's path relative to its input folder.
            suffix: the output's extension with the dot; empty if it is not known yet.
            number: see `text`.
        """
        parent = picture.parent.as_posix()
        named = self.text.format(stem=picture.stem, name=picture.name, number=number, parent=parent, ext=suffix)
        return PurePosixPath(named if self.is_path else f"{parent}/{named}")

    def _invalid(self, problem: str) -> UsageError:
        return UsageError(f"`output_name={self.text}`: {problem}")
