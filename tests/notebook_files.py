"""Small notebooks and pictures, for the tests of checking and running notebooks."""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from plots import ORIGIN_KEY


def picture(origin=None, image_format="png", noise=False) -> str:
    """A small picture (with noise: a big one), base64, with its origin written into a PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3) if noise else (4, 4, 3), dtype=np.uint8)
    info, buffer = PngInfo(), io.BytesIO()
    if origin:
        info.add_text(ORIGIN_KEY, origin)
    Image.fromarray(pixels).save(buffer, image_format, **({"pnginfo": info} if image_format == "png" else {}))
    return base64.b64encode(buffer.getvalue()).decode()


def display(mime, value, origin=None):
    """An output of one mime type, with its origin beside it."""
    return new_output("display_data", data={mime: value}, metadata={ORIGIN_KEY: origin} if origin else {})


def printed(text):
    """An output of `print`."""
    return new_output("stream", name="stdout", text=text)


def kept(*outputs, **fields):
    """A code cell whose outputs may stay."""
    return new_code_cell("show()", metadata={"tags": ["keep_output"]}, outputs=list(outputs), **fields)


def write(path: Path, *cells) -> Path:
    """The cells as a notebook file."""
    kernel = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=list(cells), metadata={"kernelspec": kernel}), path)
    return path
