"""Table and plot of benchmarks/peers from stored records, without the peers, images or weights."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import plots
from benchmarks import pages
from benchmarks.peers.fit import BoxFit, Fitted
from files import write_json
from training.metrics import METRICS, Measured, add_offset, ced, nme_per_face, percent, summarise
from training.records import load_record, same_figures

HERE = Path(__file__).parent
RECORDS = HERE / "records"
FITTED, SPEED = RECORDS / "fitted.npz", RECORDS / "speed.json"
REQUIREMENTS = HERE / "requirements.txt"
SPLITS = ("identity", "official")
#: record -> (its name in the table, its input); checkpoints come after these
PEERS = {
    "dlib-detector": ("dlib", "its own face detector"),
    "dlib-box": ("dlib", "box from labels"),
    "mediapipe-whole": ("MediaPipe", "whole image"),
    "mediapipe-crop": ("MediaPipe", "crop from labels"),
    "mediapipe-ridge": ("MediaPipe + ridge map", "crop from labels"),
}
TIMED = {
    "dlib:box": "dlib's 68-point predictor, one call (box given)",
    "dlib:detector": "dlib's face detector (image enlarged once) and predictor",
    "mediapipe:tracked": "MediaPipe, crop and mesh (as in a video, without its face detector)",
    "mediapipe:static": "MediaPipe, crop, face detector and mesh",
    "ridge": "the same, and the ridge map",
}
RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "onnx-int8": "ONNX Runtime, 8 bit"}
COLUMNS = ("nme", "inner_51", "nme_median", "auc_8", "fr_10")
KINDS = ("as_given", "without_offset")


def all_figures(predicted: np.ndarray, true: np.ndarray, identities, offset: np.ndarray) -> dict:
    """The figures of a record: as the method answers, and without its mean offset per point.

    Each has those of `summarise`, and inner_51, the NME of the points without the jaw.
    """
    figures = {}
    for kind, points in zip(KINDS, (predicted, add_offset(predicted, offset)), strict=True):
        inner = Measured(points, true).inner_51
        figures[kind] = summarise(points, true, identities) | {"inner_51": inner}
    return figures


def renew_figures(path: Path) -> bool:
    """Compute the figures of a record again from its points; True if that changed the file."""
    row, arrays = load_record(path.with_name(path.name.removesuffix(".json")))
    arguments = (arrays["predicted"], arrays["true"], arrays["identities"], np.array(row["offset"]))
    figures = all_figures(*arguments)
    if same_figures({kind: row[kind] for kind in KINDS}, figures):
        return False
    write_json(path, row | figures)
    return True


def records(split: str) -> dict[str, tuple[dict, dict]]:
    """method -> (row, arrays) of all stored records of a split, peers first."""
    stored = {}
    for path in sorted(RECORDS.glob(f"{split}-*.npz")):
        row, arrays = load_record(path.with_name(path.name.removesuffix(".npz")))
        stored[row["method"]] = (row, arrays)
    return {name: stored[name] for name in [*PEERS, *sorted(set(stored) - set(PEERS))] if name in stored}


def label(row: dict) -> tuple[str, str]:
    """(name, input) of a row in the table."""
    if row["method"] in PEERS:
        return PEERS[row["method"]]
    note = "" if row["runtime"] == "torch" else f" ({RUNTIMES[row['runtime']]})"
    return f"{row['checkpoint']}{note}", "whole image"


def error_table(split: str) -> str:
    """Each method as it answers, and without its mean offset per point (°), as Markdown."""
    shown = ["inner 51" if name == "inner_51" else METRICS[name].title for name in COLUMNS]
    columns = ["method", "input", "found", *shown, *(f"{name} °" for name in shown)]
    lines = []
    for row, _ in records(split).values():
        name, start = label(row)
        cells = [name + (" (leaks)" if row["leak"] else ""), start, percent(row["as_given"], "found")]
        lines.append(cells + [_cell(row[kind], column) for kind in KINDS for column in COLUMNS])
    return pages.markdown_table(columns, lines)


def _cell(figures: dict, column: str) -> str:
    return f"{100 * figures[column]:.2f}" if column == "inner_51" else percent(figures, column)


def speed_table(speed: dict) -> str:
    """Time by CPU and by clock, ratio to one call of dlib's predictor, memory, size, as Markdown."""
    rows = whole_times(speed["rows"])
    base = rows["dlib:box"]["cpu_ms"]
    columns = ["one face", "CPU ms", "clock ms", "x dlib's call", "memory, MB (of it libraries)", "files, MB"]
    lines = []
    for name, row in rows.items():
        memory = f"{row['libraries'] + row['work']:.0f} ({row['libraries']:.0f})"
        times = [f"{value:.2f}" for value in (row["cpu_ms"], row["wall_ms"], row["cpu_ms"] / base)]
        lines.append([timed_label(name), *times, memory, f"{sum(row['files'].values()) / 1e6:.1f}"])
    return pages.markdown_table(columns, lines)


def speed_sentence(speed: dict) -> str:
    """Our 8-bit networks against dlib and MediaPipe, each with the box given, as one sentence."""
    rows = whole_times(speed["rows"])
    dlib, mediapipe = rows["dlib:box"]["cpu_ms"], rows["mediapipe:tracked"]["cpu_ms"]
    parts = [
        f"`{name.partition(':')[0]}` in 8 bits takes {row['cpu_ms'] / dlib:.1f} times as long as dlib's "
        f"predictor and {row['cpu_ms'] / mediapipe:.1f} times as long as MediaPipe without its face detector"
        for name, row in rows.items()
        if name.endswith(":onnx-int8")
    ]
    return "; ".join(parts) + "." if parts else ""


def whole_times(rows: dict) -> dict[str, dict]:
    """Rows of the table in order; the crop is added to MediaPipe's times, and a row with the ridge map."""
    times = ("wall_ms", "cpu_ms")
    rows = {name: dict(row) for name, row in rows.items()}
    crop, ridge = rows.pop("crop"), rows.pop("ridge")
    for name in ("mediapipe:tracked", "mediapipe:static"):
        rows[name] |= {key: rows[name][key] + crop[key] for key in times}
    static = rows["mediapipe:static"]
    files = static["files"] | {FITTED.name: FITTED.stat().st_size}
    rows["ridge"] = static | {key: static[key] + ridge[key] for key in times} | {"files": files}
    return {name: rows[name] for name in [*TIMED, *(n for n in rows if n not in TIMED)]}


def timed_label(name: str) -> str:
    """The name of a timed row in the table."""
    if name in TIMED:
        return TIMED[name]
    checkpoint, runtime = name.split(":")
    return f"{checkpoint}, {RUNTIMES[runtime]} (box given; all crops and passes)"


def versions(names: Sequence[str] = ("MediaPipe", "dlib")) -> str:
    """The pinned versions of these peers, and of NumPy."""
    wanted = {"numpy", *map(str.lower, names)}
    lines = REQUIREMENTS.read_text().splitlines()
    pins = [line.partition("#")[0].strip() for line in lines]
    return ", ".join(pin.replace("==", " ") for pin in pins if pin.partition("=")[0] in wanted)


def draw() -> None:
    """The CED of every method: one row per split, left as it answers, right without its offset."""
    limits = np.linspace(0, 0.12, 241)
    found = {split: records(split) for split in SPLITS}
    figure, axes = plots.new_figure(2, 2, width=5.4, height=4.2)
    for row_of_axes, (split, stored) in zip(axes.reshape(2, 2), found.items(), strict=True):
        for axis, without in zip(row_of_axes, (False, True), strict=True):
            series = {}
            for row, arrays in stored.values():
                if row.get("runtime", "torch") != "torch":
                    continue  # its curve would lie on PyTorch's
                predicted = arrays["predicted"]
                if without:
                    predicted = add_offset(predicted, np.array(row["offset"]))
                errors = nme_per_face(predicted, arrays["true"])
                series[", ".join(label(row))] = (limits, ced(errors, limits))
            note = "mean offset per point removed" if without else "as each method answers"
            leak = " (leaks)" if split == "official" else ""
            plots.draw_ced(axis, series, f"{split}{leak}, {note}")
            axis.set_xlim(1, 100 * limits[-1])
            axis.legend(fontsize=7, loc="lower right")
    plots.write_figure(figure, HERE / "peers.png", dpi=90)


TEXT = """# Beside dlib and MediaPipe

**dlib and MediaPipe were not trained on these labels, ours were.** dlib's predictor was trained on hand-made
labels of other photos. MediaPipe's mesh has other points altogether. The columns with a ° are the fairer
comparison: there, each method's mean offset per point is removed. The offset was fitted on training images of
the 278 people of `identity` (for ours on every third image), in the frame of the face: its centre, its eye
line, its size. It does not remove what differs from face to face in these labels. `MediaPipe + ridge map` was
fitted to these labels, as ours were: a linear map from the 468 mesh points to the 68, from the same images.

Each method gets the input that suits it. dlib gets the box of its own face detector (the largest one; a
face that is not found counts as infinitely wrong in median, AUC and FR), and a square around the labels of
the size and place that its detector gives on average on training images ({box}). MediaPipe has a face
detector inside. It gets the whole image, and the square of 1.9 x the label box. Its 68 points are the mesh
points that lie nearest to the labels on training images. Ours get the whole image, and no label. Versions:
{versions}. dlib's predictor is the one in `face_recognition_models`; MediaPipe runs with the attention mesh
and a detection threshold of 0.2.

All figures are in percent. Brackets: 95 % interval over people. The NME is the mean over faces that were
found.

## `identity`: nobody here was trained on

{identity}

## `official`: ours and the ridge map leak

{official}

![Cumulative error distributions](peers.png)

{speed}"""

SPEED_TEXT = """## Time, memory, size

{faces} faces of `identity`, {rounds} rounds. The methods run in turn, each in a process of its own, all bound
to one CPU of {machine}. Medians of the third call on a face. *CPU* is the processor time of the process;
*clock* includes other work on the machine. Reading the image is not timed, nor is turning MediaPipe's answer
into an array. Memory is the most that the process needed beyond Python and NumPy, with its libraries.

{table}

A row with *box given* does not find the face. It compares with dlib's predictor and with MediaPipe without
its face detector, and not with rows that include a face detector. {sentence} What 8 bits cost in accuracy
is in the tables above and, point by point, in [runtimes](../runtimes/README.md).
"""


def box_in_words(box: BoxFit) -> str:
    """The square that dlib gets, in words."""
    sideways, down = 100 * box.shift_x / box.scale, 100 * box.shift_y / box.scale
    side = f"{box.scale:.2f} x the mean distance of the points\nto their centre"
    ways = f"{abs(sideways):.0f} % {'right' if sideways > 0 else 'left'} of it"
    return f"{side}, {ways} and {abs(down):.0f} % {'below' if down > 0 else 'above'}"


def write_page() -> None:
    """Write the page and its figure from stored records, after renewing the figures of these."""
    for path in sorted(RECORDS.glob("*-*.json")):
        renew_figures(path)
    speed, text = json.loads(SPEED.read_text()) if SPEED.is_file() else None, ""
    if speed:
        tables = {"table": speed_table(speed), "sentence": speed_sentence(speed)}
        text = SPEED_TEXT.format(**tables, **{name: speed[name] for name in ("faces", "rounds", "machine")})
    page = TEXT.format(
        box=box_in_words(Fitted.load(FITTED).box),
        versions=versions(),
        speed=text,
        **{split: error_table(split) for split in SPLITS},
    )
    pages.write_if_changed(HERE / "README.md", page)
    draw()
