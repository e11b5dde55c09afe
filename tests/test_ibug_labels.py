"""The 68 points in a face mesh, and their offset from hand-made points."""

import numpy as np
import pytest

from benchmarks.ibug_labels.mesh import (
    JAW_RIGHT_HALF,
    MESH_POINTS,
    NOSE_BRIDGE,
    RIGHT_BROW,
    across_curve,
    keypoints_of_mesh,
    london_offset,
    move_in_face,
    symmetric,
)
from geometry import FaceFrame
from landmarks import FLIP_ORDER, GROUPS
from sample_faces import canonical_head


def mesh(seed=0):
    """Points (468, 3) at random."""
    return np.random.default_rng(seed).uniform(0, 200, (MESH_POINTS, 3))


def test_points_are_at_equal_steps_along_a_curve():
    points = mesh()
    for step, index in enumerate(NOSE_BRIDGE):  # a straight bridge, with points at uneven places
        points[index, :2] = 100, (0, 5, 30, 50, 55, 90)[step]
    keypoints = keypoints_of_mesh(points[None])[0]
    np.testing.assert_allclose(
        keypoints[list(GROUPS["nose_bridge"])], [(100, 0), (100, 30), (100, 60), (100, 90)]
    )
    jaw = keypoints[list(GROUPS["jaw"])]
    np.testing.assert_allclose(jaw[0], points[JAW_RIGHT_HALF[0], :2])
    np.testing.assert_allclose(jaw[8], points[JAW_RIGHT_HALF[-1], :2])
    outer = points[list(RIGHT_BROW[0]), :2].mean(axis=0)
    np.testing.assert_allclose(keypoints[GROUPS["right_brow"][0]], outer)


def test_every_point_is_set_and_a_missing_mesh_stays_missing():
    found = keypoints_of_mesh(np.stack([mesh(), np.full((MESH_POINTS, 3), np.nan)]))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_the_part_across_a_curve_by_hand():
    curve = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]])
    np.testing.assert_allclose(across_curve(np.full((4, 2), 5.0), curve, closed=False), [[0, 5]] * 4)
    square = np.array([[0.0, 0], [1, -1], [2, 0], [1, 1]])  # corners at the first and the third point
    part = across_curve(np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]]), square, closed=True)
    np.testing.assert_allclose(part, [[1, 2], [0, 4], [5, 6], [0, 8]])


def test_offset_is_found_again_where_it_is_taken_and_is_symmetric():
    shape = canonical_head()[:, :2] * 100
    meshes = np.stack([mesh(seed) for seed in range(4)])
    ours = keypoints_of_mesh(meshes)
    offset = np.zeros((68, 2))
    offset[list(GROUPS["right_brow"])] = [0.02, -0.05]
    offset[list(GROUPS["left_brow"])] = [-0.02, -0.05]
    offset[list(GROUPS["nose_bridge"])] = [0, 0.1]  # not used: the schemes begin it at other places
    made = ours + FaceFrame.of(ours).turn_out_of(offset)
    made[:, list(GROUPS["inner_lips"])] = np.nan
    found = london_offset(meshes, made)
    brows = [*GROUPS["right_brow"], *GROUPS["left_brow"]]
    np.testing.assert_allclose(found[brows], offset[brows], atol=1e-9)
    assert not found[list(GROUPS["nose_bridge"])].any()
    np.testing.assert_allclose(found, symmetric(found))
    np.testing.assert_allclose(found[FLIP_ORDER] * [-1, 1], found)
    assert move_in_face(shape[None], offset)[0] == pytest.approx(
        shape + FaceFrame.of(shape[None]).turn_out_of(offset)[0]
    )
