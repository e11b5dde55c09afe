"""Files in and out: any image as RGB, `.pts` files, and writing that leaves nothing half done.

OpenCV is imported here and nowhere else.
"""

import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

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

__all__ = ["cv2"]


# --- images -------------------------------------------------------------------------------------


EXPECTED = (
    "an image must be a path, a Pillow image or a NumPy array: HxW, HxWx1, HxWx3 (RGB) or HxWx4 (RGBA), "
    "of uint8, uint16, bool, or float in [0, 1]"
)
CHANNELS = (1, 3, 4)
TOLERANCE = 1e-3  # how far a float image may leave [0, 1] through rounding
STARTS_FOR_OPENCV = (b"II*\0", b"MM\0*", b"#?")  # TIFF of either byte order, HDR
MODES_AS_THEY_ARE = ("1", "L", "RGB", "RGBA", "F")


def to_rgb(image) -> np.ndarray:
    """An image as HxWx3 uint8 RGB.

    image: a path (str or PathLike), a Pillow image, or an array HxW, HxWx1, HxWx3 (RGB)
        or HxWx4 (RGBA, alpha not premultiplied) of uint8 [0, 255], uint16 [0, 65535],
        bool, or float [0, 1].
    Files are turned upright by their EXIF orientation, 16 bits are rounded to 8, of
    several frames the first counts. An array that is RGB uint8 already is not copied.
    Raises FileNotFoundError, TypeError (not an image at all) or ValueError (empty, NaN,
    wrong shape, type or range; a file that cannot be decoded whole, or has more pixels
    than twice PIL.Image.MAX_IMAGE_PIXELS, 179 million).
    """
    if isinstance(image, str | os.PathLike):
        return _read(Path(image))
    if isinstance(image, Image.Image):
        return _from_array(_from_pillow(image), "the Pillow image")
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{EXPECTED}; got {type(image).__name__}")
    return _from_array(image, "the array")


# --- files -------------------------------------------------------------------------------


def _read(path: Path) -> np.ndarray:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not an image; python detect.py takes whole folders")
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}; check the path")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata, large images: the pixels are what counts
            with Image.open(path) as image:
                array = _from_pillow(image)
    except UnidentifiedImageError:
        array = _decode_with_opencv(path)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise a family of unrelated types on damaged files
        raise ValueError(f"{path} cannot be decoded as an image: {error}") from error
    return _from_array(array, str(path))


def _decode_with_opencv(path: Path) -> np.ndarray:
    """What Pillow does not know (TIFF with colours as floats, Radiance HDR): RGB(A) as it is stored."""
    data = path.read_bytes()
    array = None
    if data.startswith(STARTS_FOR_OPENCV):  # on anything else it would only complain on standard error
        with suppress(cv2.error):
            array = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError(f"{path} is not an image: neither Pillow nor OpenCV knows what it holds")
    if array.ndim == 2:
        return array
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _from_pillow(image: Image.Image) -> np.ndarray:
    """Pixels, upright, as an array that `_from_array` takes."""
    image = _upright(image)
    if image.mode == "P" and "transparency" not in image.info:
        image = image.convert("RGB")
    elif image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "I":  # 32-bit integers, in which some 16-bit files arrive
        return _to_16_bit(np.asarray(image))
    elif image.mode not in MODES_AS_THEY_ARE and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    return np.asarray(image)


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # damaged pixels are an error, damaged metadata are not
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except MemoryError:
        raise
    except Exception:  # parsers of metadata raise a family of unrelated types
        return image


def _to_16_bit(array: np.ndarray) -> np.ndarray:
    low, high = array.min(initial=0), array.max(initial=0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ValueError(f"its 32-bit pixels span [{low}, {high}]; save it with 8 or 16 bits")
    return array.astype(np.uint16)


# --- arrays ------------------------------------------------------------------------------


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(array)
    flat = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)
    if not flat or array.size == 0:
        hint = ""
        if array.ndim == 3 and array.shape[0] in CHANNELS and array.size:
            hint = "; it looks like channels first: pass image.transpose(1, 2, 0)"
        raise ValueError(f"{name} has shape {array.shape}; {EXPECTED}{hint}")
    pixels = _to_8_bit(array, name).reshape(*array.shape[:2], -1)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        pixels = _over_white(pixels)
    return np.ascontiguousarray(pixels)


def _to_8_bit(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(array.dtype, np.floating):
        return _float_to_8_bit(array, name)
    if array.dtype.newbyteorder("=") == np.uint16:
        native = np.ascontiguousarray(array, dtype=np.uint16)
        return cv2.convertScaleAbs(native, alpha=255 / 65535)
    hint = "; .astype(np.uint8) if its values are 0 to 255" if np.issubdtype(array.dtype, np.integer) else ""
    raise ValueError(f"{name} has type {array.dtype}; {EXPECTED}{hint}")


def _float_to_8_bit(array: np.ndarray, name: str) -> np.ndarray:
    low, high = array.min(), array.max()  # NaN wherever there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} holds NaN or infinity; {EXPECTED}")
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise ValueError(
            f"{name} holds floats from {low:.3g} to {high:.3g}; floats must lie in [0, 1]: "
            "divide by the largest value they can have, or pass uint8"
        )
    return np.rint(np.clip(array, 0, 1).astype(np.float32) * 255).astype(np.uint8)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return rgba[..., :3]
    alpha = alpha.astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


# --- reading files of the data set --------------------------------------------------------------


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path) -> np.ndarray:
    """An image file as HxWx3 uint8 RGB, decoded by content and never by its ending.

    The data set's files are PNG named .jpg, with an alpha channel that is dropped
    here. Photos come out upright (EXIF orientation is applied), 16-bit as 8-bit.
    Raises FileNotFoundError, or ValueError for a file that is no image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}; check the path, or that the data are in place")
    # Not cv2.imread: it fails on non-ASCII paths under Windows.
    data = np.fromfile(path, dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ValueError(f"{path} ({data.size} bytes) is not an image that OpenCV can decode")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_pts(path, origin: int = 1) -> np.ndarray:
    """Keypoints (68, 2) from an iBUG `.pts` file.

    These files count pixels from 1 (they come from Matlab), which `origin` takes
    off; pass origin=0 for files written from 0.
    """
    text = Path(path).read_text()
    try:
        body = text[text.index("{") + 1 : text.index("}")]
        points = np.array([line.split() for line in body.strip().splitlines()], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{path} is not a .pts file: expected lines 'x y' between braces") from error
    if points.shape != (NUM_KEYPOINTS, 2):
        raise ValueError(f"{path} holds points of shape {points.shape}, expected ({NUM_KEYPOINTS}, 2)")
    return check_keypoints(points) - np.float32(origin)


def to_gray(image: np.ndarray) -> np.ndarray:
    """HxW float32 grayscale in [0, 1] of a uint8, uint16 or [0, 1] float image (RGB or gray)."""
    image = np.asarray(image)
    if image.dtype in (np.uint8, np.uint16):
        scale = np.float32(1 / np.iinfo(image.dtype).max)
    elif np.issubdtype(image.dtype, np.floating):
        scale = np.float32(1)
        if image.size and not (image.min() >= -1e-3 and image.max() <= 1 + 1e-3):
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


# --- writing ------------------------------------------------------------------------------------

TEMPORARY_PREFIX = ".partial-"


@contextmanager
def atomic_path(path) -> Iterator[Path]:
    """A temporary path for what will be at `path` (a file or a folder) once the block has succeeded.

    It has the name of `path` and lies in a new folder beside it, TEMPORARY_PREFIX and random letters, so
    that the final step is a rename. When the block fails, nothing is left and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
    try:
        yield folder / path.name
        if path.is_dir():  # a folder with content cannot be replaced in one step
            os.replace(path, folder / "before")
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    """What an error says, for people: with the path and without the number for errors of the system."""
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
