"""A contact sheet of edits: one row per picture, one column per prompt, one block per editor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pca_protect.eval.pictures import Rgb

_MARGIN_PX = 8
_CAPTION_LINE_PX, _BELOW_CAPTION_PX = 20, 6
_TITLE_PX = 40
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def contact_sheet(blocks: Mapping[str, Sequence[Mapping[str, Rgb]]]) -> Image.Image:
    """Lay out pictures of one size.

    Args:
        blocks: title -> rows of pictures by caption; all rows of a block have the same captions, whose lines are separated by a
            line feed.
    """
    first = next(iter(blocks.values()))
    captions = list(first[0])
    side = next(iter(first[0].values())).shape[0]
    cell = side + _MARGIN_PX
    width = len(captions) * cell + _MARGIN_PX
    caption_px = max(caption.count("\n") + 1 for caption in captions) * _CAPTION_LINE_PX + _BELOW_CAPTION_PX
    height = sum(_TITLE_PX + caption_px + len(lines) * cell for lines in blocks.values()) + _MARGIN_PX
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for title, lines in blocks.items():
        draw.text((_MARGIN_PX, top + 10), title, _INK, ImageFont.load_default(22))
        top += _TITLE_PX
        for column, caption in enumerate(captions):
            draw.text((_MARGIN_PX + column * cell, top), caption, _INK, ImageFont.load_default(15))
        top += caption_px
        for line in lines:
            for column, caption in enumerate(captions):
                sheet.paste(Image.fromarray(np.ascontiguousarray(line[caption])), (_MARGIN_PX + column * cell, top))
            top += cell
    return sheet
