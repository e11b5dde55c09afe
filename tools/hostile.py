"""Hostile material for tools/attack.py: damaged bytes, odd text and values, images of every format."""

import contextlib
import io
import random
import string
import struct
import zlib

import numpy as np
from PIL import Image

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")



def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few of them changed, cut off, repeated or replaced."""
    data = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data) + 1)])
    if kind == 1:
        start = rng.randrange(len(data) + 1)
        return bytes(data[:start] + data[start + rng.randrange(64) :])
    if kind == 2:
        return rng.randbytes(rng.randrange(200))
    for _ in range(rng.choice((1, 2, 8, 64))):
        place = rng.randrange(min(len(data), 64)) if kind == 3 else rng.randrange(len(data))
        data[place] = rng.randrange(256)
    return bytes(data)


def any_text(rng: random.Random, longest: int = 40) -> str:
    """Text with whatever a shell, a file name or a parser could stumble over."""
    letters = string.ascii_letters + string.digits + " ._-/\\:;,'\"{}[]()=*?\r\n\t\0é漢😀"
    return "".join(rng.choice(letters) for _ in range(rng.randrange(longest)))


def any_value(rng: random.Random, depth: int = 0):
    """A JSON value of any type, with the numbers that break things."""
    numbers = (0, -1, 1, 1.5, 1e9, 1e30, -1e-30, float("nan"), float("inf"), 2**63, 96, 3)
    makers = (
        lambda: rng.choice(numbers),
        lambda: any_text(rng),
        lambda: rng.choice((None, True, False)),
        lambda: [any_value(rng, depth + 1) for _ in range(rng.randrange(4))],
        lambda: {any_text(rng, 8): any_value(rng, depth + 1) for _ in range(rng.randrange(3))},
    )
    return rng.choice(makers[: 3 if depth > 2 else 5])()


def image_bytes(rng: random.Random) -> bytes:
    """A small valid image file of any format and mode."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    height, width = rng.randrange(1, 40), rng.randrange(1, 40)
    mode, channels = rng.choice((("L", 1), ("RGB", 3), ("RGBA", 4), ("P", 1), ("I;16", 1), ("1", 1)))
    if mode == "I;16":
        picture = Image.fromarray(numbers.integers(0, 65536, (height, width), dtype=np.uint16))
    else:
        values = numbers.integers(0, 256, (height, width, channels), dtype=np.uint8)
        picture = Image.fromarray(values[..., 0] if channels == 1 else values)
        picture = picture.convert(mode) if mode in ("P", "1") else picture
    stream = io.BytesIO()
    for name in rng.sample(IMAGE_FORMATS, len(IMAGE_FORMATS)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            picture.save(stream, format=name)
            return stream.getvalue()
        stream = io.BytesIO()
    return b""


def png_of_any_size(rng: random.Random) -> bytes:
    """A PNG that announces up to 2**31 pixels a side, with little or no content."""
    sides = [rng.choice((0, 1, 7, 300, 20_000, 65_536, 2**20, 2**31 - 1)) for _ in range(2)]
    depth, colour = rng.choice(((8, 2), (8, 6), (16, 2), (16, 0), (1, 0), (8, 3)))

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", *sides, depth, colour, 0, 0, 0)
    content = zlib.compress(bytes(rng.choice((0, 100, 10_000_000))))
    palette = chunk(b"PLTE", bytes(6)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )
