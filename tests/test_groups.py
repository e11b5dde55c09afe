"""benchmarks/groups: the mapping of the London points, light on a face, what counts as a difference."""

import numpy as np
import pytest

from benchmarks.groups.london import SHARED, along, london_people, to_keypoints
from benchmarks.groups.page import apart, errors_of, relit, steps_of
from landmarks import CHIN, GROUPS, JAW_LEFT, JAW_RIGHT, MOUTH_LEFT
from sample_faces import draw_face


def test_points_along_a_curve():
    corner = np.array([[0.0, 0], [3, 0], [3, 1]])  # 4 long
    np.testing.assert_allclose(along(corner, np.array([0.25, 0.75, 1])), [[1, 0], [3, 0], [3, 1]])


def test_every_keypoint_comes_from_its_own_part():
    # each of the 189 points is its own number, so a keypoint tells where it was taken from; between two
    # points of a curve it is a number between
    points = np.stack([np.arange(189.0), np.zeros(189)], axis=1)
    keypoints = to_keypoints(points)
    taken = keypoints[:, 0]
    undefined = list(GROUPS["inner_lips"])
    assert np.isnan(taken[undefined]).all()
    assert np.isfinite(np.delete(taken, undefined)).all()
    assert taken[list(SHARED)].tolist() == [18, 22, 23, 27, 87, 90, 93, 106]
    assert (taken[JAW_RIGHT], taken[CHIN], taken[JAW_LEFT], taken[MOUTH_LEFT]) == (109, 129, 112, 93)
    assert taken[list(GROUPS["right_brow"])].tolist() == [71, 72, 73, 74, 75]
    assert taken[list(GROUPS["nose_bridge"])].tolist() == [54, 55, 56, 57]  # the middle of 51 and 57, ...
    assert taken[list(GROUPS["nose_base"])].tolist() == [64, 59.5, 55, 62, 69]
    assert taken[list(GROUPS["outer_lips"])][:7].tolist() == [87, 88, 89, 90, 91, 92, 93]


def test_only_the_face_gets_darker():
    image, keypoints = draw_face(np.random.default_rng(0), yaw=0, size_wh=(200, 220))
    dark = relit(image, keypoints, 0.25, 1.0)
    nose = keypoints[GROUPS["nose_bridge"][3]].astype(int)[::-1]
    share = dark[tuple(nose)] / image[tuple(nose)]
    np.testing.assert_allclose(share, 0.25 ** (1 / 2.2), atol=0.03)  # a quarter of the linear light
    np.testing.assert_array_equal(dark[:3], image[:3])
    np.testing.assert_allclose(relit(image, keypoints, 1.0, 1.0), image, atol=1)


def test_an_offset_that_everybody_has_is_no_difference_between_groups():
    _, points = draw_face(np.random.default_rng(1))
    rng, people = np.random.default_rng(0), []
    for number in range(60):
        noise = rng.normal(0, 2.0 if number < 20 else 0.5, (68, 2))
        steps = steps_of(points + [0, 5] + noise, points).tolist()
        ethnicity = "few" if number < 20 else "many"
        people.append({"ethnicity": ethnicity, "gender": "-", "age": 30, "steps": steps})
    raw, centred = errors_of(people)
    assert raw.mean() > 2 * centred.mean()
    assert [line.split(",")[0] for line in apart(people)] == ["few"]
    assert apart(people[20:] + [{**person, "ethnicity": "few"} for person in people[20:40]]) == []


def test_without_the_set_the_error_names_the_variable(monkeypatch):
    monkeypatch.delenv("KEYPOINTS_LONDON", raising=False)
    with pytest.raises(FileNotFoundError, match="set KEYPOINTS_LONDON to its folder"):
        london_people()
