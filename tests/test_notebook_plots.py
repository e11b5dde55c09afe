"""The figures that only notebooks 1 and 2 draw."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import plots


@pytest.fixture
def axis():
    figure, axis = plots.new_figure()
    yield axis
    plt.close(figure)


def test_groups_show_every_point(axis):
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    plots.draw_groups(axis, points, numbers=True, legend=True)
    drawn = np.concatenate([dots.get_offsets() for dots in axis.collections])
    assert np.array_equal(np.unique(drawn[:, 0]), np.unique(points[:, 0]))
    assert {text.get_text() for text in axis.texts} == {str(index) for index in range(68)}


def test_a_layer_is_as_wide_as_its_share_of_the_weights(axis):
    plots.draw_weights(axis, {"Conv2d": 1, "Linear": 3})
    assert [patch.get_width() for patch in axis.patches] == [25.0, 75.0]


def test_choices_show_the_mean_of_the_runs_the_base_and_the_constant(axis):
    plots.draw_choices(axis, {"base": [18.0, 20.0], "other": [9.0]}, base="base", constant=31.0)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["other  9.0 %", "base  19.0 %"]
    lines = {line.get_label(): line.get_xdata()[0] for line in axis.lines}
    assert (lines["base"], lines["mean shape, no network"]) == (19.0, 31.0)


def test_learning_curves_are_in_percent_beside_the_constant(axis):
    plots.draw_learning(axis, [0.4, 0.2], [0.5, 0.3], 0.19)
    training, held_out, constant = (line.get_ydata() for line in axis.lines)
    assert np.allclose(training, [40, 20])
    assert np.allclose(held_out, [50, 30])
    assert np.allclose(constant, 19)


def test_the_limits_of_auc_and_failure_are_where_they_are_read(axis):
    plots.draw_ced_limits(axis, 0.08, 0.10)
    assert axis.patches[0].get_width() == pytest.approx(8)
    assert axis.lines[0].get_xdata()[0] == pytest.approx(10)
