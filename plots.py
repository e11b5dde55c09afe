"""Every figure of the notebooks and benchmarks. Drawing only: nothing is computed here.

    figure, axis = plots.new_figure()
    plots.draw_face(axis, image, keypoints, predicted)
    plots.show(figure, "first_face")        # displays it, and writes reports/figures/first_face.png

Each figure carries the origin of its pixels (`ORIGIN_KEY`), one of `ORIGINS`. Images of the
data set may be looked at but not published, so `tools/check_notebooks.py` refuses a committed
output of origin 'data set'. An image drawn without an origin counts as one of the data set.
A figure that needs faces of the data set is drawn by `show_pair`, a second time on other faces.
"""

import io
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.text import Text
from PIL import Image

from files import atomic_path, cv2
from landmarks import CLOSED_GROUPS, GROUPS

ORIGIN_KEY = "keypoints-origin"
#: From the least to the most restricted; a figure has the most restricted origin of its parts.
#: 'drawing': no photo. 'sample photo': a photo that may be published. 'synthetic sample': drawn faces.
#: 'sample run': anything from a run on the synthetic sample. 'data set': pixels of the data set.
ORIGINS = ("drawing", "sample photo", "synthetic sample", "sample run", "data set")
BANNER = "synthetic sample (drawn faces) - not a result"

# The palette: every colour of every figure.
TRUE_COLOUR, PREDICTED_COLOUR, BOX_COLOUR = "#00d000", "#ff00ff", "#ffd000"
SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
AXIS_COLOURS = ("#ff2020", TRUE_COLOUR, "#2060ff")  # a head's x, y, z
LINE_COLOUR, GUIDE_COLOUR, WARNING_COLOUR, LAYER_COLOUR = "#333333", "#808080", "#b00000", "#e8f1fa"

FONT = "DejaVu Sans"  # it comes with matplotlib, so figures are the same on every machine
TWIN_NOTES = {
    "synthetic sample": "the same figure on drawn faces (synthetic sample)",
    "sample photo": "the same figure on sample photos",
    "drawing": "the same figure on a drawing",
}
MAX_PIXEL_DIFFERENCE = 2  # of 255; below it a stored figure counts as unchanged

# data: the origin of pixels for which none is named; sample: this is a run on the synthetic sample;
# seen: digests of the pictures drawn without an origin, while `show_pair` draws.
_state: dict = {"data": "data set", "sample": False, "seen": None}


def use_sample(is_sample: bool) -> None:
    """Set whether this is a run on the synthetic sample; if so, every figure and number says so."""
    _state["sample"] = bool(is_sample)
    _state["data"] = "sample run" if is_sample else "data set"


def report(text: str) -> None:
    """Print numbers; in a run on the synthetic sample with the banner in front."""
    print(f"[{BANNER}] {text}" if _state["sample"] else text)


def table(frame, caption: str = "", formats: dict | None = None):
    """A pandas frame as a notebook shows it; in a run on the synthetic sample the caption says so.

    formats: column name -> format, such as "{:.1f}"; other numbers get two decimals.
    """
    if _state["sample"]:
        caption = f"{BANNER}. {caption}"
    # a fixed id, so that the same table is the same output on every run
    styled = frame.style.set_uuid("table").set_caption(caption)
    return styled.format(formats or {}, precision=2, na_rep="-")


# --- figures -----------------------------------------------------------------------------


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 4.0, height: float = 4.0, **options):
    """A figure and its axes: (figure, axis) for one axis, else (figure, array of rows x columns axes).

    width, height: inches per axis. options: passed to `plt.subplots`.
    """
    size = width * columns, height * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    return (figure, axes[0, 0]) if rows * columns == 1 else (figure, axes.ravel())


def mark(axis, origin: str | None) -> None:
    """Note that pixels of `origin` were drawn into the axis' figure; None: pixels of the data in use.

    Raises ValueError for an unknown origin.
    """
    _mark_figure(axis.figure, origin)


def _mark_figure(figure: Figure, origin: str | None) -> None:
    origin = origin or _state["data"]
    if origin not in ORIGINS:
        raise ValueError(f"origin must be one of {ORIGINS}, got {origin!r}")
    before = getattr(figure, "keypoints_origin", ORIGINS[0])
    figure.keypoints_origin = max(before, origin, key=ORIGINS.index)


def figure_origin(figure: Figure) -> str:
    """The most restricted origin of what was drawn; at least 'sample run' in such a run, curves too."""
    minimum = "sample run" if _state["sample"] else ORIGINS[0]
    return max(minimum, getattr(figure, "keypoints_origin", minimum), key=ORIGINS.index)


def figure_png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as PNG bytes that carry its origin. The same figure gives the same bytes."""
    if _state["sample"]:
        figure.suptitle(BANNER, color=WARNING_COLOUR, fontsize=10)
    for text in figure.findobj(Text):
        text.set_fontfamily(FONT)
    buffer = io.BytesIO()
    metadata = {ORIGIN_KEY: figure_origin(figure), "Software": None}
    figure.savefig(buffer, format="png", dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def write_figure(figure: Figure, path, *, dpi: int = 90) -> bool:
    """Write the figure of a benchmark as PNG and close it; True if that changed the file.

    A file whose pixels and origin are the same already is left alone, so that another
    version of the PNG compression changes nothing.
    """
    path, png = Path(path), figure_png(figure, dpi)
    plt.close(figure)
    if path.is_file() and _same_picture(path.read_bytes(), png):
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(png)
    return True


def _same_picture(one: bytes, other: bytes) -> bool:
    pixels, texts = [], []
    for png in (one, other):
        with Image.open(io.BytesIO(png)) as image:
            pixels.append(np.asarray(image.convert("RGBA"), dtype=int))
            texts.append(image.text)
    if pixels[0].shape != pixels[1].shape or texts[0] != texts[1]:
        return False
    return np.abs(pixels[0] - pixels[1]).max() <= MAX_PIXEL_DIFFERENCE


def reports_folder() -> Path:
    """The folder of written figures and pages: KEYPOINTS_REPORTS, or reports/ in the repository."""
    return Path(os.environ.get("KEYPOINTS_REPORTS") or Path(__file__).parent / "reports")


def show(figure: Figure, name: str, *, dpi: int = 100, jpeg_quality: int | None = None) -> None:
    """Write reports/figures/NAME.png, close the figure, and display it when this runs in a notebook.

    jpeg_quality: 1 to 95, display JPEG of this quality instead of PNG. For photos it is
        several times smaller (80 looks the same); for lines and text it is larger.
    """
    png = figure_png(figure, dpi)
    with atomic_path(reports_folder() / "figures" / f"{name}.png") as temporary:
        temporary.write_bytes(png)
    plt.close(figure)
    if jpeg_quality is None:
        show_png(png, figure_origin(figure))
    else:
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(png)) as image:
            image.convert("RGB").save(buffer, "jpeg", quality=jpeg_quality)
        _display(buffer.getvalue(), "jpeg", figure_origin(figure))


def show_pair(
    draw: Callable[..., Figure],
    real,
    twin,
    name: str,
    *,
    origin: str = "synthetic sample",
    dpi: int = 100,
    jpeg_quality: int | None = None,
) -> None:
    """Show draw(real), which must not be stored, and draw(twin), the same figure on publishable faces.

    draw: makes a figure from its argument alone; it draws the pictures in it without an origin.
    real: faces of the data set. The figure goes to reports/figures/NAME.png and is displayed in
        the run; `run_notebooks --update` does not store it.
    twin: faces that may be published. The figure goes to reports/figures/NAME_twin.png, says on what
        it was drawn, and is stored.
    origin: of the twin: 'synthetic sample' (drawn faces), 'sample photo' or 'drawing'.
    Raises ValueError if the twin shows a picture of the data set: one drawn with that origin, or the
    same pixels that draw(real) shows.
    """
    if origin not in TWIN_NOTES:
        raise ValueError(f"the origin of a twin must be one of {tuple(TWIN_NOTES)}, got {origin!r}")
    with _pixels_are_of(_state["data"]) as of_real:
        real_figure = draw(real)
        _mark_figure(real_figure, None)
    with _pixels_are_of(origin) as of_twin:
        twin_figure = draw(twin)
        _mark_figure(twin_figure, None)
    same_pixels = not _state["sample"] and of_real & of_twin
    if same_pixels or twin_figure.keypoints_origin == ORIGINS[-1]:
        plt.close(real_figure)
        plt.close(twin_figure)
        raise ValueError(f"the twin of {name!r} shows a picture of the data set: draw must use its argument")
    twin_figure.supxlabel(TWIN_NOTES[origin], color=GUIDE_COLOUR, fontsize=8)
    show(real_figure, name, dpi=dpi, jpeg_quality=jpeg_quality)
    show(twin_figure, f"{name}_twin", dpi=dpi, jpeg_quality=jpeg_quality)


@contextmanager
def _pixels_are_of(origin: str):
    """Pictures drawn without an origin get this one; yields the set of their digests."""
    before = dict(_state)
    _state.update(data=origin, seen=set())
    try:
        yield _state["seen"]
    finally:
        _state.update(before)


def write_video(frames, name: str, *, frames_per_second: float = 25) -> Path:
    """Write frames as reports/figures/NAME.mp4 (VP9, which browsers play) and return its path.

    frames: HxWx3 uint8 RGB, all of one size.
    Raises ValueError if there is none.
    """
    frames = list(frames)
    if not frames:
        raise ValueError("a video needs at least one frame")
    height, width = frames[0].shape[:2]
    target = reports_folder() / "figures" / f"{name}.mp4"
    with atomic_path(target) as temporary:
        codec = cv2.VideoWriter.fourcc(*"vp09")
        writer = cv2.VideoWriter(str(temporary), codec, frames_per_second, (width, height))
        try:
            for frame in frames:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
    return target


def show_png(png: bytes, origin: str) -> None:
    """Display PNG bytes with their origin beside them when this runs in a notebook; else do nothing."""
    _display(png, "png", origin)


def _display(picture: bytes, image_format: str, origin: str) -> None:
    if "IPython" not in sys.modules:  # no notebook without it
        return
    from IPython import display, get_ipython

    if get_ipython() is not None:
        output = display.Image(data=picture, format=image_format)
        display.display(output, metadata={ORIGIN_KEY: origin})


# --- faces ---------------------------------------------------------------------------------


def draw_keypoints(
    axis, keypoints, colour=TRUE_COLOUR, *, size=9.0, lines=False, numbers=False, hollow=()
) -> None:
    """Draw keypoints (68, 2) as dots.

    size: of a dot, in points squared. lines: connect the points of each part of the face.
    numbers: write the index beside each point. hollow: (68,) bool, points drawn as circles; () for none.
    """
    points = np.asarray(keypoints)
    if lines:
        for name, indices in GROUPS.items():
            path = points[list(indices) + ([indices[0]] if name in CLOSED_GROUPS else [])]
            axis.plot(path[:, 0], path[:, 1], color=colour, linewidth=1, alpha=0.7)
    hollow = np.asarray(hollow, dtype=bool) if len(hollow) else np.zeros(len(points), dtype=bool)
    axis.scatter(*points[~hollow].T, s=size, color=colour, edgecolors="none", zorder=3)
    axis.scatter(*points[hollow].T, s=size, facecolors="none", edgecolors=colour, linewidths=0.8, zorder=3)
    if numbers:
        for index, (x, y) in enumerate(points):
            axis.annotate(str(index), (x, y), fontsize=6, xytext=(2, 2), textcoords="offset points")


def draw_image(axis, image, *, origin: str | None = None, title: str = "") -> None:
    """Draw an image HxWx3, or HxW (gray), uint8 or float in [0, 1], without axes.

    origin: one of `ORIGINS`; None: the data in use, which is the data set unless `use_sample` says so.
    """
    mark(axis, origin)
    if origin is None and _state["seen"] is not None:
        _state["seen"].add(sha256(np.ascontiguousarray(image)).hexdigest())
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
    """Draw an image with true keypoints in green, predicted ones in magenta, boxes in yellow.

    keypoints, predicted: (68, 2), pixels of the image. boxes_xyxy: (N, 4), edges. origin: as in `draw_image`.
    """
    draw_image(axis, image, origin=origin, title=title)
    if keypoints is not None:
        draw_keypoints(axis, keypoints, TRUE_COLOUR, size=size, numbers=numbers)
    if predicted is not None:
        draw_keypoints(axis, predicted, PREDICTED_COLOUR, size=size)
    for box in boxes_xyxy:
        draw_box(axis, box)


def draw_box(axis, box_xyxy, colour=BOX_COLOUR, label: str = "") -> None:
    """Draw box_xyxy (edges, pixels) on an axis whose pixel (0, 0) is centred at (0, 0)."""
    left, top, right, bottom = np.asarray(box_xyxy) - 0.5
    axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=2))
    if label:
        axis.text(left, top - 3, label, color=colour, fontsize=8, va="bottom")


def draw_pose(axis, axes_xy) -> None:
    """Draw a head's axes: red to the person's left, green down, blue ahead.

    axes_xy: (4, 2), pixels: the start, then the tips of x, y and z.
    """
    start, *tips = np.asarray(axes_xy)
    for tip, colour in zip(tips, AXIS_COLOURS, strict=True):
        axis.plot(*np.stack([start, tip]).T, color=colour, linewidth=2.5, solid_capstyle="round")


def face_grid(faces: list[dict], columns: int = 6, *, width: float = 2.2, **common) -> Figure:
    """A grid of `draw_face` panels; each dict holds the arguments of one, `common` those of all."""
    rows = -(-len(faces) // columns)
    figure, axes = new_figure(rows, columns, width=width, height=width * 1.1)
    axes = np.atleast_1d(axes)
    for axis, face in zip(axes, faces, strict=False):
        draw_face(axis, **{**common, **face})
    for axis in axes[len(faces) :]:
        axis.set_axis_off()
    return figure


def draw_shape(axis, keypoints, *, colour=LINE_COLOUR, numbers=False, title="", alpha=1.0) -> None:
    """Draw keypoints (68, 2) without a photo, y down as in an image."""
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
    """Draw loss on the first axis and NME (percent) on the second, over epochs, of training and validation.

    history: one dict per epoch with epoch, loss, nme, validation_loss, validation_nme (fractions; NaN: none).
    """
    epochs = [row["epoch"] for row in history]
    for axis, name, factor in ((axes[0], "loss", 1), (axes[1], "nme", 100)):
        axis.clear()
        axis.plot(epochs, [factor * row[name] for row in history], "o-", ms=3, label="training (augmented)")
        held_out = [factor * row[f"validation_{name}"] for row in history]
        if not np.isnan(held_out).all():
            axis.plot(epochs, held_out, "o-", ms=3, color=SERIES_COLOURS[1], label="held-out people")
        axis.set_xlabel("epoch")
        axis.set_ylabel("loss" if name == "loss" else "NME, %")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)


def draw_ced(axis, series: dict[str, tuple[np.ndarray, np.ndarray]], title: str = "") -> None:
    """Draw cumulative error distributions.

    series: name -> (limits of the NME, share of faces with at most that NME), both fractions.
    """
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
    """Draw values of a video's T frames over time.

    seconds: (T,). series: name -> (T,) values. spans: (start, end) pairs in seconds, shaded.
    """
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
    """Draw horizontal bars, the first on top, with their values beside them; fmt "": without values."""
    names = list(values)[::-1]
    bars = axis.barh(names, [values[name] for name in names], color=colour)
    if fmt:
        axis.bar_label(bars, fmt=fmt, fontsize=8, padding=2)
    axis.margins(x=0.15)
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def draw_histogram(axis, values, *, bins=30, xlabel="", title="") -> None:
    """Draw a histogram of one value per image."""
    axis.hist(values, bins=bins, color=SERIES_COLOURS[0])
    axis.set(xlabel=xlabel, ylabel="images")
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def draw_layers(axis, layers: list[tuple[str, str]]) -> None:
    """Draw a network as a row of boxes; layers: (name, shape of its output) of each."""
    for place, (name, shape) in enumerate(layers):
        box = FancyBboxPatch(
            (place, 0), 0.78, 1, boxstyle="round,pad=0.03", fc=LAYER_COLOUR, ec=SERIES_COLOURS[0]
        )
        axis.add_patch(box)
        axis.text(place + 0.39, 0.62, name, ha="center", va="center", fontsize=7.5)
        axis.text(place + 0.39, 0.25, shape, ha="center", va="center", fontsize=7.5, color=SERIES_COLOURS[0])
        if place:
            axis.annotate("", (place - 0.03, 0.5), (place - 0.19, 0.5), arrowprops={"arrowstyle": "->"})
    axis.set_xlim(-0.1, len(layers))
    axis.set_ylim(-0.1, 1.1)
    axis.set_axis_off()


def draw_maps(axes, maps: np.ndarray, *, origin: str | None = "drawing", cmap: str = "gray") -> None:
    """Draw small gray pictures (N, h, w), each on its own scale.

    origin: 'drawing' for filters, that of the image for its feature maps.
    """
    for axis, picture in zip(np.atleast_1d(axes), maps, strict=False):
        mark(axis, origin)
        axis.imshow(picture, cmap=cmap)
        axis.set_axis_off()


# --- notebooks 1 and 2 -----------------------------------------------------------------------

GROUP_COLOURS = dict(
    zip(
        GROUPS,
        ("#ffb000", "#0072b2", "#56b4e9", "#009e73", "#7ad151", "#d55e00", "#ff5db1", "#b00000", "#b07aff"),
        strict=True,
    )
)


def draw_groups(axis, keypoints, *, numbers=False, size=12.0, legend=False, title="") -> None:
    """Draw keypoints (68, 2), each group of `landmarks.GROUPS` with its own colour and lines.

    numbers: write the index beside each point. legend: write the names of the groups beside the axis.
    """
    points = np.asarray(keypoints)
    for name, indices in GROUPS.items():
        path = points[list(indices) + ([indices[0]] if name in CLOSED_GROUPS else [])]
        axis.plot(*path.T, color=GROUP_COLOURS[name], linewidth=1.2, label=name)
        axis.scatter(*path.T, color=GROUP_COLOURS[name], s=size, edgecolors="none", zorder=3)
    if numbers:
        for index, xy in enumerate(points):
            axis.annotate(str(index), xy, fontsize=7, xytext=(2, 2), textcoords="offset points")
    if legend:
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axis.set_title(title, fontsize=9)


def draw_pixels(axis, image, points=(), *, title="") -> None:
    """Draw a small gray image (H, W), 0 to 1, with the edges of its pixels and its coordinates.

    points: (N, 2), drawn as crosses.
    """
    height, width = np.shape(image)
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set_xticks(range(width)), axis.set_yticks(range(height))
    axis.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    axis.grid(which="minor", color=SERIES_COLOURS[5], linewidth=1)
    axis.tick_params(which="minor", length=0)
    for x, y in points:
        axis.plot(x, y, "+", color=PREDICTED_COLOUR, markersize=14, markeredgewidth=2.5)
    axis.set_xlabel("x"), axis.set_ylabel("y")
    axis.set_title(title, fontsize=9)


def draw_numbers(axis, values, *, fmt="{:g}", cmap="Blues", title="") -> None:
    """Draw a small array (H, W) as squares with the numbers in them."""
    values = np.asarray(values)
    axis.imshow(values, cmap=cmap, alpha=0.6)
    for (row, column), value in np.ndenumerate(values):
        axis.text(column, row, fmt.format(value), ha="center", va="center", fontsize=9)
    axis.set_xticks([]), axis.set_yticks([])
    axis.set_title(title, fontsize=9)


def draw_weights(axis, counts: dict[str, int]) -> None:
    """Draw layers as boxes in a row, each as wide as its share of all weights; counts: name -> weights."""
    total, left = sum(counts.values()), 0.0
    for place, (name, count) in enumerate(counts.items()):
        share = 100 * count / total
        colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
        axis.barh(0, share, left=left, color=colour, label=f"{name}: {count:,} ({share:.2f} %)")
        left += share
    axis.set_xlim(0, 100)
    axis.set_yticks([])
    axis.set_xlabel("share of all weights, %")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.figure.legend(fontsize=8, loc="outside lower center", ncols=3, frameon=False)


def draw_learning(axis, training, held_out, constant: float, *, title="", top=None, legend=True) -> None:
    """Draw NME in percent after each epoch, with the error of the mean shape as a dashed line.

    training, held_out: NME of each epoch, fractions. constant: NME of the mean shape on the
    same held-out faces. top: upper end of the axis, percent.
    """
    epochs = np.arange(1, len(training) + 1)
    axis.plot(epochs, 100 * np.asarray(training), label="training faces")
    axis.plot(epochs, 100 * np.asarray(held_out), color=SERIES_COLOURS[1], label="people held out")
    axis.axhline(100 * constant, color=GUIDE_COLOUR, linestyle="--", label="mean shape, no learning")
    axis.set_xlabel("epoch")
    axis.set_ylabel("NME, %")
    axis.set_ylim(0, top)
    axis.grid(alpha=0.3)
    axis.set_title(title, fontsize=9)
    if legend:
        axis.legend(fontsize=8)


def draw_ced_limits(axis, limit: float, failure: float) -> None:
    """Mark on a CED axis what AUC@`limit` integrates and where FR@`failure` is read (fractions)."""
    axis.axvspan(0, 100 * limit, color=SERIES_COLOURS[4], alpha=0.12, linewidth=0)
    axis.text(50 * limit, 101, f"AUC@{100 * limit:g}: area", ha="center", va="bottom", fontsize=8)
    axis.axvline(100 * failure, color=GUIDE_COLOUR, linestyle="--", linewidth=1)
    note = f" FR@{100 * failure:g}: 100 % less the curve here"
    axis.text(100 * failure, 101, note, ha="left", va="bottom", fontsize=8)


def draw_choices(axis, rows: dict[str, list[float]], *, base: str, constant: float) -> None:
    """Draw one bar per row with its value, one dot per run, and lines at the base and at the mean shape.

    rows: name -> NME of each run, percent. base: the name of the row that the others change.
    constant: NME of the mean shape, percent.
    """
    means = {name: float(np.mean(values)) for name, values in rows.items()}
    draw_bars(axis, {f"{name}  {mean:.1f} %": mean for name, mean in means.items()}, fmt="")
    for name, values in rows.items():
        axis.plot(values, [f"{name}  {means[name]:.1f} %"] * len(values), "k.", markersize=4)
    axis.axvline(means[base], color=LINE_COLOUR, linestyle="--", linewidth=0.9, label="base")
    axis.axvline(constant, color=WARNING_COLOUR, linestyle=":", linewidth=1.2, label="mean shape, no network")
    axis.set_xlim(left=0)
    axis.set_xlabel("NME on people not seen in training, % (lower is better)")
    axis.legend(fontsize=8, loc="lower right")


# --- notebooks 3 and 4 ---


def draw_haar_feature(axis, bright, dark) -> None:
    """Rectangles of a Haar-like feature on the axis of its window.

    bright, dark: boxes (N, 4) of pixel edges, left, top, right, bottom. The mean of the
        dark ones is subtracted from the mean of the bright ones.
    """
    for boxes, colour in ((bright, TRUE_COLOUR), (dark, PREDICTED_COLOUR)):
        for left, top, right, bottom in np.asarray(boxes, dtype=np.float64) - 0.5:
            style = {"edgecolor": colour, "facecolor": colour, "alpha": 0.35, "linewidth": 1.5}
            axis.add_patch(Rectangle((left, top), right - left, bottom - top, **style))


def draw_radius(axis, keypoints, radius, colour=PREDICTED_COLOUR) -> None:
    """A circle around each keypoint (68, 2) with its radius (68,), both in pixels."""
    for (x, y), r in zip(keypoints, radius, strict=True):
        axis.add_patch(plt.Circle((x, y), r, fill=False, linewidth=0.6, color=colour))


def draw_calibration(axis, claimed, observed, *, xlabel="claimed", ylabel="observed", title="") -> None:
    """Observed against claimed values (N,), and the diagonal on which both agree."""
    claimed, observed = np.asarray(claimed), np.asarray(observed)
    top = 1.05 * max(claimed.max(), observed.max())
    axis.plot([0, top], [0, top], color=GUIDE_COLOUR, linewidth=1, label="claim and truth agree")
    axis.plot(claimed, observed, "o-", color=SERIES_COLOURS[0], markersize=4)
    axis.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, top), ylim=(0, top))
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def draw_pose_axes(axis, axes_xy) -> None:
    """A head's axes (4, 2), pixels, as arrows with a white edge and a letter.

    From the first point: x (red) to the person's left, y (green) down, z (blue) to where the face looks.
    """
    start, *tips = np.asarray(axes_xy)
    for tip, colour, letter in zip(tips, AXIS_COLOURS, "xyz", strict=True):
        for width, shade in ((5.5, "white"), (3.0, colour)):
            axis.plot(*np.stack([start, tip]).T, color=shade, linewidth=width, solid_capstyle="round")
        place = tip + 0.12 * (tip - start)
        style = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour}
        axis.text(*place, letter, color=colour, fontsize=8, ha="center", va="center", bbox=style)


def draw_against(axis, true, found, *, xlabel="drawn", ylabel="found", title="", label="") -> None:
    """Found against true values (N,) as dots, and the diagonal on which both agree."""
    ends = np.array([min(np.min(true), np.min(found)), max(np.max(true), np.max(found))])
    axis.plot(ends, ends, color=GUIDE_COLOUR, linewidth=1)
    axis.scatter(true, found, s=12, alpha=0.7, label=label)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    if label:
        axis.legend(fontsize=8)


def draw_sequence(frames, columns: int, *, width: float = 1.6, titles=(), origin=None) -> Figure:
    """Frames (HxWx3 uint8 RGB) of a video side by side, as wide as `width` inches each."""
    rows, height = -(-len(frames) // columns), width * frames[0].shape[0] / frames[0].shape[1]
    figure, axes = new_figure(rows, columns, width=width, height=height + 0.25 * bool(titles))
    for number, (axis, frame) in enumerate(zip(np.atleast_1d(axes), frames, strict=False)):
        draw_image(axis, frame, origin=origin, title=titles[number] if titles else "")
    return figure
