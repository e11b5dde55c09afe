"""The same network by PyTorch, ONNX Runtime and ONNX Runtime with 8 bits: does it say the same?

    python -m benchmarks.runtimes.page

Every checkpoint in saved_models/ that has ONNX files, on the split it was made for, given whole images.
Writes benchmarks/runtimes/README.md; needs the data. How fast each is: benchmarks/peers/README.md.
"""

from pathlib import Path

import numpy as np

from benchmarks.peers.report import replace_file
from checkpoint import SAVED_MODELS, load_checkpoint
from data_fetch import find_data
from detector.predictor import RUNTIMES, OnnxRuntime
from training.evaluation import CheckpointPredictor, Evaluation, evaluate

PAGE = Path(__file__).with_name("README.md")


def measure(folder: Path, data_folder) -> dict[str, Evaluation]:
    """What each runtime gives for a checkpoint."""
    model, config = load_checkpoint(folder)
    networks = {"torch": model, **{r: OnnxRuntime(folder / RUNTIMES[r]) for r in RUNTIMES if r != "torch"}}
    return {
        runtime: evaluate(CheckpointPredictor(network, config), data_folder, config.trained_on, "whole")
        for runtime, network in networks.items()
    }


def row(folder: Path, runtime: str, result: Evaluation, torch_result: Evaluation) -> str:
    """One line of the table."""
    apart = np.linalg.norm(result.predicted - torch_result.predicted, axis=2)
    figures, file = result.figures, folder / RUNTIMES[runtime]
    errors = [f"{100 * figures[key]:.3f}" for key in ("nme", "fr_10")]
    distances = [f"{np.median(apart):.4f}", f"{apart.max():.3f}"] if runtime != "torch" else ["-", "-"]
    cells = [folder.name, runtime, f"`{file.name}`", f"{file.stat().st_size / 1e6:.1f}", *errors, *distances]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure all, write the page."""
    data = find_data().folder
    lines = []
    for folder in sorted(path.parent for path in SAVED_MODELS.glob(f"*/{RUNTIMES['onnx']}")):
        results = measure(folder, data)
        lines += [row(folder, runtime, result, results["torch"]) for runtime, result in results.items()]
    table = "\n".join(lines)
    text = f"""# One network, three runtimes

Written by `python -m benchmarks.runtimes.page`. Each checkpoint on the test images of the split it was made for,
whole images (`official` leaks). NME and FR@10 in percent; the last two columns are how far points lie from
PyTorch's, in pixels of the image: the median and the worst of all points.

| checkpoint | runtime | file | MB | NME | FR@10 | median px | worst px |
|---|---|---|---|---|---|---|---|
{table}

Given the same crop, both float runtimes agree to a ten-thousandth of a pixel (`tests/test_onnx.py`). The
second crop is cut around the first answer, in steps of 1/32 pixel, which can make more of a difference in the
last bit.
"""
    replace_file(PAGE, text.encode())


if __name__ == "__main__":
    main()
