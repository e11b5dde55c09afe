"""Openings and brows of faces whose geometry is known, and blinks in openings written down by hand."""

import numpy as np
import pytest

import landmarks
from analysis import blinks, brow_raise, eye_opening, mouth_opening
from detector import KeypointDetector
from geometry import flip_keypoints
from sample_faces import draw_video
from sample_faces.head import Expression, Shape, View, head_points, project_head

UNIT = 60.0  # inter-ocular distance in pixels of the heads below
NOBODY = np.full((68, 2), np.nan)


def face(expression=None, *, yaw=0.0, pitch=0.0, roll=0.0, scale=UNIT, offset_xy=(160.0, 120.0)):
    """A head with an expression, seen from afar."""
    return View(yaw, pitch, roll, scale, offset_xy).project(head_points(Shape(), expression or Expression()))


def with_eyes(height, width=30.0, other_height=None):
    """A face with all points at 0 but two eyes: lids `height` pixels apart, corners `width`."""
    keypoints = np.zeros((68, 2))
    for name, x, gap in (("right_eye", 100, height), ("left_eye", 200, other_height or height)):
        outline = [[0, 0], [10, -gap / 2], [20, -gap / 2], [width, 0], [20, gap / 2], [10, gap / 2]]
        keypoints[list(landmarks.GROUPS[name])] = np.add(outline, [x, 50])
    return keypoints


def test_eye_opening_by_hand():
    # (9 + 9) / (2 x 30), and the left eye a third as open
    right, left = eye_opening(with_eyes(9.0, other_height=3.0))
    assert (right, left) == (pytest.approx(0.3), pytest.approx(0.1))
    uneven = with_eyes(9.0)
    uneven[landmarks.RIGHT_LID_PAIRS[0][0], 1] -= 6  # one upper lid point 6 higher: (15 + 9) / 60
    assert eye_opening(uneven)[0] == pytest.approx(0.4)


def test_mouth_opening_by_hand():
    keypoints = np.zeros((68, 2))
    keypoints[landmarks.INNER_MOUTH_RIGHT], keypoints[landmarks.INNER_MOUTH_LEFT] = (10, 5), (50, 5)
    for (upper, lower), gap in zip(landmarks.INNER_LIP_PAIRS, (6.0, 12.0, 6.0), strict=True):
        keypoints[upper], keypoints[lower] = (30, 5 - gap / 2), (30, 5 + gap / 2)
    assert mouth_opening(keypoints) == pytest.approx(8 / 40)


def test_brow_raise_by_hand():
    keypoints = with_eyes(9.0)  # outer corners at x = 100 and 230: 130 apart, on y = 50
    keypoints[list(landmarks.GROUPS["right_brow"])] = (115, 50 - 39)
    keypoints[list(landmarks.GROUPS["left_brow"])] = (215, 50 - 26)
    # the scheme runs from the outer to the inner corner on the right, and back on the left
    np.testing.assert_allclose(brow_raise(keypoints), [0.3, 0.2])


@pytest.mark.parametrize("measure", [eye_opening, mouth_opening, brow_raise])
def test_measures_do_not_depend_on_size_place_or_roll(measure):
    expression = Expression(mouth_open=0.5, eyes_closed=0.3, brow_raise=0.4)
    expected = measure(face(expression))
    np.testing.assert_allclose(
        measure(face(expression, roll=130, scale=7.0, offset_xy=(-90.0, 3.0))), expected, rtol=1e-9
    )


@pytest.mark.parametrize("measure", [eye_opening, brow_raise])
def test_right_and_left_swap_in_a_flipped_image(measure):
    keypoints = face(yaw=25)
    keypoints[landmarks.LEFT_LID_PAIRS[0][0]] += 2
    flipped = flip_keypoints(keypoints, 400)
    np.testing.assert_allclose(measure(flipped), measure(keypoints)[::-1], rtol=1e-4)


@pytest.mark.parametrize(
    ("measure", "name", "values"),
    [
        (eye_opening, "eyes_closed", (1.0, 0.6, 0.3, 0.0)),
        (mouth_opening, "mouth_open", (0.0, 0.3, 0.6, 1.0)),
        (brow_raise, "brow_raise", (-1.0, 0.0, 0.5, 1.0)),
    ],
)
def test_each_measure_follows_its_own_expression(measure, name, values):
    readings = [np.mean(measure(face(Expression(**{name: value})))) for value in values]
    assert (np.diff(readings) > 0.02).all()
    rest = {"eyes_closed", "mouth_open", "brow_raise"} - {name}
    others = [np.mean(measure(face(Expression(**{other: 1.0})))) for other in rest]
    np.testing.assert_allclose(others, np.mean(measure(face())), atol=1e-9)


def test_what_a_turned_head_does_to_the_measures():
    """The limits that the docstrings state."""
    straight, turned = face(), face(yaw=30)
    near, far = eye_opening(turned) / eye_opening(straight)  # nose to the right: the left eye is the far one
    assert near == pytest.approx(1.02, abs=0.02)
    assert far == pytest.approx(1.33, abs=0.03)
    assert brow_raise(turned) - brow_raise(straight) == pytest.approx(0.046, abs=0.01)
    assert brow_raise(face(pitch=20)) - brow_raise(straight) == pytest.approx(-0.035, abs=0.01)


def test_a_video_is_measured_at_once_and_frames_without_a_face_stay_empty():
    frames = np.stack([face(), NOBODY, face(Expression(eyes_closed=1.0, mouth_open=1.0))])
    for measure, shape in ((eye_opening, (3, 2)), (mouth_opening, (3,)), (brow_raise, (3, 2))):
        values = measure(frames)
        assert values.shape == shape
        assert np.isnan(values[1]).all()
        np.testing.assert_allclose(values[2], measure(frames[2]))


@pytest.mark.parametrize("measure", [eye_opening, mouth_opening, brow_raise])
def test_measures_of_no_face(measure):
    assert np.isnan(measure(np.zeros((68, 2)))).all()  # corners in one place: no width to divide by
    with pytest.raises(ValueError, match=r"shape \(..., 68, 2\)"):
        measure(np.zeros((68, 3)))
    with pytest.raises(ValueError, match="infinity"):
        measure(np.full((68, 2), np.inf))


# --- blinks -------------------------------------------------------------------------------------


def lids(*runs, fps=25):
    """Openings of an eye, 0.3 open, with 4 s around: runs of (frames, opening)."""
    around = [0.3] * (2 * fps)
    return np.array(around + [value for frames, value in runs for _ in range(frames)] + around)


def test_a_blink_by_hand():
    openings = lids((1, 0.23), (3, 0.05), (1, 0.22), (1, 0.25))
    # shut is below 0.75 x 0.3 = 0.225: frames 51 to 54
    assert blinks(openings, 25) == [(51, 55)]
    assert blinks(openings * 0.6, 25) == [(51, 55)]  # somebody with narrower eyes
    assert blinks(np.column_stack([openings, openings]), 25) == [(51, 55)]


def test_the_shipped_network_sees_the_blinks_of_a_drawn_video():
    detector = KeypointDetector.from_pretrained()
    frames, drawn = zip(*draw_video(11, 150, (200, 160)), strict=True)
    by_network = [drawn[0]]
    for frame in frames:
        by_network.append(detector.follow(frame, by_network[-1:])[0].keypoints)
    seen, there = (blinks(eye_opening(np.stack(points)), 25) for points in (by_network[1:], drawn))
    assert len(there) == 2
    np.testing.assert_allclose(seen, there, atol=2)


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([(1, 0.05)], []),  # one frame of 25 a second: noise
        ([(2, 0.05)], [(50, 52)]),
        ([(12, 0.05)], [(50, 62)]),  # 0.48 s
        ([(14, 0.05)], []),  # 0.56 s: closed eyes
        ([(200, 0.05)], []),  # asleep: the level must not follow at once
        ([(3, 0.05), (8, 0.3), (3, 0.05)], [(50, 53), (61, 64)]),
        (
            [(6, 0.05), (4, 0.3)] * 8,
            [(start, start + 6) for start in range(50, 130, 10)],
        ),  # more shut than open
        ([(3, 0.25)], []),  # narrowed
    ],
)
def test_what_counts_as_a_blink(runs, found):
    assert blinks(lids(*runs), 25) == found


def test_durations_are_in_seconds_not_frames():
    blink = [(6, 0.05)]
    assert blinks(lids(*blink, fps=60), 60) == [(120, 126)]  # 0.1 s
    assert blinks(lids(*blink, fps=10), 10) == []  # 0.6 s


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([(2, 0.05), (2, np.nan), (2, 0.05)], [(50, 56)]),  # a short gap is bridged, inside the blink
        ([(2, np.nan), (4, 0.05)], [(50, 56)]),  # before it: from a third of the bridge on
        ([(30, np.nan), (4, 0.05)], []),  # its beginning is unknown
        ([(4, 0.05), (30, np.nan)], []),  # or end
        ([(4, 0.05), (4, np.nan), (4, 0.05)], []),
        ([(30, np.nan)], []),
    ],
)
def test_frames_without_a_face(runs, found):
    assert blinks(lids(*runs), 25) == found


def test_recordings_that_begin_or_end_with_shut_eyes_and_empty_ones():
    shut = np.full(4, 0.05)
    assert blinks(np.concatenate([shut, lids(), shut]), 25) == []
    assert blinks([], 25) == []
    assert blinks(np.full((9, 2), np.nan), 25) == []


def test_one_eye_is_enough_where_the_other_is_hidden():
    both = np.column_stack([lids((4, 0.05))] * 2)
    both[:, 1] = np.nan
    assert blinks(both, 25) == [(50, 54)]


def test_blinks_of_a_head_that_turns_smiles_and_jitters():
    rng, seconds = np.random.default_rng(0), np.arange(300) / 25
    times = np.arange(1.4, 11, 3)
    keypoints = []
    for now in seconds:
        closing = max(0.05, 1 - np.abs(times - now).min() / 0.16)
        expression = Expression(eyes_closed=closing, smile=0.25 + 0.25 * np.sin(now))
        view = View(30 * np.sin(now), 8 * np.sin(1.3 * now), scale=UNIT)
        keypoints.append(project_head(Shape(), expression, view))
    noisy = np.array(keypoints) + rng.normal(0, 0.01 * UNIT, (300, 68, 2))
    middles = [(start + end - 1) / 2 / 25 for start, end in blinks(eye_opening(noisy), 25)]
    np.testing.assert_allclose(middles, times, atol=0.04)


@pytest.mark.parametrize("openings", [np.zeros((5, 3)), np.zeros((2, 5, 2)), 0.3])
def test_wrong_openings_are_refused(openings):
    with pytest.raises(ValueError, match="openings must have shape"):
        blinks(openings, 25)


@pytest.mark.parametrize("fps", [0, -25, np.nan, np.inf])
def test_wrong_frame_rates_are_refused(fps):
    with pytest.raises(ValueError, match="fps must be a positive number"):
        blinks([0.3], fps)
