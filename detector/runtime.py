"""What runs a network: PyTorch, or ONNX Runtime from the .onnx file beside the weights.

Both take a batch (N, 1, S, S) float32 and give `Estimates` in the network's own units;
they agree to 0.01 px (tests/test_onnx.py).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from landmarks import NUM_KEYPOINTS
from training.checkpoint import CheckpointError

ONNX_OUTPUTS = ("keypoints", "confidence", "radius")


class Estimates(NamedTuple):
    """Of N faces: keypoints (N, 68, 2) (x, y), confidence (N,) 0 to 1, radius (N, 68).

    Keypoints and radius are in one unit: that of the network, of the crop or of the image.
    Confidence and radius are NaN where the network does not estimate them.
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    radius: np.ndarray

    @classmethod
    def empty(cls, count: int) -> "Estimates":
        """For `count` faces, all NaN."""
        shapes = ((count, NUM_KEYPOINTS, 2), (count,), (count, NUM_KEYPOINTS))
        return cls(*(np.full(shape, np.nan, dtype=np.float32) for shape in shapes))


class TorchRuntime:
    """A PyTorch network; any module that returns (N, 68, 2) will do."""

    def __init__(self, model: torch.nn.Module):
        self.model = model.eval()

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray) -> Estimates:
        device = next(self.model.parameters()).device
        images = torch.from_numpy(batch).to(device)
        if not hasattr(self.model, "estimate"):
            keypoints = self.model(images).float().cpu().numpy()
            return Estimates.empty(len(batch))._replace(keypoints=keypoints)
        return Estimates(*(values.float().cpu().numpy() for values in self.model.estimate(images)))


class OnnxRuntime:
    """An .onnx file made by export_onnx.py; needs the package onnxruntime.

    threads: how many CPU threads one call may use; 0 leaves it to ONNX Runtime.
    """

    def __init__(self, path, threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                "runtime='onnx' needs ONNX Runtime: pip install onnxruntime, or use runtime='torch'"
            ) from error
        if not Path(path).is_file():
            raise CheckpointError(f"there is no {path}; make it: python export_onnx.py {Path(path).parent}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: np.ndarray) -> Estimates:
        return Estimates(*self.session.run(ONNX_OUTPUTS, {"images": batch}))
