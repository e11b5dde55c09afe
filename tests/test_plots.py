"""Figures carry the origin of their pixels and are the same on every run; a sample run says so."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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
        (("sample photo", "synthetic sample"), "synthetic sample"),
        (("sample photo", None), "data set"),
        ((None, "sample photo"), "data set"),
    ],
)
def test_the_strictest_origin_marks_the_figure(origins, expected):
    assert origin_of(plots.figure_png(a_figure(*origins))) == expected


def test_every_figure_of_a_sample_is_marked_and_has_a_banner():
    plain = plots.figure_png(a_figure())
    plots.use_sample(True)
    assert origin_of(plots.figure_png(a_figure())) == "sample run"
    assert origin_of(plots.figure_png(a_figure(None))) == "sample run"
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


def test_the_same_figure_is_the_same_file(tmp_path):
    png = plots.figure_png(a_figure("sample photo"))
    assert png == plots.figure_png(a_figure("sample photo"))
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert set(image.text) == {plots.ORIGIN_KEY}  # no date, no version of a program
    assert plots.write_figure(a_figure(), tmp_path / "a.png")
    assert not plots.write_figure(a_figure(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:  # compressed by another program
        image.save(tmp_path / "a.png", pnginfo=text_chunk("drawing"), compress_level=1)
    before = (tmp_path / "a.png").read_bytes()
    assert not plots.write_figure(a_figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert plots.write_figure(a_figure("sample photo"), tmp_path / "a.png")
    assert origin_of((tmp_path / "a.png").read_bytes()) == "sample photo"


def text_chunk(origin: str) -> PngInfo:
    info = PngInfo()
    info.add_text(plots.ORIGIN_KEY, origin)
    return info


# --- pairs -----------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch) -> list[tuple[str, str]]:
    """(format, origin) of everything that is displayed, in order."""
    outputs = []
    monkeypatch.setattr(
        plots, "_display", lambda _, image_format, origin: outputs.append((image_format, origin))
    )
    return outputs


def draw_one(image):
    figure, axis = plots.new_figure(width=1, height=1)
    plots.draw_image(axis, image)
    return figure


REAL, TWIN = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 9, np.uint8)


@pytest.mark.parametrize("origin", ["synthetic sample", "sample photo"])
def test_a_pair_shows_the_real_figure_and_a_twin_that_may_be_stored(origin, shown, tmp_path):
    plots.show_pair(draw_one, REAL, TWIN, "pair", origin=origin, jpeg_quality=80)
    assert shown == [("jpeg", "data set"), ("jpeg", origin)]
    origins = {path.name: origin_of(path.read_bytes()) for path in (tmp_path / "figures").iterdir()}
    assert origins == {"pair.png": "data set", "pair_twin.png": origin}
    plots.draw_image(figure_axis := plots.new_figure()[1], TWIN)  # afterwards all is as before
    assert plots.figure_origin(figure_axis.figure) == "data set"


def test_the_curves_of_real_faces_are_not_stored_by_a_pair_either(shown):
    plots.show_pair(lambda _: plots.new_figure()[0], 1, 2, "pair")
    assert shown == [("png", "data set"), ("png", "synthetic sample")]


def test_in_a_run_on_the_sample_both_of_a_pair_are_of_that_run(shown):
    plots.use_sample(True)
    plots.show_pair(draw_one, REAL, REAL, "pair")
    assert [origin for _, origin in shown] == ["sample run", "sample run"]


@pytest.mark.parametrize(
    "draw",
    [lambda _: draw_one(REAL), lambda _: a_figure("data set")],
    ids=["the real picture both times", "a picture said to be real"],
)
def test_a_twin_that_shows_the_data_set_is_refused(draw, shown, tmp_path):
    with pytest.raises(ValueError, match="shows a picture of the data set"):
        plots.show_pair(draw, REAL, TWIN, "pair")
    assert shown == []
    assert not (tmp_path / "figures").exists()


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


def test_a_sequence_has_one_panel_per_frame_of_the_origin_named():
    frames = [np.zeros((20, 30, 3), np.uint8)] * 5
    figure = plots.draw_sequence(frames, 3, titles=["a", "b", "c", "d", "e"], origin="sample photo")
    assert sum(bool(axis.images) for axis in figure.axes) == 5
    assert origin_of(plots.figure_png(figure)) == "sample photo"


def test_the_axes_of_a_head_have_three_letters():
    figure, axis = plots.new_figure()
    plots.draw_pose_axes(axis, [(10, 10), (20, 10), (10, 20), (8, 8)])
    assert [text.get_text() for text in axis.texts] == ["x", "y", "z"]
    plots.plt.close(figure)
