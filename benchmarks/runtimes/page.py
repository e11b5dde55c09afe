"""The same network in PyTorch, in ONNX Runtime and in ONNX Runtime with 8 bits: differences of the keypoints.

    python -m benchmarks.runtimes.page              # writes README.md from the records
    python -m benchmarks.runtimes.page --measure    # measures first; needs the data, 15 minutes

Every checkpoint in saved_models/ that has ONNX files, on the test images of the split it was trained for,
given whole images. Speed: benchmarks/speed and benchmarks/detecting.
"""

import json
from pathlib import Path

import numpy as np

from benchmarks import pages
from checkpoint import load_checkpoint, shipped_networks
from data_fetch import data_checksum
from detector.predictor import RUNTIMES, OnnxRuntime
from files import write_json
from training.evaluation import CheckpointPredictor, evaluate
from training.metrics import point_errors
from training.records import is_current, provenance, sha256_of

HERE = Path(__file__).parent
RECORDS = HERE / "records"
INT8 = "onnx-int8"


def measure(data) -> None:
    """Write a record for each checkpoint with ONNX files."""
    for folder in (path for path in shipped_networks() if (path / RUNTIMES["onnx"]).is_file()):
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
    return rows


def _files_are_those_of(record: dict, folder: Path) -> bool:
    return all(sha256_of(folder / row["file"]) == row["sha256"] for row in record["rows"].values())


# --- page -----------------------------------------------------------------------------------------


def load_rows() -> dict[str, dict[str, dict]]:
    """checkpoint -> runtime -> its figures."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))]
    return {record["checkpoint"]: record["rows"] for record in records}


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

**The 8-bit file gives similar keypoints, not the same.** Half of the points move by more than
{low:.2f} to {high:.2f} px, depending on the checkpoint, single points by up to {int8_worst:.1f} px. The
NME rises by {rise_low:.3f} to {rise_high:.3f} percentage points.

Its weights have 7 bits. x86 processors without VNNI instructions add up products of 8-bit numbers in 16
bits; with weights of 8 bits the sums were cut off there, and the NME rose by up to 0.56 percentage points
(LOG.md).

An ONNX file makes the network faster: see [benchmarks/speed](../speed/README.md) for a whole photo and
[benchmarks/peers](../peers/README.md) for the network alone.
"""


def write_page() -> None:
    """Write README.md from the records."""
    rows = load_rows()
    onnx = [runtimes["onnx"] for runtimes in rows.values()]
    int8 = [runtimes[INT8] for runtimes in rows.values()]
    rises = [100 * (runtimes[INT8]["nme"] - runtimes["torch"]["nme"]) for runtimes in rows.values()]
    text = TEXT.format(
        table=table(rows),
        median=max(row["median_px"] for row in onnx), worst=max(row["max_px"] for row in onnx),
        low=min(row["median_px"] for row in int8), high=max(row["median_px"] for row in int8),
        int8_worst=max(row["max_px"] for row in int8), rise_low=min(rises), rise_high=max(rises),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
