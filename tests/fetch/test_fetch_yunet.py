"""YuNet's weights from a real server on 127.0.0.1, with real faults."""

import hashlib

import pytest
from small_data import serve

from checkpoint import CheckpointError
from detector import face_finders
from detector.face_finders import YuNetFaceDetector, fetch_yunet

WEIGHTS = b"stands for the weights" * 100


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A server on 127.0.0.1 that sends WEIGHTS, which have the known checksum; the cache is in tmp_path."""
    with serve() as server:
        server.behaviours["/yunet"] = 200, WEIGHTS
        monkeypatch.setattr(face_finders, "YUNET_URL", server.url("/yunet"))
        monkeypatch.setattr(face_finders, "YUNET_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
        monkeypatch.setattr(face_finders, "YUNET_BYTES", len(WEIGHTS))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def test_yunet_is_downloaded_once_and_again_when_it_was_damaged(zoo, tmp_path):
    path = fetch_yunet()
    assert path == tmp_path / "facial-keypoints" / "face_detection_yunet_2023mar.onnx"
    assert path.read_bytes() == WEIGHTS
    assert fetch_yunet() == path
    assert len(zoo.asked) == 1
    path.write_bytes(WEIGHTS[:-1])
    assert fetch_yunet().read_bytes() == WEIGHTS
    assert len(zoo.asked) == 2
    with pytest.raises(ValueError, match=r"2023mar.onnx is not a model that OpenCV can read"):
        YuNetFaceDetector()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ((200, WEIGHTS[:-1]), "is not face_detection_yunet_2023mar.onnx: its SHA-256 is"),
        ((200, WEIGHTS + b"more"), "its SHA-256 is"),
        ((200, WEIGHTS[:99], "close", WEIGHTS[99:]), "its SHA-256 is|could not be downloaded"),
        ((404,), "could not be downloaded from .*404"),
        ((200, WEIGHTS[:99], 30.0, WEIGHTS[99:]), "could not be downloaded from .*timed out"),
    ],
)
def test_a_yunet_that_is_not_the_known_file_is_refused(zoo, tmp_path, behaviour, message):
    zoo.behaviours["/yunet"] = behaviour
    with pytest.raises(CheckpointError, match=rf"{message}.*--yunet-model FILE"):
        fetch_yunet(seconds=0.5)
    assert list(tmp_path.rglob("*.onnx")) == []
