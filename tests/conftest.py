"""Fixtures of several test modules: the synthetic sample, a sample photo, the real data if there are any."""

import os
from pathlib import Path

import pytest
import skimage.data
import torch

from data_fetch import DataError, find_data
from sample_faces import write_sample

# One thread per process, also in the processes that tests start: under pytest-xdist each core has a worker,
# and threads that outnumber the cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


#: Files that take minutes. They start first, so that one worker is not left alone with them in the end.
LONG_FILES = ("test_notebooks.py", "test_training.py")


def pytest_collection_modifyitems(items) -> None:
    """Put the tests of LONG_FILES first; the order is the same in every worker."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory) -> Path:
    """A small synthetic sample: 8 identities."""
    return write_sample(tmp_path_factory.mktemp("sample") / "data", identities=8)


@pytest.fixture(scope="session")
def sample_photo():
    """A photo in the public domain with one face, 512x512x3 uint8 RGB."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data; tests that need it are skipped where there is none."""
    try:
        data = find_data(download=False)
    except DataError:
        if os.environ.get("KEYPOINTS_DATA"):
            raise  # named, but not there: a mistake, not a reason to skip
        pytest.skip("the real data are not here (set KEYPOINTS_DATA)")
    if data.is_sample:
        pytest.skip("KEYPOINTS_DATA names the synthetic sample")
    return data.folder
