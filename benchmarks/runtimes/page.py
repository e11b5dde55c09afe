"""The same network in PyTorch, in ONNX Runtime and in ONNX Runtime with 8 bits: differences of the keypoints.

    python -m benchmarks.runtimes.page              # writes README.md from the records
    python -m benchmarks.runtimes.page --measure    # measures first; needs the data, 15 minutes

Every checkpoint in saved_models/ that has ONNX files, on the test images of the split it was trained for,
given whole images. The results of the 8-bit file depend on the processor (`has_vnni`), so they are kept
for both kinds. Speed: benchmarks/peers and benchmarks/detecting.
"""

import json
import platform
from pathlib import Path

import numpy as np

from benchmarks import pages
from checkpoint import SAVED_MODELS, load_checkpoint
from data_fetch import data_checksum
from detector.predictor import RUNTIMES, OnnxRuntime
from files import write_json
from training.evaluation import CheckpointPredictor, evaluate
from training.metrics import point_errors
from training.records import is_current, provenance, sha256_of

HERE = Path(__file__).parent
RECORDS = HERE / "records"
#: 8-bit rows of an earlier page. Its processor was not recorded; the figures are those of exact sums.
WITH_VNNI = RECORDS / "int8_with_vnni.json"
INT8 = "onnx-int8"


def has_vnni() -> bool:
    """True if this processor adds up products of 8-bit numbers in 32 bits.

    x86 processors without the VNNI instructions do it in 16 bits, where the sums are cut off.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    info = Path("/proc/cpuinfo")
    return info.is_file() and "vnni" in info.read_text()


def measure(data) -> None:
    """Write a record for each checkpoint with ONNX files."""
    for folder in sorted(path.parent for path in SAVED_MODELS.glob(f"*/{RUNTIMES['onnx']}")):
        record = RECORDS / f"{folder.name}.json"
        if is_current(record) and _files_are_those_of(json.loads(record.read_text()), folder):
            continue
        about = provenance(
            "python -m benchmarks.runtimes.page --measure",
            checkpoint=folder,
            data=data_checksum(data.folder),
        )
        rows = measure_runtimes(folder, data.folder)
        write_json(record, {"checkpoint": folder.name, "rows": rows, "provenance": about})


class _KeepingPredictor(CheckpointPredictor):
    """Keeps the keypoints as they are; `Evaluation` rounds them to hundredths of a pixel."""

    def __init__(self, model, config):
        super().__init__(model, config)
        self.kept: list[np.ndarray] = []

    def predict(self, images, matrices) -> np.ndarray:
        self.kept.append(super().predict(images, matrices))
        return self.kept[-1]


def measure_runtimes(folder: Path, data_folder) -> dict[str, dict]:
    """runtime -> its file, figures, and distances of its keypoints from those of PyTorch in pixels."""
    model, config = load_checkpoint(folder)
    networks = {"torch": model, **{r: OnnxRuntime(folder / RUNTIMES[r]) for r in RUNTIMES if r != "torch"}}
    rows, keypoints = {}, {}
    for runtime, network in networks.items():
        predictor = _KeepingPredictor(network, config)
        evaluation = evaluate(predictor, data_folder, config.trained_on, "whole")
        keypoints[runtime] = np.concatenate(predictor.kept)
        distances = point_errors(keypoints[runtime], keypoints["torch"])
        file = folder / RUNTIMES[runtime]
        rows[runtime] = {
            "file": file.name,
            "sha256": sha256_of(file),
            "bytes": file.stat().st_size,
            "nme": evaluation.figures["nme"],
            "fr_10": evaluation.figures["fr_10"],
            "median_px": float(np.median(distances)),
            "max_px": float(distances.max()),
        }
        print(folder.name, runtime, rows[runtime], flush=True)
    rows[INT8]["vnni"] = has_vnni()
    return rows


def _files_are_those_of(record: dict, folder: Path) -> bool:
    return all(sha256_of(folder / row["file"]) == row["sha256"] for row in record["rows"].values())


# --- page -----------------------------------------------------------------------------------------


def load_rows() -> dict[str, dict[str, dict]]:
    """checkpoint -> name of a row in the table -> its figures."""
    older = json.loads(WITH_VNNI.read_text(encoding="utf-8"))["rows"]
    loaded = {}
    for path in sorted(path for path in RECORDS.glob("*.json") if path != WITH_VNNI):
        record = json.loads(path.read_text(encoding="utf-8"))
        checkpoint, rows = record["checkpoint"], dict(record["rows"])
        measured = rows.pop(INT8)
        int8 = {name_of(older[checkpoint]): older[checkpoint]} if checkpoint in older else {}
        loaded[checkpoint] = rows | int8 | {name_of(measured): measured}
    return loaded


def name_of(row: dict) -> str:
    """The name of an 8-bit row; the first records, measured without VNNI, do not say so."""
    return f"{INT8}, {'with' if row.get('vnni', False) else 'without'} VNNI"


def table(rows: dict[str, dict[str, dict]]) -> str:
    """Markdown: a line per checkpoint and runtime."""
    cells = []
    for checkpoint, runtimes in rows.items():
        for name, row in runtimes.items():
            distances = [f"{row['median_px']:.4f}", f"{row['max_px']:.3f}"]
            cells.append([
                checkpoint, name, f"`{row['file']}`", f"{row['bytes'] / 1e6:.1f}",
                f"{100 * row['nme']:.3f}", f"{100 * row['fr_10']:.3f}",
                *(distances if name != "torch" else ["-", "-"]),
            ])  # fmt: skip
    head = ["checkpoint", "runtime", "file", "MB", "NME", "FR@10", "median px", "worst px"]
    return pages.markdown_table(head, cells)


TEXT = """# One network, three runtimes

Written by `python -m benchmarks.runtimes.page`. Each checkpoint on the test images of the split it
was trained for, given whole images (`official` leaks). NME and FR@10 in percent. The last two columns
are the distances of the keypoints from those of PyTorch, in pixels of the image: the median and the
largest of all points.

{table}

**The float file gives the keypoints of PyTorch**: half of the points agree to {median:.4f} px, all to
{worst:.2f} px. Given the same crop, both agree to a ten-thousandth of a pixel
(`tests/test_onnx.py`). The crop of the second pass is placed by the first pass in steps of 1/32 px;
where the last digit of a keypoint decides between two steps, the difference is larger.
{with_vnni}{without_vnni}

An ONNX file makes the network faster, and much less so a photo, because most of the time of a photo
goes to the search for faces: see [benchmarks/peers](../peers/README.md) for the network and
[benchmarks/detecting](../detecting/README.md) for photos.
"""

WITH = """
**The 8-bit file gives similar keypoints, not the same.** Half of the points move by more than
{low:.2f} to {high:.2f} px, depending on the checkpoint, single points by up to {worst:.1f} px. The NME
rises by {rise_low:.3f} to {rise_high:.3f} percentage points.
"""

WITHOUT = """
**On x86 processors without VNNI instructions the 8-bit file must not be used.** There, ONNX Runtime
adds up products of 8-bit numbers in 16 bits, and sums that are too large are cut off. Single points
move by up to {worst:.0f} px. The NME rises by {rise_low:.2f} to {rise_high:.2f} percentage points. On
Linux, `grep -c vnni /proc/cpuinfo` prints 0 on such a processor. With the optimisations of ONNX
Runtime switched off, the same file is computed in floating point, and gives the figures of the rows
with VNNI (`heatmapnet-small-identity`: NME 4.568 %, worst point 8.049 px). Those rows are from an
earlier page, whose processor was not recorded."""


def int8_text(template: str, rows: dict[str, dict[str, dict]], *, vnni: bool) -> str:
    """A paragraph on the 8-bit file on one kind of processor; empty if it was not measured there."""
    pairs = [(runtimes.get(name_of({"vnni": vnni})), runtimes["torch"]) for runtimes in rows.values()]
    pairs = [(row, exact) for row, exact in pairs if row]
    if not pairs:
        return ""
    medians = [row["median_px"] for row, _ in pairs]
    rises = [100 * (row["nme"] - exact["nme"]) for row, exact in pairs]
    return template.format(
        low=min(medians), high=max(medians), worst=max(row["max_px"] for row, _ in pairs),
        rise_low=min(rises), rise_high=max(rises),
    )  # fmt: skip


def write_page() -> None:
    """Write README.md from the records."""
    rows = load_rows()
    onnx = [runtimes["onnx"] for runtimes in rows.values()]
    text = TEXT.format(
        table=table(rows),
        median=max(row["median_px"] for row in onnx), worst=max(row["max_px"] for row in onnx),
        with_vnni=int8_text(WITH, rows, vnni=True), without_vnni=int8_text(WITHOUT, rows, vnni=False),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
