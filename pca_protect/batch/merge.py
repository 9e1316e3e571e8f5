"""Merges small segments of a ledger at the end of a run."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

from pca_protect.batch.ledger import HEADER, SEGMENTS, STATE, lines_of, segments_of, valid_lines
from pca_protect.batch.store import Store

_MERGED_BYTES = 64 << 20
"""Segments of this size are not merged again."""


def merge_segments(store: Store) -> None:
    """Merge small neighbouring segments and those of earlier versions, without superseded lines. Only for the sole writer.

    Raises:
        UsageError, PictureError: the store cannot be read or written. No line is lost.
    """
    sizes = {stored.place: stored.size_bytes for stored in store.listed(STATE)}
    for places in _neighbours(segments_of(store), sizes):
        if len(places) > 1 or "/journal" in places[0]:
            _merge(store, places)


def _neighbours(places: list[str], sizes: dict[str, int]) -> Iterator[list[str]]:
    """Groups of segments, in their order, each of at most `_MERGED_BYTES` or of one segment."""
    group: list[str] = []
    total = 0
    for place in places:
        size = sizes.get(place, 0)
        if group and total + size > _MERGED_BYTES:
            yield group
            group, total = [], 0
        group.append(place)
        total += size
    if group:
        yield group


def _merge(store: Store, places: list[str]) -> None:
    """Write one segment for several. Its name sorts where theirs do, since later lines supersede earlier ones."""
    lines: dict[str, list[str]] = {}
    for values in valid_lines(lines_of(store, places)):
        text = json.dumps(values)
        earlier = [] if values.get("written") else lines.get(str(values["output"]), [])
        lines[str(values["output"])] = earlier if text in earlier else [*earlier, text]
    merged = HEADER + "".join(f"{text}\n" for texts in lines.values() for text in texts)
    is_new = places[-1].startswith(f"{SEGMENTS}/")
    last = places[-1].removesuffix(".jsonl") if is_new else f"{SEGMENTS}/0"
    store.write(f"{last}-{uuid.uuid4().hex[:8]}.jsonl", merged.encode("ascii"), overwrite=False)
    for place in places:
        store.remove(place)
