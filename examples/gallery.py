"""Let an editor loose on pictures as they are, with noise, and protected: one picture that shows what came out.

    python examples/gallery.py --output gallery.png
    python examples/gallery.py --images one.jpg two.jpg --prompts sunset "add some snow" --modes subtle --output gallery.png

A block for each picture: above what the editor is given, below what it makes of that. The number under a picture is its mean
FLIP error from the first one of its line; 0 is equal. The noise is uniform over the budget. The same command gives the same
picture, on the CPU with the same number of threads.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pca_protect import ProtectConfig, protect
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.trial import EditPrompt, prompts_for
from pca_protect.evaluation import with_noise
from pca_protect.modes import MODES

ASTRONAUT = Path(__file__).parent / "astronaut.png"
LINES = ("what the editor is given", "what it makes of it")
MARGIN, SIDE_TEXT, TITLE, CAPTION, FOOT = 10, 40, 56, 36, 84
CAPTION_SIZE, SMALL, LARGE = 21, 24, 29
INK, PAPER = (25, 25, 25), (255, 255, 255)


@dataclass(frozen=True)
class Block:
    """Attributes:
    title: which picture, and what was asked for.
    given, edits: by the name of what was done to the picture, the original first; squares of one size.
    """

    title: str
    given: dict[str, Rgb]
    edits: dict[str, Rgb]

    @property
    def lines(self) -> tuple[dict[str, Rgb], dict[str, Rgb]]:
        return self.given, self.edits


def block_for(path: Path, prompt: EditPrompt, editor: Editor, configs: list[ProtectConfig]) -> Block:
    """Protect a picture at the size that the editor takes, and edit everything with one prompt and seed."""
    original, control = square_picture(path, editor.size_px), configs[0]
    given = {"original": original.rgb, "noise": with_noise(original, control.budget_levels, control.seed).rgb}
    for config in configs:
        given[config.mode] = protect(original, config, surrogate=editor.surrogate).picture.rgb
    edits = {
        name: editor.edit([picture], prompt.text, seeds=[control.seed])[0]  # one by one: batches round otherwise
        for name, picture in given.items()
    }
    if prompt.target:
        wanted = prompt.target.render(original.rgb)
        (without,) = editor.edit([original.rgb], "", seeds=[control.seed])
        if visibility(wanted, edits["original"]) >= visibility(wanted, without):
            print(
                f"warning: {path.name}: even the edit of the original does not do {prompt.text!r}; try another prompt"
            )
    return Block(f"{path.name}: “{prompt.text}”", given, edits)


def gallery(blocks: list[Block], foot: list[str]) -> Image.Image:
    """Blocks below each other, and what there is to say about all of them."""
    names, side = list(blocks[0].given), blocks[0].given["original"].shape[0]
    cell = side + MARGIN
    block_height = TITLE + CAPTION + len(LINES) * (side + CAPTION)
    size = (SIDE_TEXT + len(names) * cell, len(blocks) * block_height + FOOT)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    caption, small, large = (ImageFont.load_default(size) for size in (CAPTION_SIZE, SMALL, LARGE))
    for number, block in enumerate(blocks):
        top = number * block_height
        draw.text((SIDE_TEXT, top + TITLE // 2), block.title, INK, large, anchor="lm")
        top += TITLE
        for column, name in enumerate(names):
            said = f"protected: {name}" if name in MODES else name
            draw.text((_middle(column, side), top + CAPTION // 2), said, INK, caption, anchor="mm")
        top += CAPTION
        for label, line in zip(LINES, block.lines, strict=True):
            sheet.paste(_upright(label, side), (0, top))
            for column, name in enumerate(names):
                sheet.paste(Image.fromarray(line[name]), (SIDE_TEXT + column * cell, top))
                error = "" if name == "original" else f"FLIP error {visibility(line['original'], line[name]):.2f}"
                draw.text((_middle(column, side), top + side + CAPTION // 2), error, INK, small, anchor="mm")
            top += side + CAPTION
    for number, text in enumerate(foot):
        draw.text((SIDE_TEXT, size[1] - FOOT + 12 + number * (SMALL + 8)), text, INK, small)
    return sheet


def _middle(column: int, side: int) -> int:
    return SIDE_TEXT + column * (side + MARGIN) + side // 2


def _upright(text: str, length: int) -> Image.Image:
    """Text that runs from below to above, in the middle of a strip."""
    strip = Image.new("RGB", (length, SIDE_TEXT), PAPER)
    ImageDraw.Draw(strip).text((length // 2, SIDE_TEXT // 2), text, INK, ImageFont.load_default(SMALL - 2), anchor="mm")
    return strip.transpose(Image.Transpose.ROTATE_90)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", default=[ASTRONAUT])
    parser.add_argument("--prompts", nargs="+", default=["sunset"], help="for all, or one for each picture")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--budget", type=int, default=ProtectConfig.budget_levels, help="largest change in levels")
    parser.add_argument("--steps", type=int, help="those of the preset if not given")
    parser.add_argument("--editor", default="pocket-editor", help="see `pca-protect bench editing --help`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("gallery.png"), help="PNG, JPEG or WebP")
    asked = parser.parse_args(arguments)
    prompts = asked.prompts * len(asked.images) if len(asked.prompts) == 1 else asked.prompts
    if len(prompts) != len(asked.images):
        parser.error(f"{len(asked.images)} pictures and {len(prompts)} prompts; give one prompt, or one for each")
    editor = load_editor(asked.editor, device=asked.device)
    configs = [
        ProtectConfig(mode=mode, budget_levels=asked.budget, steps=asked.steps, seed=asked.seed) for mode in asked.modes
    ]
    blocks = []
    for path, prompt in zip(asked.images, prompts, strict=True):
        print(f"{path.name} ...", flush=True)
        blocks.append(block_for(path, prompts_for(editor, [prompt])[0], editor, configs))
    foot = [
        f"Every change is at most {asked.budget} of 255 levels. Editor: {editor.name}, {editor.size_px} px, seed {asked.seed}.",
        "FLIP error: mean difference from the first picture of the line as seen by the eye; 0 is none.",
    ]
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    gallery(blocks, foot).save(asked.output, quality=90, subsampling=0)
    print(f"look at {asked.output}")


if __name__ == "__main__":
    main()
