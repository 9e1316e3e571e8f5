"""Edits pictures without protection, with another seed, with random noise and with protection, and shows them in one picture.

    python examples/gallery.py --output gallery.png
    python examples/gallery.py --images one.jpg two.jpg --prompts "at night" "add some snow" --modes subtle --output gallery.png

Each picture has a block of two lines: the inputs of the editor above, its edits below. The number under a picture is its mean
FLIP error from the first picture of its line; 0 means identical. "Another seed" is the original, edited a second time: how much
edits differ without any protection. The noise is uniform over the budget. On the CPU the result is deterministic for a fixed
number of threads.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pca_protect import ProtectConfig, protect
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import SHOWN_EDITOR
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.trial import EditPrompt, prompts_for
from pca_protect.modes import MODES
from pca_protect.noise_control import with_noise

ASTRONAUT = Path(__file__).parent / "astronaut.png"
LINES = ("input of the editor", "edit")
SECOND_TRY = "another seed"
MARGIN, SIDE_TEXT, TITLE, CAPTION, FOOT = 10, 40, 56, 36, 84
CAPTION_SIZE, SMALL, LARGE = 21, 24, 29
INK, PAPER = (25, 25, 25), (255, 255, 255)


@dataclass(frozen=True)
class Block:
    """Attributes:
    title: file name and prompt.
    given, edits: inputs and edits by the name of the input, such as "noise"; "original" comes first. Squares of one size.
    """

    title: str
    given: dict[str, Rgb]
    edits: dict[str, Rgb]

    @property
    def lines(self) -> tuple[dict[str, Rgb], dict[str, Rgb]]:
        return self.given, self.edits


def block_for(path: Path, prompt: EditPrompt, editor: Editor, configs: list[ProtectConfig]) -> Block:
    """Protects a picture at the editor's size, and edits all inputs with one prompt."""
    original, control = square_picture(path, editor.size_px), configs[0]
    noise = with_noise(original, control.budget_levels, control.seed)
    given = {"original": original.rgb, SECOND_TRY: original.rgb, "noise": noise.rgb}
    for config in configs:
        given[config.mode] = protect(original, config, surrogate=editor.surrogate).picture.rgb
    edits = {}
    for name, picture in given.items():  # one by one: rounding depends on the batch size
        seed = control.seed + (name == SECOND_TRY)
        (edits[name],) = editor.edit([picture], prompt.text, seeds=[seed])
    if prompt.target:
        wanted = prompt.target.render(original.rgb)
        (without,) = editor.edit([original.rgb], "", seeds=[control.seed])
        if visibility(wanted, edits["original"]) >= visibility(wanted, without):
            print(
                f"warning: {path.name}: the edit of the original does not follow {prompt.text!r} either; try another prompt"
            )
    return Block(f"{path.name}: “{prompt.text}”", given, edits)


def gallery(blocks: list[Block], foot: list[str]) -> Image.Image:
    """Blocks from top to bottom, with the lines of `foot` below."""
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
            heading = f"protected: {name}" if name in MODES else name
            draw.text((_middle(column, side), top + CAPTION // 2), heading, INK, caption, anchor="mm")
        top += CAPTION
        for label, line in zip(LINES, block.lines, strict=True):
            sheet.paste(_upright(label, side), (0, top))
            for column, name in enumerate(names):
                sheet.paste(Image.fromarray(line[name]), (SIDE_TEXT + column * cell, top))
                same = name == "original" or line[name] is line["original"]
                error = "" if same else f"FLIP error {visibility(line['original'], line[name]):.2f}"
                draw.text((_middle(column, side), top + side + CAPTION // 2), error, INK, small, anchor="mm")
            top += side + CAPTION
    for number, text in enumerate(foot):
        draw.text((SIDE_TEXT, size[1] - FOOT + 12 + number * (SMALL + 8)), text, INK, small)
    return sheet


def _middle(column: int, side: int) -> int:
    return SIDE_TEXT + column * (side + MARGIN) + side // 2


def _upright(text: str, length: int) -> Image.Image:
    """Text rotated by 90 degrees, centred in a strip."""
    strip = Image.new("RGB", (length, SIDE_TEXT), PAPER)
    ImageDraw.Draw(strip).text((length // 2, SIDE_TEXT // 2), text, INK, ImageFont.load_default(SMALL - 2), anchor="mm")
    return strip.transpose(Image.Transpose.ROTATE_90)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", default=[ASTRONAUT])
    parser.add_argument(
        "--prompts", nargs="+", default=["apply sunset lighting"], help="one for all pictures, or one per picture"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--budget", type=int, default=ProtectConfig.budget_levels, help="largest change in levels")
    parser.add_argument("--steps", type=int, help="default: those of the preset")
    parser.add_argument("--editor", default=SHOWN_EDITOR, help="see `pca-protect bench editing --help`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("gallery.png"), help="PNG, JPEG or WebP")
    options = parser.parse_args(arguments)
    prompts = options.prompts * len(options.images) if len(options.prompts) == 1 else options.prompts
    if len(prompts) != len(options.images):
        parser.error(f"{len(options.images)} pictures and {len(prompts)} prompts; give one prompt, or one for each")
    editor = load_editor(options.editor, device=options.device)
    configs = [
        ProtectConfig(mode=mode, budget_levels=options.budget, steps=options.steps, seed=options.seed)
        for mode in options.modes
    ]
    blocks = []
    for path, prompt in zip(options.images, prompts, strict=True):
        print(f"{path.name} ...", flush=True)
        blocks.append(block_for(path, prompts_for(editor, [prompt])[0], editor, configs))
    foot = [
        f"Budget: {options.budget} of 255 levels. Editor: {editor.name}, {editor.size_px} px, seed {options.seed}.",
        "FLIP error: mean perceptual difference from the first picture of the line; 0 means identical.",
    ]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    gallery(blocks, foot).save(options.output, quality=90, subsampling=0)
    print(f"look at {options.output}")


if __name__ == "__main__":
    main()
