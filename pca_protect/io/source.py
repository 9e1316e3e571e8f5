"""A picture to protect, and the result of a search for pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from PIL import Image

from pca_protect.io.formats import FORMATS, PICTURE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to protect. A run may hold a million of these, so it stores no pixels.

    Attributes:
        path: used to open the file and in messages; a URL for a picture in a bucket.
        root: the folder or URL whose tree the outputs mirror; empty for a file named directly.
        place: path relative to `root`; the file name if `root` is empty.
        suffix: extension of the output, with the dot; empty if only the content can tell, see `Job.candidates`.
        width_px, height_px: from the header, before EXIF rotation; 0 if the header cannot be read.
        problem: error message of a picture that cannot be processed; empty if none is known yet.
        frames: 1, or 2 for more than one, see `Header`.
        size_bytes: size of the file.
        tag: changes with the content: modification time in nanoseconds, or the ETag of an object; empty if unknown.
    """

    path: str
    root: str
    place: str
    suffix: str = ".png"
    width_px: int = 0
    height_px: int = 0
    problem: str = ""
    frames: int = 1
    size_bytes: int = 0
    tag: str = ""

    @property
    def pixels(self) -> int:
        """Pixels of one frame according to the header; 0 if it could not be read."""
        return self.width_px * self.height_px


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a list of pictures; `root` is empty if the list has none."""

    path: str
    root: str = ""


@dataclass
class Found:
    """Attributes:
    sources: pictures in the order given; within a folder by name, its files before its subfolders.
    folders: input folders.
    several: the inputs include a folder, a pattern or a list, so outputs need a folder.
    listed: number of files looked at; the sum of the counters below and of `sources`.
    not_pictures: number of files, from folders and patterns, in no known image format.
    ours: number of outputs of this program.
    hidden: number of entries whose name begins with a dot.
    excluded: number of files and folders that the filter leaves out.
    not_entered: number of non-empty subfolders skipped without `recursive`.
    output_inside: the output folder is inside an input folder and was skipped.
    """

    sources: list[Source] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    several: bool = False
    listed: int = 0
    not_pictures: int = 0
    ours: int = 0
    hidden: int = 0
    excluded: int = 0
    not_entered: int = 0
    output_inside: bool = False

    def require_complete(self) -> None:
        """Check that every file is counted once."""
        counted = len(self.sources) + self.not_pictures + self.ours + self.hidden + self.excluded
        assert self.listed == counted, f"{self.listed} files were listed and {counted} counted"

    def messages(self) -> list[str]:
        """What was left out, one sentence each."""
        messages = []
        if self.not_entered:
            messages.append(f"{_count(self.not_entered, 'subfolder')} not entered; add `recursive` to include them")
        if self.not_pictures:
            messages.append(f"{_count(self.not_pictures, 'file')} ignored: not in a recognised image format")
        if self.ours:
            messages.append(f"{_count(self.ours, 'file')} left out: outputs of this program")
        if self.excluded:
            messages.append(f"{_count(self.excluded, 'entry', 'entries')} left out by `include` and `exclude`")
        if self.output_inside:
            messages.append("the output folder is inside an input folder and was left out")
        return messages


@cache
def picture_suffixes() -> frozenset[str]:
    """Extensions of image formats, read or not, in lower case with the dot."""
    Image.init()
    return frozenset({*PICTURE_SUFFIXES, *(suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS)})


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun} was" if number == 1 else f"{number} {plural or f'{noun}s'} were"
