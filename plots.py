"""Every figure of the notebooks and benchmarks. Drawing only: nothing is computed here.

    figure, axis = plots.new_figure()
    plots.draw_face(axis, image, keypoints, predicted)
    plots.show(figure, "first_face")        # displays it, and writes reports/figures/first_face.png

Each figure carries where its pixels came from (`ORIGIN_KEY`): 'drawing' (none), 'free
photo', 'sample' or 'data set'. Images of the data set may be looked at but not
published, so `check_notebooks.py` refuses a committed output marked 'data set'. An
image drawn without saying where it is from counts as one of the data set.
"""

import io
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from files import cv2
from landmarks import CLOSED_GROUPS, GROUPS

ORIGIN_KEY = "keypoints-origin"
ORIGINS = ("drawing", "sample photo", "sample", "data set")  # what comes later outweighs what is before
BANNER = "synthetic sample (drawn faces) - not a result"
TRUE_COLOUR, PREDICTED_COLOUR, BOX_COLOUR = "#00d000", "#ff00ff", "#ffd000"
SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")

_state = {"sample": False}


def use_sample(is_sample: bool) -> None:
    """Say whether what follows is the synthetic sample; if so, every figure and number says so."""
    _state["sample"] = bool(is_sample)


def report(text: str) -> None:
    """Print numbers; on the synthetic sample, with its name in front."""
    print(f"[{BANNER}] {text}" if _state["sample"] else text)


def table(frame, caption: str = "", formats: dict | None = None):
    """A pandas frame as a notebook shows it, with a caption that says when it is the synthetic sample."""
    if _state["sample"]:
        caption = f"{BANNER}. {caption}"
    # a fixed id, so that the same table is the same output on every run
    styled = frame.style.set_uuid("table").set_caption(caption)
    return styled.format(formats or {}, precision=2, na_rep="-")


# --- figures -----------------------------------------------------------------------------


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 4.0, height: float = 4.0, **options):
    """A figure and its axes: one axis, or an array (rows, columns) with `squeeze=False`-like flattening.

    width, height: inches per axis. Returns (figure, axis) for 1x1, else (figure, 1-D array of axes).
    """
    size = width * columns, height * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    return (figure, axes[0, 0]) if rows * columns == 1 else (figure, axes.ravel())


def mark(axis, origin: str | None) -> None:
    """Note that pixels of `origin` were drawn into the axis' figure; None is the data at hand."""
    origin = origin or ("sample" if _state["sample"] else "data set")
    if origin not in ORIGINS:
        raise ValueError(f"origin must be one of {ORIGINS}, got {origin!r}")
    figure = axis.figure
    before = getattr(figure, "keypoints_origin", ORIGINS[0])
    figure.keypoints_origin = max(before, origin, key=ORIGINS.index)


def figure_origin(figure: Figure) -> str:
    """Where a figure's pixels are from; on the synthetic sample every curve is the sample's, too."""
    least = "sample" if _state["sample"] else ORIGINS[0]
    return max(least, getattr(figure, "keypoints_origin", least), key=ORIGINS.index)


def figure_png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as PNG bytes that carry its origin."""
    if _state["sample"]:
        figure.suptitle(BANNER, color="#b00000", fontsize=10)
    buffer = io.BytesIO()
    origin = figure_origin(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={ORIGIN_KEY: origin})
    return buffer.getvalue()


def reports_folder() -> Path:
    """Where figures go: KEYPOINTS_REPORTS, or reports/ in the repository."""
    return Path(os.environ.get("KEYPOINTS_REPORTS") or Path(__file__).parent / "reports")


def show(figure: Figure, name: str, *, dpi: int = 100) -> None:
    """Write reports/figures/NAME.png, and display it when this runs in a notebook."""
    png = figure_png(figure, dpi)
    target = reports_folder() / "figures" / f"{name}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_bytes(png)
    os.replace(beside, target)
    plt.close(figure)
    show_png(png, figure_origin(figure))


def write_video(frames, name: str, *, frames_per_second: float = 25) -> Path:
    """Frames (HxWx3 uint8 RGB, all of one size) as reports/figures/NAME.mp4 (VP9, which browsers play)."""
    frames = list(frames)
    if not frames:
        raise ValueError("a video needs at least one frame")
    height, width = frames[0].shape[:2]
    target = reports_folder() / "figures" / f"{name}.mp4"
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{os.getpid()}-{target.name}")
    codec = cv2.VideoWriter.fourcc(*"vp09")
    writer = cv2.VideoWriter(str(beside), codec, frames_per_second, (width, height))
    try:
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
    os.replace(beside, target)
    return target


def show_png(png: bytes, origin: str) -> None:
    """Display PNG bytes in a notebook, marked; elsewhere do nothing."""
    try:
        from IPython import get_ipython
        from IPython.display import Image, display
    except ImportError:
        return
    if get_ipython() is not None:
        display(Image(data=png, format="png"), metadata={ORIGIN_KEY: origin})


# --- faces ---------------------------------------------------------------------------------


def draw_keypoints(axis, keypoints, colour=TRUE_COLOUR, *, size=9.0, lines=False, numbers=False) -> None:
    """Dots at keypoints (68, 2); with `lines` the parts of the face, with `numbers` the indices."""
    points = np.asarray(keypoints)
    if lines:
        for name, indices in GROUPS.items():
            path = points[list(indices) + ([indices[0]] if name in CLOSED_GROUPS else [])]
            axis.plot(path[:, 0], path[:, 1], color=colour, linewidth=1, alpha=0.7)
    axis.scatter(points[:, 0], points[:, 1], s=size, color=colour, edgecolors="none", zorder=3)
    if numbers:
        for index, (x, y) in enumerate(points):
            axis.annotate(str(index), (x, y), fontsize=6, xytext=(2, 2), textcoords="offset points")


def draw_image(axis, image, *, origin: str | None = None, title: str = "") -> None:
    """Pixels, without axes; gray where the image is HxW. origin None: an image of the data set."""
    mark(axis, origin)
    if image.ndim == 2:
        axis.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
    else:
        axis.imshow(image)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def draw_face(
    axis, image, keypoints=None, predicted=None, *,
    boxes_xyxy=(), origin=None, title="", size=9.0, numbers=False,
) -> None:  # fmt: skip
    """An image with true keypoints in green, predicted ones in magenta, boxes in yellow."""
    draw_image(axis, image, origin=origin, title=title)
    if keypoints is not None:
        draw_keypoints(axis, keypoints, TRUE_COLOUR, size=size, numbers=numbers)
    if predicted is not None:
        draw_keypoints(axis, predicted, PREDICTED_COLOUR, size=size)
    for box in boxes_xyxy:
        draw_box(axis, box)


def draw_box(axis, box_xyxy, colour=BOX_COLOUR, label: str = "") -> None:
    """A box_xyxy (edges) on an axis whose pixel (0, 0) is centred at (0, 0)."""
    left, top, right, bottom = np.asarray(box_xyxy) - 0.5
    axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=2))
    if label:
        axis.text(left, top - 3, label, color=colour, fontsize=8, va="bottom")


def draw_pose(axis, axes_xy) -> None:
    """A head's axes (4, 2), pixels: from the first point red to the person's left, green down, blue ahead."""
    start, *tips = np.asarray(axes_xy)
    for tip, colour in zip(tips, ("#ff2020", "#00d000", "#2060ff"), strict=True):
        axis.plot(*np.stack([start, tip]).T, color=colour, linewidth=2.5, solid_capstyle="round")


def face_grid(faces: list[dict], columns: int = 6, *, width: float = 2.2, **common) -> Figure:
    """A grid of `draw_face` panels; each dict holds its arguments."""
    rows = -(-len(faces) // columns)
    figure, axes = new_figure(rows, columns, width=width, height=width * 1.1)
    axes = np.atleast_1d(axes)
    for axis, face in zip(axes, faces, strict=False):
        draw_face(axis, **{**common, **face})
    for axis in axes[len(faces) :]:
        axis.set_axis_off()
    return figure


def draw_shape(axis, keypoints, *, colour="#333333", numbers=False, title="", alpha=1.0) -> None:
    """Keypoints without a photo, y down as in an image."""
    points = np.asarray(keypoints)
    for name, indices in GROUPS.items():
        path = points[list(indices) + ([indices[0]] if name in CLOSED_GROUPS else [])]
        axis.plot(path[:, 0], path[:, 1], color=colour, linewidth=1, marker="o", markersize=2.5, alpha=alpha)
    if numbers:
        for index, (x, y) in enumerate(points):
            axis.annotate(str(index), (x, y), fontsize=7, xytext=(2, 2), textcoords="offset points")
    axis.set_aspect("equal")
    if not axis.yaxis_inverted():
        axis.invert_yaxis()
    axis.set_axis_off()
    axis.set_title(title, fontsize=9)


# --- curves and tables -------------------------------------------------------------------------


def draw_history(axes, history: list[dict]) -> None:
    """Loss on the first axis and NME (percent) on the second, over epochs, of training and validation."""
    epochs = [row["epoch"] for row in history]
    for axis, name, factor in ((axes[0], "loss", 1), (axes[1], "nme", 100)):
        axis.clear()
        axis.plot(epochs, [factor * row[name] for row in history], "o-", ms=3, label="training (augmented)")
        held_out = [factor * row[f"validation_{name}"] for row in history]
        if not np.isnan(held_out).all():
            axis.plot(epochs, held_out, "o-", ms=3, color=SERIES_COLOURS[1], label="identities held out")
        axis.set_xlabel("epoch")
        axis.set_ylabel("loss" if name == "loss" else "NME, %")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)


def draw_ced(axis, series: dict[str, tuple[np.ndarray, np.ndarray]], title: str = "") -> None:
    """Cumulative error distributions: name -> (limits as fractions, share of faces)."""
    for colour, (name, (limits, shares)) in zip(SERIES_COLOURS * 3, series.items(), strict=False):
        axis.plot(100 * np.asarray(limits), 100 * np.asarray(shares), color=colour, label=name)
    axis.set_xlabel("NME, % of the inter-ocular distance")
    axis.set_ylabel("faces with at most this error, %")
    axis.set_ylim(0, 100)
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    axis.set_title(title, fontsize=10)


def draw_over_time(axis, seconds, series: dict[str, np.ndarray], *, spans=(), ylabel="", title="") -> None:
    """What is measured in a video's frames: name -> (T,) values; spans: (start, end) in seconds, shaded."""
    for colour, (name, values) in zip(SERIES_COLOURS * 3, series.items(), strict=False):
        axis.plot(seconds, values, color=colour, linewidth=1.2, label=name)
    for start, end in spans:
        axis.axvspan(start, end, color=SERIES_COLOURS[4], alpha=0.35, linewidth=0)
    axis.set_xlabel("seconds")
    axis.set_ylabel(ylabel)
    axis.grid(alpha=0.3)
    if len(series) > 1:
        axis.legend(fontsize=8)
    axis.set_title(title, fontsize=10)


def draw_bars(axis, values: dict[str, float], *, fmt="%.2f", title="", colour=SERIES_COLOURS[0]) -> None:
    """Horizontal bars with their values written beside them; without, where fmt is empty."""
    names = list(values)[::-1]
    bars = axis.barh(names, [values[name] for name in names], color=colour)
    if fmt:
        axis.bar_label(bars, fmt=fmt, fontsize=8, padding=2)
    axis.margins(x=0.15)
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def draw_histogram(axis, values, *, bins=30, xlabel="", title="") -> None:
    """How often which value occurs."""
    axis.hist(values, bins=bins, color=SERIES_COLOURS[0])
    axis.set_xlabel(xlabel)
    axis.set_ylabel("images")
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def draw_layers(axis, layers: list[tuple[str, str]]) -> None:
    """A network as a row of boxes: (what the layer does, shape that comes out)."""
    for place, (name, shape) in enumerate(layers):
        box = FancyBboxPatch((place, 0), 0.78, 1, boxstyle="round,pad=0.03", fc="#e8f1fa", ec="#0072b2")
        axis.add_patch(box)
        axis.text(place + 0.39, 0.62, name, ha="center", va="center", fontsize=7.5)
        axis.text(place + 0.39, 0.25, shape, ha="center", va="center", fontsize=7.5, color="#0072b2")
        if place:
            axis.annotate("", (place - 0.03, 0.5), (place - 0.19, 0.5), arrowprops={"arrowstyle": "->"})
    axis.set_xlim(-0.1, len(layers))
    axis.set_ylim(-0.1, 1.1)
    axis.set_axis_off()


def draw_maps(axes, maps: np.ndarray, *, origin: str | None = "drawing", cmap: str = "gray") -> None:
    """Small gray pictures (N, h, w), each on its own scale: filters ('drawing') or feature maps of a face."""
    for axis, picture in zip(np.atleast_1d(axes), maps, strict=False):
        mark(axis, origin)
        axis.imshow(picture, cmap=cmap)
        axis.set_axis_off()
