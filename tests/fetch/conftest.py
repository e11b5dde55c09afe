"""A small data set with checksums of its own, and an environment that knows no other."""

import functools

import pytest
from small_data import make_small_data, put

import sample_faces
from data_fetch import find_data


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_small_data(tmp_path_factory.mktemp("checksums") / "checksums.csv")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.delenv("KEYPOINTS_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    few = functools.partial(sample_faces.write_sample, identities=1, train_frames=2, test_frames=1)
    monkeypatch.setattr(sample_faces, "write_sample", few)


@pytest.fixture
def data(tmp_path):
    """A data folder as in a fresh clone."""
    return put({"README.md": b"kept"}, tmp_path / "data")


@pytest.fixture
def find(data, small):
    """find_data for the small data set, with short timeouts."""
    options = {"data_folder": data, "checksums": small.checksums, "progress": False}
    return functools.partial(find_data, **options, connect_timeout=2.0, stall_timeout=0.5)
