"""Files in and out: any image as RGB, `.pts` files, and writing that leaves nothing half done.

OpenCV is imported here and nowhere else.
"""

import io
import itertools
import json
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from landmarks import NUM_KEYPOINTS, check_keypoints

try:
    import cv2
except ImportError as error:  # the wheel needs libGL, which slim systems lack
    raise ImportError(
        f"OpenCV cannot be imported ({error}). If a system library is missing: on Debian or Ubuntu "
        "'apt-get install libgl1 libglib2.0-0'; on a machine without a screen 'pip install "
        "opencv-python-headless' in place of opencv-python. If cv2 itself is missing: run 'make test' or "
        "'make notebooks' once, or 'pip install -r requirements.lock'."
    ) from error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["cv2"]

# --- images -------------------------------------------------------------------------------------

#: Endings that a search of a folder takes for images. The reader itself looks at the content only.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
#: Memory that decoding one image may take, in bytes.
MAX_BYTES = 2**30

EXPECTED = (
    "an image must be a path, the bytes of a file, an open binary file, a Pillow image or a NumPy array: "
    "HxW, HxWx1, HxWx3 (RGB) or HxWx4 (RGBA), of uint8, uint16, bool, or float in [0, 1]"
)
CHANNELS = (1, 3, 4)
TOLERANCE = 1e-3  # how far a float image may leave [0, 1] through rounding
BIT_DEPTHS = (8, 10, 12, 14, 16)  # that cameras store in 16 bits
WINDOW = 512  # side of the squares in which an image is converted, so that copies stay small

#: The formats that Pillow may open. The others are rare, and some start another program (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000")
Image.init()  # registers them
STARTS_FOR_OPENCV = (b"II*\0", b"MM\0*", b"#?")  # TIFF of either byte order, HDR
MODES_AS_THEY_ARE = ("1", "L", "RGB", "RGBA", "F")
#: Bytes per pixel: what Pillow keeps, and what the decoder of a format needs beside it (measured).
PILLOW_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
DECODER_BYTES = {"WEBP": 16, "AVIF": 16, "JPEG2000": 20, "TIFF": 8, "GIF": 4}
PROGRESSIVE_JPEG_BYTES, DEEP_COLOUR_BYTES = 8, 16
RGB_BYTES, WINDOW_BYTES = 3, 24  # the result, and the copies of one window


def to_rgb(image, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """An image of any kind as HxWx3 uint8 RGB.

    image: what `read_image` takes, a Pillow image, or an array HxW, HxWx1, HxWx3 (RGB) or HxWx4 (RGBA,
        alpha not premultiplied) of uint8 [0, 255], uint16 (see `read_image`), bool, or float [0, 1].
    max_bytes: see `read_image`; an array is in memory already and not checked.
    An array that is RGB uint8 already is not copied.
    Raises TypeError for anything else, ValueError for an array that is empty, holds NaN, or has the wrong
    shape, type or range, and what `read_image` raises.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image, "the array")
    if isinstance(image, Image.Image):
        return _upright(*_from_pillow(image, "the Pillow image", max_bytes))
    return read_image(image, max_bytes=max_bytes)


def read_image(file, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """An image file as HxWx3 uint8 RGB, upright, decoded by its content and never by its ending.

    file: a path (`~` is the home folder), the bytes of a file, or an open binary file.
    max_bytes: memory that decoding may take, the decoder's own and the result included. It is computed
        from the header, before anything is decoded. The default, 1 GB, is enough for a JPEG or PNG of
        150 million pixels.

    JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF, JPEG 2000 and Radiance HDR are read. Photos are turned upright
    by their EXIF orientation, transparent pixels are put over white, of several frames the first counts.
    Files of 16 bits are scaled to 8. Many cameras use fewer than 16: the range is the smallest of 8,
    10, 12, 14 and 16 bits that holds the largest value of the image. Floats must lie in [0, 1].

    Raises FileNotFoundError, TypeError for what is no file at all, or ValueError for a folder, a device or
    a pipe, and for a file that is empty, no image, damaged, or too large for max_bytes (or for Pillow:
    2 * PIL.Image.MAX_IMAGE_PIXELS).
    """
    if isinstance(file, str | os.PathLike):
        path = Path(os.path.expanduser(file))
        _check_path(path)
        with path.open("rb") as stream:
            return _read(stream, str(path), max_bytes)
    if isinstance(file, bytes | bytearray | memoryview):
        return _read(io.BytesIO(file), f"the file of {len(file)} bytes", max_bytes)
    if hasattr(file, "read"):
        content = file.read(max_bytes + 1)
        if not isinstance(content, bytes):
            raise TypeError(f"{EXPECTED}; got a file that is open as text: open it with 'rb'")
        return _read(io.BytesIO(content), str(getattr(file, "name", "the open file")), max_bytes)
    raise TypeError(f"{EXPECTED}; got {type(file).__name__}")


def _check_path(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a null byte
        raise FileNotFoundError(f"no image at {path!s}; check the path") from error
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder, not an image; python detect.py takes whole folders")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is a device, a pipe or a socket, not an image file")


def _read(stream: BinaryIO, name: str, max_bytes: int) -> np.ndarray:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if not size:
        raise ValueError(f"{name} is empty (0 bytes)")
    _check_memory(size, name, max_bytes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata, large images: only the pixels count
        try:
            with Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
                pixels, orientation = _from_pillow(image, name, max_bytes, stream)
            del image  # its memory, before the pixels are turned
            return _upright(pixels, orientation)
        except UnidentifiedImageError:
            return _from_array(_decode_with_opencv(stream, name, max_bytes), name)
        except (MemoryError, _ImageError):
            raise
        except Exception as error:  # decoders raise a family of unrelated types on damaged files
            raise ValueError(f"{name} cannot be decoded as an image: {error}") from error


class _ImageError(ValueError):
    """An error of this module, which says all there is to say."""


def _check_memory(needed: int, name: str, max_bytes: int) -> None:
    if needed > max_bytes:
        raise _ImageError(
            f"{name} needs {needed / 1e6:,.0f} MB to be decoded, and {max_bytes / 1e6:,.0f} MB are allowed; "
            "make the image smaller, or pass a larger max_bytes"
        )


# --- decoding -----------------------------------------------------------------------------------


def _from_pillow(
    image: Image.Image, name: str, max_bytes: int, stream: BinaryIO | None = None
) -> tuple[np.ndarray, int]:
    """RGB pixels as they are stored, and the EXIF orientation; `stream` is the file of the Pillow image."""
    _check_memory(_memory_of(image), name, max_bytes)
    if stream is not None and _has_deep_colours(image):
        orientation = 1 if image.format == "TIFF" else _orientation(image)  # OpenCV turns TIFF itself
        return _from_array(_opencv_pixels(stream, name), name), orientation
    image.load()
    width, height = image.size  # after loading, which turns a TIFF

    def window(rows: slice, columns: slice) -> np.ndarray:
        return _window_of_pillow(image.crop((columns.start, rows.start, columns.stop, rows.stop)))

    return _assemble(window, (height, width), name), _orientation(image)


def _memory_of(image: Image.Image) -> int:
    """Bytes that decoding needs at its peak, from the header alone."""
    width, height = image.size
    needed = PILLOW_BYTES.get(image.mode, 4) + DECODER_BYTES.get(image.format or "", 0) + RGB_BYTES
    if image.info.get("progressive"):
        needed += PROGRESSIVE_JPEG_BYTES
    if _has_deep_colours(image):
        needed += DEEP_COLOUR_BYTES
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile may be larger than the image
        tags = image.tag_v2
        width, height = (
            max(side, int(tags.get(tag, 0)))
            for side, tag in ((width, TiffImagePlugin.TILEWIDTH), (height, TiffImagePlugin.TILELENGTH))
        )
    return width * height * needed + min(width * height, WINDOW**2) * WINDOW_BYTES


def _has_deep_colours(image: Image.Image) -> bool:
    """Colours of 16 bits in PNG or TIFF: Pillow would keep only the upper 8 of them."""
    tiles = getattr(image, "tile", None)
    return image.format in ("PNG", "TIFF") and image.mode in ("RGB", "RGBA") and ";16" in str(tiles)


def _window_of_pillow(image: Image.Image) -> np.ndarray:
    """The pixels as an array that `_scale_to_8_bit` takes."""
    if image.mode == "I":  # 32-bit integers, in which some 16-bit files arrive
        return _to_16_bit(np.asarray(image))
    if image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in MODES_AS_THEY_ARE:
        image = image.convert("RGB")
    return np.asarray(image)


def _to_16_bit(array: np.ndarray) -> np.ndarray:
    low, high = array.min(), array.max()
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ValueError(f"its 32-bit pixels span [{low}, {high}]; save it with 8 or 16 bits")
    return array.astype(np.uint16)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # damaged metadata are no error; their parsers raise a family of unrelated types
        return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels turned as the EXIF orientation (1 to 8) says."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _decode_with_opencv(stream: BinaryIO, name: str, max_bytes: int) -> np.ndarray:
    """Files that Pillow does not know, TIFF with colours as floats and Radiance HDR, as they are stored."""
    stream.seek(0)
    start = stream.read(2**16)
    if not start.startswith(STARTS_FOR_OPENCV):  # on anything else OpenCV would only print complaints
        if _is_text(start[:512]):
            raise _ImageError(f"{name} holds text, not an image")
        raise _ImageError(f"{name} is not an image: neither Pillow nor OpenCV knows what it holds")
    try:
        needed = _memory_of_hdr(start) if start.startswith(b"#?") else _memory_of_tiff(stream)
    except Exception as error:  # the parser of tags raises a family of unrelated types
        raise _ImageError(f"{name} cannot be decoded as an image: its header is damaged") from error
    _check_memory(needed, name, max_bytes)
    return _opencv_pixels(stream, name)


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", "replace")
    return "".join(text.split()).isprintable() and "\ufffd" not in text[:-1]


def _memory_of_tiff(stream: BinaryIO) -> int:
    stream.seek(0)
    tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
    stream.seek(tags.next)
    tags.load(stream)
    width = max(int(tags[TiffImagePlugin.IMAGEWIDTH]), int(tags.get(TiffImagePlugin.TILEWIDTH, 0)))
    height = max(int(tags[TiffImagePlugin.IMAGELENGTH]), int(tags.get(TiffImagePlugin.TILELENGTH, 0)))
    samples = max(4, int(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)))
    bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    return width * height * (3 * samples * max(1, bits // 8) + RGB_BYTES)


def _memory_of_hdr(start: bytes) -> int:
    sizes = re.findall(rb"[-+][XY]\s+(\d+)\s+[-+][XY]\s+(\d+)", start)
    return max(int(a) * int(b) for a, b in sizes) * (3 * 12 + RGB_BYTES)


def _opencv_pixels(stream: BinaryIO, name: str) -> np.ndarray:
    """HxW, or HxWx3 RGB or HxWx4 RGBA, in the type that the file has."""
    stream.seek(0)
    array = None
    with suppress(cv2.error):
        array = cv2.imdecode(np.frombuffer(stream.read(), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise _ImageError(f"{name} cannot be decoded as an image: OpenCV cannot read what it holds")
    if array.ndim == 2:
        return array
    return array[..., ::-1] if array.shape[2] == 3 else array[..., [2, 1, 0, 3]]


# --- any pixels as 8-bit RGB --------------------------------------------------------------------


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    flat = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)
    if not flat or array.size == 0:
        hint = ""
        if array.ndim == 3 and array.shape[0] in CHANNELS and array.size:
            hint = "; it looks like channels first: pass image.transpose(1, 2, 0)"
        raise _ImageError(f"{name} has shape {array.shape}; {EXPECTED}{hint}")
    if array.dtype == np.uint8 and array.shape[2:] == (3,):
        return np.ascontiguousarray(array)
    return _assemble(lambda rows, columns: array[rows, columns], array.shape[:2], name)


def _assemble(window: Callable[[slice, slice], np.ndarray], shape_hw, name: str) -> np.ndarray:
    """RGB of an image whose parts `window(rows, columns)` gives; converted part by part to save memory."""
    image = np.empty((*shape_hw, 3), np.uint8)
    to_8_bit = _scale_to_8_bit((window(*place) for place in _windows(shape_hw)), name)
    for place in _windows(shape_hw):
        pixels = to_8_bit(window(*place))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        image[place] = _over_white(pixels) if pixels.shape[2] == 4 else pixels
    return image


def _windows(shape_hw) -> Iterator[tuple[slice, slice]]:
    height, width = shape_hw
    for top in range(0, height, WINDOW):
        for left in range(0, width, WINDOW):
            yield slice(top, min(top + WINDOW, height)), slice(left, min(left + WINDOW, width))


def _scale_to_8_bit(windows: Iterator[np.ndarray], name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function that makes uint8 of any part of the image. The range of the whole image decides."""
    first = next(windows)
    kind = first.dtype.newbyteorder("=")
    if kind == np.uint8:
        return lambda array: array
    if kind == np.bool_:
        return lambda array: array.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(kind, np.floating):
        _check_floats(_ranges(first, windows), name)
        return lambda array: np.rint(np.clip(array, 0, 1).astype(np.float32) * 255).astype(np.uint8)
    if kind == np.uint16:
        factors = [255 / _largest_of_its_bits(value) for value in _ranges(first, windows)[1]]
        return lambda array: _scale_16_bits(array, factors)
    hint = "; .astype(np.uint8) if its values are 0 to 255" if np.issubdtype(kind, np.integer) else ""
    raise _ImageError(f"{name} has type {first.dtype}; {EXPECTED}{hint}")


def _ranges(first: np.ndarray, others: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of the colours and, where there is one, of alpha; NaN if any is NaN."""
    low, high = [], []
    for array in itertools.chain([first], others):
        parts = [array[..., :3], array[..., 3:]] if array.ndim == 3 and array.shape[2] == 4 else [array]
        low.append([part.min() for part in parts])
        high.append([part.max() for part in parts])
    return np.min(low, axis=0), np.max(high, axis=0)


def _check_floats(low_high, name: str) -> None:
    low, high = low_high[0].min(), low_high[1].max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _ImageError(f"{name} holds NaN or infinity; {EXPECTED}")
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise _ImageError(
            f"{name} holds floats from {low:.3g} to {high:.3g}; floats must lie in [0, 1]: "
            "divide by the largest value they can have, or pass uint8"
        )


def _largest_of_its_bits(value: int) -> int:
    return next(2**bits - 1 for bits in BIT_DEPTHS if value < 2**bits)


def _scale_16_bits(array: np.ndarray, factors: list[float]) -> np.ndarray:
    """uint16 times a factor for the colours and one for alpha, rounded to uint8."""
    native = np.ascontiguousarray(array, dtype=np.uint16)
    scaled = cv2.convertScaleAbs(native, alpha=factors[0]).reshape(native.shape)
    if len(factors) == 2:
        alpha = np.ascontiguousarray(native[..., 3])
        scaled[..., 3] = cv2.convertScaleAbs(alpha, alpha=factors[1])
    return scaled


def _over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return rgba[..., :3]
    alpha = alpha.astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def to_gray(image: np.ndarray) -> np.ndarray:
    """HxW float32 grayscale in [0, 1] of an image HxW, HxWx1 or HxWx3 (RGB).

    image: uint8 [0, 255], uint16 [0, 65535] or float [0, 1].
    Raises ValueError for another type, shape or range.
    """
    image = np.asarray(image)
    if image.dtype in (np.uint8, np.uint16):
        scale = np.float32(1 / np.iinfo(image.dtype).max)
    elif np.issubdtype(image.dtype, np.floating):
        scale = np.float32(1)
        if image.size and not (image.min() >= -TOLERANCE and image.max() <= 1 + TOLERANCE):
            raise ValueError(
                f"a float image must lie in [0, 1], this one spans [{image.min():.3g}, {image.max():.3g}]; "
                "divide by 255 or pass uint8"
            )
        image = image.astype(np.float32, copy=False)
    else:
        raise ValueError(f"an image must be uint8, uint16 or float, got {image.dtype}")
    if image.ndim == 3 and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    elif image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    elif image.ndim != 2:
        raise ValueError(f"an image must be HxW, HxWx1 or HxWx3, got shape {image.shape}")
    return image.astype(np.float32, copy=False) * scale


# --- keypoints ----------------------------------------------------------------------------------


def read_pts(path, origin: int = 1) -> np.ndarray:
    """Keypoints (68, 2) float32 (x, y) in pixels from an iBUG `.pts` file.

    origin: the number that the file gives the first pixel; 1 as in the files of iBUG, which come from
        Matlab. Pass 0 for files that count from 0.
    Raises FileNotFoundError, or ValueError for a file that is not 68 finite points between braces.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        body = text[text.index("{") + 1 : text.index("}")]
        points = np.array([line.split() for line in body.strip().splitlines()], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{path} is not a .pts file: expected lines 'x y' between braces") from error
    if points.shape != (NUM_KEYPOINTS, 2):
        raise ValueError(f"{path} holds points of shape {points.shape}, expected ({NUM_KEYPOINTS}, 2)")
    return check_keypoints(points) - np.float32(origin)


# --- writing ------------------------------------------------------------------------------------

TEMPORARY_PREFIX = ".partial-"
TEMPORARY_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + "[a-z0-9_]{8}")  # as tempfile makes them


@contextmanager
def atomic_path(path) -> Iterator[Path]:
    """A temporary path for a file or folder that is moved to `path` once the block has succeeded.

    It has the name of `path` and lies in a new folder beside it, TEMPORARY_PREFIX and random letters, so
    that the final step is a rename. When the block fails, nothing is left and `path` is as it was.
    The folder is locked, so that `remove_leftovers` knows it from one that a killed process left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
    lock = _try_lock(folder)
    try:
        yield folder / path.name
        _replace(folder / path.name, path, aside=folder / "before")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _replace(source: Path, target: Path, aside: Path) -> None:
    if not target.is_dir():
        os.replace(source, target)
        return
    os.replace(target, aside)  # a folder with content cannot be replaced in one step
    try:
        os.replace(source, target)
    except BaseException:
        os.replace(aside, target)
        raise


def remove_leftovers(folder) -> None:
    """Remove the temporary folders in `folder` that killed processes left; those in use stay.

    Does nothing on Windows, which cannot lock a folder.
    """
    for leftover in Path(folder).glob(TEMPORARY_PREFIX + "*"):
        if not TEMPORARY_NAME.fullmatch(leftover.name):
            continue
        lock = _try_lock(leftover)
        if lock is not None:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)


def _try_lock(folder: Path) -> int | None:
    """A handle that holds the lock of `folder` until it is closed; None if another process has it."""
    if fcntl is None or folder.is_symlink():
        return None
    handle = None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    except OSError:  # in use, gone, or a file system without locks
        if handle is not None:
            os.close(handle)
        return None


def write_json(path, values: dict) -> None:
    """Write `values` as indented JSON; a reader never sees half a file."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


# --- running a command --------------------------------------------------------------------------

LOCK_FILE = ".lock"
LOCK_WAIT_S = 2.0  # a killed run's processes need a moment to end


class LockedError(RuntimeError):
    """Another run is working in the folder."""


@contextmanager
def run_lock(folder) -> Iterator[None]:
    """A block in which no other run can work in the folder: a lock on the file `.lock` in it.

    The operating system releases the lock when the process ends, however it ends; the file stays.
    Raises LockedError, which says who holds the lock, if another process has it.
    """
    from filelock import FileLock, Timeout  # only commands need it

    path = Path(folder) / LOCK_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise ValueError(f"{path} is a link; remove it")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=LOCK_WAIT_S, poll_interval=0.1)
    except Timeout as error:
        holder = ""
        with suppress(OSError):
            holder = path.read_text(encoding="utf-8", errors="replace").strip()
        raise LockedError(
            f"another run is working in {folder} ({holder or 'who it is cannot be read'}); wait for its end, "
            "or name another folder"
        ) from error
    try:
        with suppress(OSError):  # Windows lets nobody write into a locked file
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            path.write_text(
                f"process {os.getpid()} on {platform.node()}, since {started}\n", encoding="utf-8"
            )
        yield
    finally:
        lock.release()


def run_command(name: str, function: Callable[[], int], *, debug: bool = False, interrupted: str = "") -> int:
    """Call the function that a command consists of, and return the exit code.

    An error becomes one line on standard error, and the exit code 1; with `debug` its traceback is shown
    instead. Ctrl-C becomes 130.

    name: of the command, with which the line begins. function: returns the exit code.
    interrupted: what to say after Ctrl-C, for example how to go on.
    """
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape" if stream is sys.stdout else "backslashreplace")
    try:
        code = function()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"\nInterrupted. {interrupted}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has closed it, as head does
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        print(f"{name}: {one_line(error_message(error))}", file=sys.stderr)
        return 1


#: Errors whose text is written for the user. Of others the type is named too.
EXPLAINED = (ValueError, RuntimeError, ImportError)


def error_message(error: BaseException) -> str:
    """The text of an error for people: with the path and without the number for errors of the system."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error)
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {text}".removesuffix(": ")
    if text and isinstance(error, (*EXPLAINED, OSError)):
        return text
    return f"{type(error).__name__}{text and ': '}{text} (--debug shows where)"


def one_line(text: str) -> str:
    """A text without line ends, and with other control characters escaped."""
    text = re.sub(r"\s*\n\s*", " ", text.strip())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
