"""About two thousand random inputs: the answer is faces with finite numbers, or an error with a text."""

import io
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from stub_detector import CONFIG, stub_detector

from detector import Face, KeypointDetector

ERRORS = (OSError, TypeError, ValueError)
THOROUGH = hypothesis.settings(
    max_examples=200, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip


def check(thing, boxes_xyxy=None) -> None:
    """Faces with finite numbers, or one of ERRORS with a text."""
    faces, message = [], "there was no error"
    try:
        faces = stub_detector()(thing, boxes_xyxy)
    except ERRORS as error:
        message = str(error)
    assert len(message) > 10
    for face in faces:
        assert isinstance(face, Face)
        assert face.keypoints.shape == (68, 2)
        assert np.isfinite(face.keypoints).all()


DTYPES = st.one_of(
    st.sampled_from([np.uint8, np.uint16, np.float32, bool]), hnp.scalar_dtypes(), hnp.unicode_string_dtypes()
)
ANY_ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
NEAR_IMAGES = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.float32, bool]),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)),
    elements={"min_value": 0, "max_value": 1},
)


@THOROUGH
@hypothesis.given(st.one_of(NEAR_IMAGES, ANY_ARRAYS), st.booleans())
def test_any_array(array, flipped):
    check(array[::-1] if flipped and array.ndim else array)


NUMBERS = st.one_of(
    st.floats(), st.integers(), st.floats(-50, 50), st.sampled_from([0, 5, 20.5, 1e-30, 1e300])
)
#: Mostly boxes, of which many reach beyond the image, lie outside, or have hardly a size.
NEAR_BOXES = st.tuples(
    st.floats(-40, 30), st.floats(-40, 30), st.floats(-1, 4000), st.floats(1e-9, 4000)
).map(lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]])
BOXES = st.one_of(
    st.lists(NEAR_BOXES, max_size=2),
    st.lists(st.lists(NUMBERS, min_size=4, max_size=4), max_size=3),
    st.recursive(st.one_of(NUMBERS, st.none(), st.text(max_size=3)), st.lists, max_leaves=9),
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)),
)


@THOROUGH
@hypothesis.given(BOXES)
def test_any_boxes(boxes_xyxy):
    check(np.zeros((20, 30, 3), np.uint8), boxes_xyxy)


@st.composite
def damaged_files(draw) -> bytes:
    """Real image files with bytes cut off, changed, or put in between; and plain noise."""
    original = draw(st.sampled_from(ORIGINALS))
    cut = draw(st.integers(0, len(original)))
    data = bytearray(original[:cut] if draw(st.booleans()) else original)
    for _ in range(draw(st.integers(0, 6))):
        if data:
            place = draw(st.integers(0, min(len(data), draw(st.sampled_from([64, len(data)]))) - 1))
            data[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data)


def _originals() -> list[bytes]:
    files = [b"", b"text, named .jpg", b"\xff\xd8\xff"]
    ramp = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        buffer = io.BytesIO()
        options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}
        Image.fromarray(ramp).save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


ORIGINALS = _originals()


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "photo.jpg"


@THOROUGH
@hypothesis.given(data=damaged_files())
def test_any_file(scratch_file, data):
    scratch_file.write_bytes(data)
    check(scratch_file)


PATHS = st.one_of(
    st.text(max_size=20), st.sampled_from(["", ".", "/", "\0", "a" * 5000, "~", "*.jpg", "\ud800"])
)
OTHERS = st.one_of(PATHS, st.none(), st.integers(), st.binary(), st.lists(st.integers()), st.functions())


@hypothesis.settings(THOROUGH, max_examples=100)
@hypothesis.given(OTHERS)
def test_any_other_thing(thing):
    check(thing)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 200), st.floats(), st.text(max_size=5), st.lists(st.integers())
)


@pytest.fixture(scope="module")
def checkpoint_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("foreign")


@hypothesis.settings(THOROUGH, max_examples=60)
@hypothesis.given(
    changes=st.dictionaries(
        st.one_of(st.sampled_from(sorted(CONFIG.to_dict())), st.text(max_size=5)), VALUES, max_size=3
    ),
    whole=st.one_of(st.just(True), VALUES),
    weights=st.one_of(st.none(), st.binary(max_size=40)),
)
def test_any_checkpoint(checkpoint_folder, changes, whole, weights):
    values = {**CONFIG.to_dict(), "model": "naimishnet", "input_size": 32, **changes}
    (checkpoint_folder / "config.json").write_text(json.dumps(values if whole is True else whole))
    file = checkpoint_folder / "model.safetensors"
    file.unlink(missing_ok=True)
    if weights is not None:
        file.write_bytes(weights)
    with pytest.raises(ERRORS, match=r".{10}"):
        KeypointDetector.from_pretrained(checkpoint_folder)
