"""A questionnaire about saved edits for people: a page to print, the key to it, and a table for the answers."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pca_protect.errors import UsageError
from pca_protect.eval.arms.registry import DECIDED_ARMS
from pca_protect.eval.html import rendered
from pca_protect.eval.judge.questions import FOLLOWS, PAIR_QUESTIONS, A, B
from pca_protect.eval.judge.tally import judged_variants
from pca_protect.eval.saved_edits import CLEAN, SavedEdits, digest_of, read_edit, saved_edits

FOLLOWS_A, FOLLOWS_B = f"{FOLLOWS.name}_a", f"{FOLLOWS.name}_b"
ANSWER_COLUMNS = ("item", *(question.name for question in PAIR_QUESTIONS), FOLLOWS_A, FOLLOWS_B)
"""Of the table for answers: the item's number; `A`, `B` or `=` (no difference); `yes` or `no`. An empty cell is no answer."""


@dataclass(frozen=True)
class Item:
    """Two edits of a picture, one of them the clean edit.

    Attributes:
        variant: of the other edit.
        clean: `A` or `B`.
    """

    edits: SavedEdits
    variant: str
    clean: str

    @property
    def pair(self) -> tuple[Path, Path]:
        """The edits A and B."""
        clean, other = self.edits.edits[CLEAN], self.edits.edits[self.variant]
        return (clean, other) if self.clean == A else (other, clean)


def draw_items(
    edits: Sequence[SavedEdits], *, seed: int, arms: Sequence[str] = (), pictures: int | None = None
) -> list[Item]:
    """Items in random order: for each editor and picture one prompt, with every method, noise of the same levels and a clean
    edit of another seed.

    Args:
        arms: methods; empty for the paper's two modes and this program's.
        pictures: maximum number of pictures.

    Raises:
        UsageError: no edit by one of the methods was saved.
    """
    generator = random.Random(seed)
    prompts: dict[tuple[str, str], list[SavedEdits]] = {}
    for one in edits:
        prompts.setdefault((one.editor, one.picture), []).append(one)
    chosen = sorted({picture for _, picture in prompts})[:pictures]
    items = []
    for (_, picture), choices in prompts.items():
        one = generator.choice(choices)
        if picture in chosen:
            variants = [name for name in judged_variants(one.edits, arms or DECIDED_ARMS) if name != CLEAN]
            items += [Item(one, variant, generator.choice((A, B))) for variant in variants]
    names = arms or DECIDED_ARMS
    if not any(item.variant.partition(" ")[0] in names for item in items):
        raise UsageError(f"no edit by {', '.join(names)} was saved; choose other methods with --arm")
    generator.shuffle(items)
    return items


def write_sheet(
    run: Path, path: Path, *, seed: int = 0, arms: Sequence[str] = (), pictures: int | None = None
) -> tuple[Path, Path, Path]:
    """Write the page, the key (NAME.key.json) and the empty table for answers (NAME.answers.csv). Returns their paths.

    The page is one file without network access and says nothing about methods. The files replace those of an earlier call.

    Args:
        run: a folder of `bench editing` with saved edits.
        path: of the page.

    Raises:
        UsageError: see `saved_edits` and `draw_items`; or a file cannot be written.
    """
    edits = saved_edits(run)
    items = draw_items(edits, seed=seed, arms=arms, pictures=pictures)
    key = {
        "edits": digest_of(edits),
        "seed": seed,
        "items": [
            {
                "item": number,
                "editor": item.edits.editor,
                "picture": item.edits.picture,
                "prompt": item.edits.prompt,
                "variant": item.variant,
                "clean": item.clean,
            }
            for number, item in enumerate(items, start=1)
        ],
    }
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(ANSWER_COLUMNS)
    writer.writerows([number, *[""] * (len(ANSWER_COLUMNS) - 1)] for number in range(1, len(items) + 1))
    paths = path, key_of(path), path.with_suffix(".answers.csv")
    texts = _page(items), json.dumps(key, indent=2) + "\n", table.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, text in zip(paths, texts, strict=True):
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); choose another place with -o") from error
    return paths


def key_of(sheet: Path) -> Path:
    """The key that belongs to a page."""
    return sheet.with_suffix(".key.json")


def _page(items: Sequence[Item]) -> str:
    return rendered("pca_protect.eval.judge", "sheet.html", inline=_inline, items=items)


def _inline(path: Path) -> str:
    """A picture file, unchanged, as a data URL. Lossy compression would hide the artefacts that are judged."""
    read_edit(path)
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
