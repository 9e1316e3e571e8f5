"""Resolution as each format stores it."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Literal

from pca_protect.io.exif import value_of, with_values
from pca_protect.io.picture import Density
from pca_protect.io.tiff_directory import RATIONAL, SHORT, Layout, Value, layout_of


def density_of_exif(block: bytes) -> Density | None:
    """The resolution in a well-formed EXIF block; None if it has none or no unit."""
    values = [value_of(block, tag) for tag in (282, 283, 296)]
    order = layout_of(block).order if block else "<"
    numbers = []
    for value in values[:2]:
        if value is None or value.type != RATIONAL or value.count != 1:
            return None
        numerator, denominator = struct.unpack(f"{order}II", value.data)
        if numerator == 0 or denominator == 0:
            return None
        numbers.append(Fraction(numerator, denominator))
    unit = values[2]
    code = struct.unpack(f"{order}H", unit.data)[0] if unit is not None and (unit.type, unit.count) == (SHORT, 1) else 2
    units: dict[int, Literal["inch", "cm"]] = {2: "inch", 3: "cm"}
    return Density(numbers[0], numbers[1], units[code]) if code in units else None


def with_density(block: bytes, density: Density | None) -> bytes:
    """An EXIF block with a resolution, unless it has one already."""
    if density is None or (block and value_of(block, 282) is not None):
        return block
    return with_values(block, density_values(density, layout_of(block) if block else Layout("<")))


def density_values(density: Density, layout: Layout) -> dict[int, Value]:
    """TIFF tags XResolution, YResolution and ResolutionUnit."""
    values = {}
    for tag, number in ((282, density.x), (283, density.y)):
        short = number.limit_denominator(1_000_000)
        values[tag] = Value(RATIONAL, 1, layout.numbers("I", short.as_integer_ratio()))
    code = {"": 1, "inch": 2, "cm": 3}[density.unit]
    return {**values, 296: Value(SHORT, 1, layout.numbers("H", [code]))}


def density_of_png(content: bytes) -> Density | None:
    """The resolution in the 9 bytes of a pHYs chunk; None if it says nothing."""
    x, y, unit = struct.unpack(">IIB", content)
    if x == 0 or y == 0 or (unit != 1 and x == y):
        return None
    return Density(Fraction(x, 100), Fraction(y, 100), "cm") if unit == 1 else Density(Fraction(x), Fraction(y), "")


def density_of_jfif(content: bytes) -> Density | None:
    """The resolution in a JFIF segment of 12 bytes or more; None if it says nothing."""
    code, x, y = struct.unpack_from(">BHH", content, 7)
    if x == 0 or y == 0 or (code == 0 and x == y):
        return None
    units: dict[int, Literal["inch", "cm", ""]] = {0: "", 1: "inch", 2: "cm"}
    return Density(Fraction(x), Fraction(y), units[code]) if code in units else None


def phys_chunk(density: Density) -> bytes:
    """The content of a pHYs chunk: whole pixels per metre, or the aspect ratio."""
    per_metre = {"inch": Fraction(10_000, 254), "cm": Fraction(100)}.get(density.unit)
    if per_metre is None:
        x, y = _whole_ratio(density, 2**31 - 1)
        return struct.pack(">IIB", x, y, 0)
    return struct.pack(">IIB", *(min(round(side * per_metre), 2**31 - 1) for side in (density.x, density.y)), 1)


def jfif_fields(density: Density) -> bytes:
    """Unit, horizontal and vertical density of a JFIF segment, which are whole numbers."""
    if density.unit:
        x, y = (min(round(side), 65535) for side in (density.x, density.y))
        return struct.pack(">BHH", {"inch": 1, "cm": 2}[density.unit], x, y)
    x, y = _whole_ratio(density, 65535)
    return struct.pack(">BHH", 0, x, y)


def _whole_ratio(density: Density, largest: int) -> tuple[int, int]:
    ratio = (density.x / density.y).limit_denominator(largest)
    return min(ratio.numerator, largest), ratio.denominator
