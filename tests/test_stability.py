"""Stability of the answers: copies by hand, and the table of a small record."""

import numpy as np

from benchmarks.finding.stability import most_confident, shifted_copy, stability_table
from detector import Face


def test_a_copy_is_moved_by_whole_pixels():
    image = np.full((40, 60, 3), 90, np.uint8)
    image[10:20, 30:40] = (200, 60, 60)
    copy = shifted_copy(image, (-3, 5), 97)
    rows, columns = np.nonzero(copy[..., 0] > 145)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 24, 27, 36)
    assert copy.shape == image.shape


def test_most_confident_by_hand():
    points = np.random.default_rng(0).uniform(0, 100, (68, 2)).astype(np.float32)
    box, radius = np.array([0.0, 0, 100, 100]), np.ones(68, np.float32)
    faces = [Face(points + shift, box, confidence, radius) for shift, confidence in ((0, 0.8), (2, 0.9))]
    assert most_confident([*faces, Face(points + 500, box, 0.4, radius)], 0.5) == [faces[1]]


def test_the_table_counts_moves_above_each_limit():
    rows = {"a rule": {"moves": [0.01, 0.03, 0.03, 0.06], "errors": [0.04, 0.06], "missed": 1}}
    table = stability_table({"sets": {"identity": rows}})
    assert table.splitlines()[-1] == "| identity | a rule | 5 | 1 | 75.00 | 25.00 | 6.0 | 5.00 |"
