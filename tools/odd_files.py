"""Collect odd, broken and hostile picture files for tests/io/test_odd_files.py. `make odd` runs this:

    python tools/odd_files.py --out build/odd

`odd_files.txt` lists files of the test suite of Pillow (MIT-CMU licence), taken from its source archive. The rest is generated.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

PILLOW = "12.3.0"
SHA256 = "3b8182a766685eaa002637e28b4ec8d6b18819a0c71f579bf0dbaa5830297cce"
NAMES = Path(__file__).with_suffix(".txt")
ORIENTATION, GPS = 0x0112, 0x8825


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, data in (*pillows(), *made()):
        (out / name).write_bytes(data)
        count += 1
    print(f"{out}: {count} files")


def pillows() -> Iterator[tuple[str, bytes]]:
    """Files of Pillow's test suite, each named by its path with `__` for `/`.

    Raises:
        SystemExit: the archive differs from the one whose digest is known.
    """
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pillow"]
        subprocess.run([*pip, "--dest", folder, f"pillow=={PILLOW}"], check=True)
        (path,) = Path(folder).glob("*.tar.gz")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != SHA256:
            raise SystemExit(f"{path.name}: has the SHA-256 {digest}, not {SHA256}; fetch it again")
        with tarfile.open(path) as archive:
            for name in NAMES.read_text(encoding="utf-8").split():
                file = archive.extractfile(f"pillow-{PILLOW}/Tests/images/{name}")
                assert file is not None
                yield f"pillow__{name.replace('/', '__')}", file.read()


def made() -> Iterator[tuple[str, bytes]]:
    """Generated files: orientations, profiles, deep pixels, animations, and damage of every kind."""
    for shape, (width, height) in {"landscape": (180, 120), "portrait": (120, 180)}.items():
        for orientation in (0, 2, 3, 4, 5, 6, 7, 8):
            picture = Image.fromarray(levels(height, width, 3))
            yield f"made__{shape}_{orientation}.jpg", saved(picture, "JPEG", exif=exif(orientation))
    picture = Image.fromarray(levels(113, 150, 3))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "made__turned_icc.jpg", saved(picture, "JPEG", exif=exif(2), icc_profile=profile)
    yield "made__progressive.jpg", saved(picture, "JPEG", progressive=True, icc_profile=profile)
    yield "made__turned_gray.jpg", saved(picture.convert("L"), "JPEG", exif=exif(6))
    yield "made__gps.jpg", saved(picture, "JPEG", exif=exif(1, gps=True))
    frames = [Image.fromarray(levels(40, 60, 4, seed=seed)) for seed in range(6)]
    yield "made__animated.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    for channels, color in {1: 0, 3: 2, 4: 6}.items():
        yield f"made__16_bit_{channels}.png", png(levels(32, 33, channels).astype(">u2") * 257 + 3, color)
    yield "made__bomb.png", png(levels(2, 2, 3), 2, claimed=(60000, 60000))
    whole = saved(picture, "TIFF", compression="tiff_lzw")
    yield "made__lzw_cut.tif", whole[:-4000]
    yield "made__lzw_broken.tif", bytes(255 - byte if 400 < at < 900 else byte for at, byte in enumerate(whole))
    yield "made__no_size.tif", b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0103, 3, 1, 1) + bytes(4)
    yield "made__no_directory.tif", b"MM\0*\0\0\xff\xff" + bytes(16)
    jpeg = saved(picture, "JPEG")
    yield "made__cut.jpg", jpeg[: len(jpeg) // 2]
    yield "made__header_only.tga", struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 8224, 32, 32, 8)
    yield "made__words.png", b"this is no picture"
    yield "made__signature_only.png", b"\x89PNG\r\n\x1a\n"


def levels(height: int, width: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """A gradient with noise: `(height, width, channels)`, or `(height, width)` of one channel."""
    noise = np.random.default_rng(seed).integers(0, 32, (height, width, channels))
    ramp = np.linspace(0, 220, width)[None, :, None] * np.linspace(0.5, 1, height)[:, None, None]
    return (ramp + noise).astype(np.uint8)[..., 0 if channels == 1 else slice(None)]


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int, *, gps: bool = False) -> Image.Exif:
    result = Image.Exif()
    result[ORIENTATION] = orientation
    if gps:
        result.get_ifd(GPS).update({1: "N", 2: tuple(TiffImagePlugin.IFDRational(part) for part in (38, 57, 12))})
    return result


def png(samples: NDArray[np.generic], color: int, *, claimed: tuple[int, int] | None = None) -> bytes:
    """A PNG of 8-bit or 16-bit samples `(H, W)` or `(H, W, C)`; `claimed` is a width and height to state instead."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", *(claimed or (width, height)), 8 * samples.itemsize, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


if __name__ == "__main__":
    main()
