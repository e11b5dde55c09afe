"""The One-Euro filter: cases computed by hand, what it promises, and bad input."""

import math

import numpy as np
import pytest

from landmarks import OUTER_EYE_CORNERS
from sample_faces import canonical_head
from video.smoothing import KeypointSmoother, OneEuroFilter, OneEuroSettings, eye_distance

FACE = (canonical_head()[:, :2] * 100 + 200).astype(np.float32)


def run(values, times, settings=None, unit=1.0):
    smooth = OneEuroFilter(settings)
    return np.array([smooth(value, time, unit) for value, time in zip(values, times, strict=True)])


def test_two_steps_by_hand():
    # 1 / (2 pi) Hz and steps of 1 s make both weights 1 / 2 without a gain
    hz = 1 / (2 * math.pi)
    plain = run([0.0, 8.0, 8.0], [0.0, 1.0, 2.0], OneEuroSettings(hz, 0.0, hz))
    np.testing.assert_allclose(plain, [0, 4, 6])
    # with a gain: speed 8 / 2 = 4, in units of 2 it is 2; cut-off hz (1 + 2) -> weight 3 / 4 -> 6;
    # then speed 4 + (0 - 4) / 2 = 2, in units 1, cut-off 2 hz -> weight 2 / 3 -> 6 + 2 * 2 / 3
    fast = run([0.0, 8.0, 8.0], [0.0, 1.0, 2.0], OneEuroSettings(hz, hz, hz), unit=2.0)
    np.testing.assert_allclose(fast, [0, 6, 6 + 4 / 3])


def test_the_length_of_a_step_counts():
    hz = 1 / (2 * math.pi)
    smoothed = run([0.0, 9.0], [0.0, 2.0], OneEuroSettings(hz, 0.0, hz))
    np.testing.assert_allclose(smoothed, [0, 6])  # weight 2 / (2 + 1)


def test_every_number_is_filtered_by_itself():
    rng = np.random.default_rng(0)
    values, times = rng.normal(size=(20, 3, 2)), np.cumsum(rng.uniform(0.01, 0.1, 20))
    together = run(values, times)
    for row in range(3):
        for column in range(2):
            np.testing.assert_allclose(together[:, row, column], run(values[:, row, column], times))


def test_still_points_tremble_less_and_moving_ones_hardly_lag():
    times = np.arange(300) / 30
    noise = np.random.default_rng(1).normal(0, 0.003, 300)
    motion = np.where(times > 5, 3.0 * (times - 5), 0.0)  # 3 eye distances a second: a quick turn
    smoothed = run(noise + motion, times)
    still = slice(60, 150)
    assert np.abs(np.diff(smoothed[still])).mean() < 0.2 * np.abs(np.diff(noise[still])).mean()
    lag_s = (motion - smoothed)[-60:].mean() / 3.0
    assert lag_s < 0.010
    # a filter without a gain that trembles as little lags by a third of a second
    heavy = run(noise + motion, times, OneEuroSettings(gain=0.0))
    assert (motion - heavy)[-60:].mean() / 3.0 > 0.3


def test_settings_hold_for_any_size_of_face():
    rng = np.random.default_rng(2)
    times = np.arange(40) / 25
    path = np.cumsum(rng.normal(0, 2, (40, 1, 2)), axis=0) + FACE + rng.normal(0, 0.3, (40, 68, 2))
    small, large = KeypointSmoother(), KeypointSmoother()
    for points, time in zip(path, times, strict=True):
        one, other = small(points, time), large(points * 4, time)
        assert one.dtype == np.float32
        np.testing.assert_allclose(other, 4 * one, rtol=1e-3)  # boxes count whole pixels: not exactly 4


def test_eye_distance_does_not_collapse_in_profile():
    right, left = OUTER_EYE_CORNERS
    assert eye_distance(FACE) == pytest.approx(np.linalg.norm(FACE[right] - FACE[left]), rel=0.15)
    profile = FACE.copy()
    profile[:, 0] = 200 + 0.1 * (profile[:, 0] - 200)
    assert eye_distance(profile) > 0.7 * eye_distance(FACE)


def test_reset_starts_anew():
    smooth = OneEuroFilter()
    smooth(np.zeros(2), 1.0)
    smooth.reset()
    np.testing.assert_array_equal(smooth(np.ones(3), 0.5), np.ones(3))


def test_what_comes_out_is_the_callers():
    smooth, given = OneEuroFilter(), np.array([1.0, 2.0])
    smooth(given, 0.0)[:] = 99
    second = smooth(given, 1.0)
    np.testing.assert_allclose(second, [1, 2])
    second[:] = 99
    np.testing.assert_allclose(smooth(given, 2.0), [1, 2])


@pytest.mark.parametrize(
    ("values", "time_s", "unit", "message"),
    [
        ([1.0, np.nan], 1.0, 1.0, "NaN or infinity"),
        ([1.0, 2.0, 3.0], 1.0, 1.0, r"shape \(3,\) follow values of shape \(2,\)"),
        ([1.0, 2.0], 0.0, 1.0, "time must increase: 0.0 s follows 0.0 s"),
        ([1.0, 2.0], -1.0, 1.0, "time must increase"),
        ([1.0, 2.0], np.nan, 1.0, "time must increase"),
        ([1.0, 2.0], 1.0, 0.0, "above 0, got 0"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(values, time_s, unit, message):
    smooth = OneEuroFilter()
    smooth([1.0, 1.0], 0.0)
    with pytest.raises(ValueError, match=message):
        smooth(values, time_s, unit)
    np.testing.assert_allclose(smooth([1.0, 1.0], 1.0), [1, 1])


@pytest.mark.parametrize("settings", [{"resting_hz": 0}, {"speed_hz": -1}, {"gain": -0.1}, {"gain": np.nan}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match="above 0, gain at least 0"):
        OneEuroSettings(**settings)
