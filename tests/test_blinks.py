"""Blinks (detector/measure.py) in openings written down by hand, and on a head that moves."""

import numpy as np
import pytest

from analysis.openings import blinks, eye_opening
from sample_faces.head import Expression, Shape, View, project_head

UNIT = 60.0  # inter-ocular distance in pixels


def lids(*runs, fps=25):
    """Openings of an eye, 0.3 open, with 4 s around: runs of (frames, opening)."""
    around = [0.3] * (2 * fps)
    return np.array(around + [value for frames, value in runs for _ in range(frames)] + around)


def test_a_blink_by_hand():
    openings = lids((1, 0.2), (3, 0.05), (1, 0.18), (1, 0.25))
    # shut is below 0.65 x 0.3 = 0.195: frames 51 to 54
    assert blinks(openings, 25) == [(51, 55)]
    assert blinks(openings * 0.6, 25) == [(51, 55)]  # somebody with narrower eyes
    assert blinks(np.column_stack([openings, openings]), 25) == [(51, 55)]


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
        ([(2, np.nan), (4, 0.05)], [(51, 56)]),  # before it: half-way down on the bridge
        ([(30, np.nan), (4, 0.05)], []),  # nobody saw it begin
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


def test_blinks_of_a_head_that_turns_smiles_and_trembles():
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
