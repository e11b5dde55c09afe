"""Reading images of every kind, and writing files in one step."""

import gc
import io
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from stub_detector import CONFIG, ring_network, stub_detector

from detector import KeypointDetector
from detector.face_finders import FixedBoxes
from files import MAX_BYTES, atomic_path, cv2, read_image, remove_leftovers, to_rgb

ROOT = Path(__file__).resolve().parent.parent
RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.fixture
def painted():
    """Four colours, one a quarter: no rotation, mirroring or swap of channels leaves it as it is."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[:10, :15], image[:10, 15:], image[10:, :15] = (250, 10, 20), (30, 240, 40), (50, 60, 230)
    return image


# --- arrays ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "pixel"),
    [
        (np.full((4, 5), 7, np.uint8), (7, 7, 7)),
        (np.full((4, 5, 1), 7, np.uint8), (7, 7, 7)),
        (np.full((4, 5, 3), RED, np.uint8), RED),
        (np.full((4, 5, 4), (255, 0, 0, 255), np.uint8), RED),
        (np.full((4, 5, 4), (255, 0, 0, 0), np.uint8), WHITE),  # nothing is seen of it but the paper
        (np.full((4, 5, 4), (255, 0, 0, 51), np.uint8), (255, 204, 204)),  # a fifth of red over white
        (np.full((4, 5, 4), (1.0, 0, 0, 0.2)), (255, 204, 204)),
        (np.full((4, 5), True), WHITE),
        (np.full((4, 5), 65535, np.uint16), WHITE),
        (np.full((4, 5), 257 * 100 + 128, np.uint16), (100, 100, 100)),  # 100.498
        (np.full((4, 5), 257 * 100 + 129, np.uint16), (101, 101, 101)),  # 100.502
        (np.full((4, 5), 257 * 100, ">u2"), (100, 100, 100)),  # bytes the other way round, as in TIFF
        (np.full((4, 5), 255, np.uint16), WHITE),  # 8 bits in 16
        (np.full((4, 5), 4095, np.uint16), WHITE),  # 12 bits
        (np.full((4, 5), 1024, np.uint16), (64, 64, 64)),  # 12 bits: 63.8
        (np.full((4, 5, 4), (4095, 0, 0, 65535), np.uint16), RED),  # opaque
        (np.full((4, 5, 4), (255, 0, 0, 255), np.uint16), RED),
        (np.zeros((4, 5), np.uint16), (0, 0, 0)),
        (np.full((4, 5), 0.5, np.float32), (128, 128, 128)),  # 127.5, to the even one
        (np.full((4, 5), 1.0005), WHITE),  # rounding may step over the edge
        (np.full((4, 5), 1 / 3, np.float16), (85, 85, 85)),
        (np.full((1, 1), 9, np.uint8), (9, 9, 9)),
    ],
)
def test_arrays_of_every_kind(array, pixel):
    image = to_rgb(array)
    assert image.shape == (*array.shape[:2], 3)
    assert image.dtype == np.uint8
    assert (image == pixel).all()


def test_an_rgb_array_is_not_copied_and_a_view_is_made_whole(painted):
    assert to_rgb(painted) is painted or np.shares_memory(to_rgb(painted), painted)
    turned = to_rgb(painted[::-1, ::-1])
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, painted[::-1, ::-1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 20, 30), np.uint8), "channels first.*transpose"),
        (np.zeros((20, 30, 2), np.uint8), r"shape \(20, 30, 2\)"),
        (np.zeros((1, 20, 30, 3), np.uint8), r"shape \(1, 20, 30, 3\)"),
        (np.zeros(20, np.uint8), r"shape \(20,\)"),
        (np.zeros((), np.uint8), r"shape \(\)"),
        (np.zeros((20, 0, 3), np.uint8), r"shape \(20, 0, 3\)"),
        (np.full((20, 30), np.nan), "NaN"),
        (np.full((20, 30), np.inf), "NaN or infinity"),
        (np.full((20, 30), 128.0), r"from 128 to 128; floats must lie in \[0, 1\]"),
        (np.full((20, 30), -0.5), "from -0.5"),
        (np.zeros((20, 30), np.int32), "int32.*astype"),
        (np.zeros((20, 30), complex), "complex128"),
        (np.array([["a", "b"]]), "<U1"),
        (np.array([[None, {}]]), "object"),
    ],
)
def test_arrays_that_are_no_image(array, message):
    with pytest.raises(ValueError, match=message):
        to_rgb(array)


@pytest.mark.parametrize("thing", [None, 5, [[0, 1], [2, 3]], {"image": 1}, np.uint8(3)])
def test_what_is_no_image_at_all(thing):
    with pytest.raises(TypeError, match=f"a path, the bytes of a file.*; got {type(thing).__name__}"):
        to_rgb(thing)


# --- files and Pillow images -------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(tmp_path, painted, orientation):
    """A camera stores the scene turned, and a number that says how; out comes the scene."""
    stored = Image.fromarray(painted)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes each orientation's turn
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), painted)
        np.testing.assert_array_equal(to_rgb(image), painted)
    np.testing.assert_array_equal(to_rgb(tmp_path / "a.png"), painted)
    np.testing.assert_array_equal(to_rgb(str(tmp_path / "a.png")), painted)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"]
)
def test_every_mode_of_pillow(mode):
    gray = Image.fromarray(np.full((4, 6), 255, np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 6), 65535, np.uint16))
    elif mode == "F":
        image = Image.fromarray(np.ones((4, 6), np.float32))
    elif mode == "I":
        image = Image.fromarray(np.full((4, 6), 65535, np.int32))
    else:
        image = gray.convert("RGBA" if mode == "PA" else "RGB").convert(mode)
    assert image.mode == mode
    assert (to_rgb(image) == 255).all()


def test_colours_and_transparency_of_a_palette(tmp_path):
    colours = Image.new("P", (4, 4), 1)
    colours.putpalette([0, 0, 0, 200, 100, 50])
    colours.save(tmp_path / "plain.gif")
    assert (to_rgb(tmp_path / "plain.gif") == (200, 100, 50)).all()
    colours.save(tmp_path / "clear.png", transparency=1)
    assert (to_rgb(tmp_path / "clear.png") == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_files_of_16_bits_and_of_floats(tmp_path, suffix):
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(5, 4, 3)
    file = str(tmp_path / f"a.{suffix}")
    cv2.imwrite(file, np.rint(values[..., ::-1] * 65535).astype(np.uint16))
    np.testing.assert_allclose(to_rgb(file), values * 255, atol=1.0)
    cv2.imwrite(file, np.rint(values[..., 0] * 65535).astype(np.uint16))
    np.testing.assert_allclose(to_rgb(file)[..., 1], values[..., 0] * 255, atol=0.51)
    if suffix == "tif":  # floats in colour, which Pillow does not read
        cv2.imwrite(file, values[..., ::-1])
        np.testing.assert_allclose(to_rgb(file), values * 255, atol=0.51)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("largest", [255, 4095])
def test_files_of_16_bits_that_hold_fewer_are_not_black(tmp_path, suffix, largest):
    values = np.linspace(0, largest, 60).reshape(5, 4, 3).astype(np.uint16)
    for pixels in (values, values[..., 0], np.dstack([values, np.full((5, 4), 65535, np.uint16)])):
        file = tmp_path / f"a.{suffix}"
        cv2.imwrite(str(file), pixels)
        expected = pixels[..., 2::-1] if pixels.ndim == 3 else pixels[..., None].repeat(3, axis=2)
        brightest = 2 ** int(expected.max()).bit_length() - 1
        np.testing.assert_allclose(read_image(file), expected * (255 / brightest), atol=0.51)


def test_an_image_of_many_windows_is_the_same(sample_photo):
    wide = np.tile(sample_photo, (2, 3, 1))[:-7, :-9]
    for array in (wide, Image.fromarray(wide), wide.astype(np.uint16) * 257):
        np.testing.assert_array_equal(to_rgb(array), wide)


def test_bytes_open_files_and_the_home_folder(tmp_path, painted, monkeypatch):
    file = tmp_path / "a.png"
    Image.fromarray(painted).save(file)
    content = file.read_bytes()
    monkeypatch.setenv("HOME", str(tmp_path))
    for thing in (content, bytearray(content), io.BytesIO(content), "~/a.png", Path("~/a.png")):
        np.testing.assert_array_equal(to_rgb(thing), painted)
    with file.open("rb") as stream:
        np.testing.assert_array_equal(read_image(stream), painted)
    with file.open(encoding="latin-1") as stream, pytest.raises(TypeError, match="open it with 'rb'"):
        read_image(stream)
    with pytest.raises(ValueError, match="the file of 5 bytes holds text, not an image"):
        to_rgb(b"photo")


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path(os.devnull)):
        with pytest.raises(ValueError, match="a device, a pipe or a socket"):
            to_rgb(path)


def test_files_that_are_no_image(tmp_path, sample_photo):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "noise.jpg").write_bytes(bytes(range(256)))
    (tmp_path / "text.jpg").write_text("no image, but named like one")
    Image.fromarray(sample_photo).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    for name, message in {
        "empty.jpg": r"empty \(0 bytes\)",
        "text.jpg": "text.jpg holds text, not an image",
        "noise.jpg": "neither Pillow nor OpenCV",
        "cut.jpg": "cannot be decoded.*truncated",
        ".": "is a folder, not an image",
    }.items():
        with pytest.raises(ValueError, match=message):
            to_rgb(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no image at .*nowhere\.jpg"):
        to_rgb(tmp_path / "nowhere.jpg")


# --- memory ------------------------------------------------------------------------------


def encoded(kind: str, side: int) -> bytes:
    """A square image of this kind, encoded; noise in 16 x 16 blocks, so that it is small."""
    blocks = np.random.default_rng(0).integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8)
    pixels = blocks.repeat(16, axis=0).repeat(16, axis=1)
    name, _, mode = kind.partition(" ")
    if mode == "16 bits":
        return cv2.imencode(f".{name}", pixels.astype(np.uint16) * 257)[1].tobytes()
    if mode == "colour floats":
        return cv2.imencode(f".{name}", pixels.astype(np.float32) / 256)[1].tobytes()
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels[..., 0] / np.float32(255)) if mode == "F" else image.convert(mode or "RGB")
    buffer = io.BytesIO()
    image.save(buffer, name, **{"tiff": {"compression": "tiff_adobe_deflate"}}.get(name, {}))
    return buffer.getvalue()


KINDS = (
    "png L", "png P", "png RGBA", "png 16 bits", "tiff F", "tiff RGB", "tiff 16 bits", "tiff colour floats",
    "hdr colour floats", "jpeg", "webp", "gif", "bmp",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_needs_too_much_memory_is_refused_before_it_is_decoded(kind, monkeypatch):
    content = encoded(kind, 512)
    assert read_image(content).shape == (512, 512, 3)
    monkeypatch.delattr("PIL.ImageFile.ImageFile.load")
    monkeypatch.delattr("cv2.imdecode")
    with pytest.raises(ValueError, match="needs .* MB to be decoded, and 1 MB are allowed"):
        read_image(content, max_bytes=10**6)


@pytest.mark.parametrize("kind", ["tiff F", "tiff colour floats", "tiff RGB"])
def test_a_small_file_that_says_it_is_huge_is_refused(kind):
    """10 kB that took 9 GB. Width and height, or those of a tile, stand in the header of a TIFF."""
    content = bytearray(encoded(kind, 64))
    for tag in (256, 257):
        entry = content.index(struct.pack("<H", tag) + struct.pack("<H", 3), 8)
        content[entry : entry + 12] = struct.pack("<HHII", tag, 4, 1, 13_000)
    with pytest.raises(ValueError, match="MB to be decoded, and 1,074 MB are allowed"):
        read_image(bytes(content))


def test_pillow_images_have_the_same_limit():
    with pytest.raises(ValueError, match="the Pillow image needs .* and 1 MB are allowed"):
        to_rgb(Image.new("L", (512, 512)), max_bytes=10**6)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_takes_no_more_memory_than_is_counted(tmp_path, monkeypatch, kind):
    counted = []
    monkeypatch.setattr("files._check_memory", lambda needed, name, max_bytes: counted.append(needed))
    file = tmp_path / "a"
    file.write_bytes(encoded(kind, 1536))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present use again
    before = memory("VmRSS")
    assert read_image(file).shape == (1536, 1536, 3)
    assert memory("VmHWM") - before < max(counted) + 4e6


def memory(what: str) -> int:
    """A figure of this process in bytes: VmRSS is the present use, VmHWM the peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def test_a_file_with_too_many_pixels_for_pillow_is_refused(tmp_path, monkeypatch):
    Image.new("L", (200, 200)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)  # Pillow allows twice as many
    with pytest.raises(ValueError, match="large.png cannot be decoded.*40000 pixels"):
        to_rgb(tmp_path / "large.png", max_bytes=MAX_BYTES)


# --- writing -----------------------------------------------------------------------------


def test_a_path_appears_in_one_step_or_not_at_all(tmp_path):
    file, folder = tmp_path / "a.txt", tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_path(file) as temporary:
            temporary.write_text(content)
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert file.read_text() == "two"
    assert [path.name for path in folder.iterdir()] == ["two"]
    for target in (file, folder):
        with pytest.raises(FileNotFoundError), atomic_path(target):
            pass  # nothing is written: what was there stays
        with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
            temporary.write_text(str(1 / 0))
    assert file.read_text() == "two"
    assert [path.name for path in folder.iterdir()] == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "folder"]


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path):
    code = f"import files, time\nwith files.atomic_path({str(tmp_path / 'a')!r}): time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not list(tmp_path.glob(".partial-*")):
        assert process.poll() is None
        time.sleep(0.01)
    with atomic_path(tmp_path / "b") as temporary:
        temporary.touch()
        time.sleep(0.2)  # until the other process has its lock
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.glob(".partial-*"))) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.glob(".partial-*"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("module", ["landmarks", "files", "geometry"])
def test_the_lowest_modules_import_no_heavy_package(module):
    """They serve ONNX Runtime on machines without PyTorch."""
    heavy = {"torch", "pandas", "scipy", "skimage", "matplotlib"}
    code = f"import sys, {module}; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# --- through the detector ----------------------------------------------------------------


def test_the_detector_takes_what_to_rgb_takes(tmp_path, painted):
    Image.fromarray(painted).save(tmp_path / "a.png")
    detector = stub_detector(FixedBoxes([[2, 3, 12, 13]]))
    expected = detector(painted)[0]
    for same in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(painted), painted / 255):
        np.testing.assert_array_equal(detector(same)[0].keypoints, expected.keypoints)
    followed = detector.follow(tmp_path / "a.png", [expected.keypoints])
    np.testing.assert_array_equal(
        followed[0].keypoints, detector.follow(painted, [expected.keypoints])[0].keypoints
    )


def test_a_batch_gives_what_single_images_give(sample_photo):
    """The shipped network, so that a batch normalisation in training mode would show."""
    detector = KeypointDetector.from_pretrained()
    images = [sample_photo, np.zeros((40, 50), np.uint8), sample_photo[:, ::-1], sample_photo[::2, ::2]]
    boxes = [None, None, [[150, 40, 300, 210], [200, 60, 330, 200]], []]
    together = detector.detect_batch(images, boxes)
    assert [len(faces) for faces in together] == [1, 0, 2, 0]
    for image, box, faces in zip(images, boxes, together, strict=True):
        for face, alone in zip(faces, detector(image, box), strict=True):
            np.testing.assert_allclose(face.keypoints, alone.keypoints, rtol=0, atol=0.05)
            np.testing.assert_array_equal(face.box_xyxy, alone.box_xyxy)
    assert detector.detect_batch([]) == []
    with pytest.raises(ValueError, match="2 images need as many lists of boxes, got 1"):
        detector.detect_batch(images[:2], [[]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (3, 20_000), (19, 19)])
def test_odd_sizes_have_no_face_or_take_a_box(shape):
    image = np.zeros(shape, np.uint8)
    assert KeypointDetector(ring_network, CONFIG)(image) == []  # with the Haar cascade
    face = stub_detector()(image, boxes_xyxy=[[0, 0, shape[1], shape[0]]])[0]
    assert np.isfinite(face.keypoints).all()
