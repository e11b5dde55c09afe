"""Figures say where their pixels are from, and that a sample is a sample."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import plots
from files import cv2


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("KEYPOINTS_REPORTS", str(tmp_path))
    plots.use_sample(False)
    yield
    plots.use_sample(False)


def origin_of(png: bytes) -> str:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image.text[plots.ORIGIN_KEY]


def a_figure(*origins):
    figure, axes = plots.new_figure(1, max(len(origins), 2), width=1, height=1)
    for axis, origin in zip(axes, origins, strict=False):
        plots.draw_image(axis, np.zeros((4, 4, 3), np.uint8), origin=origin)
    return figure


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ((), "drawing"),
        (("sample photo",), "sample photo"),
        ((None,), "data set"),  # who does not say counts as the data set
        (("sample photo", None), "data set"),
        ((None, "sample photo"), "data set"),
    ],
)
def test_the_strictest_origin_marks_the_figure(origins, expected):
    assert origin_of(plots.figure_png(a_figure(*origins))) == expected


def test_every_figure_of_a_sample_is_marked_and_has_a_banner():
    plain = plots.figure_png(a_figure())
    plots.use_sample(True)
    assert origin_of(plots.figure_png(a_figure())) == "sample"
    assert origin_of(plots.figure_png(a_figure(None))) == "sample"
    figure = a_figure()
    assert plots.figure_png(figure) != plain
    assert figure.get_suptitle() == plots.BANNER


def test_numbers_and_tables_of_a_sample_say_so(capsys):
    frame = pd.DataFrame({"NME": [1.23456]})
    plots.report("NME 5 %")
    assert capsys.readouterr().out == "NME 5 %\n"
    assert plots.BANNER not in plots.table(frame, "x").to_html()
    plots.use_sample(True)
    plots.report("NME 5 %")
    assert capsys.readouterr().out == f"[{plots.BANNER}] NME 5 %\n"
    assert plots.BANNER in plots.table(frame, "x").to_html()


def test_tables_are_the_same_on_every_run():
    frame = pd.DataFrame({"NME": [1.23456]})
    assert plots.table(frame).to_html() == plots.table(frame).to_html()
    assert "1.23" in plots.table(frame).to_html()


def test_show_writes_the_figure_and_nothing_beside_it(tmp_path):
    plots.show(a_figure("sample photo"), "one")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["one.png"]
    assert origin_of((tmp_path / "figures" / "one.png").read_bytes()) == "sample photo"


def test_unknown_origins_are_refused():
    with pytest.raises(ValueError, match="origin must be one of"):
        a_figure("the net")


def test_boxes_are_drawn_on_pixel_edges():
    _, axis = plots.new_figure()
    plots.draw_box(axis, [0, 0, 10, 5])
    rectangle = axis.patches[0]
    assert (*rectangle.get_xy(), rectangle.get_width(), rectangle.get_height()) == (-0.5, -0.5, 10, 5)


def test_videos_can_be_read_back():
    frames = [np.full((48, 64, 3), (level, 0, 255 - level), np.uint8) for level in range(0, 250, 25)]
    path = plots.write_video(frames, "clip", frames_per_second=10)
    capture = cv2.VideoCapture(str(path))
    count = 0
    while True:
        there, frame = capture.read()
        if not there:
            break
        # red rises and blue falls: the channels are in order
        assert abs(int(frame[24, 32, 2]) - int(frames[count][0, 0, 0])) < 25
        count += 1
    assert count == len(frames)
    with pytest.raises(ValueError, match="at least one frame"):
        plots.write_video([], "none")


def test_history_and_curves_are_drawn_from_rows():
    figure, axes = plots.new_figure(1, 2)
    rows = [
        {"epoch": e, "loss": 1 / e, "nme": 0.1 / e, "validation_loss": np.nan, "validation_nme": np.nan}
        for e in (1, 2, 3)
    ]
    plots.draw_history(axes, rows)
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), [10, 5, 10 / 3])
    plots.draw_ced(axes[0], {"a": ([0, 0.1], [0, 1])})
    assert axes[0].get_xlim()[1] >= 10
    assert figure.axes
