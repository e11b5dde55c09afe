"""A KeypointDetector without a checkpoint: its keypoints are a ring in the middle of each crop."""

from dataclasses import replace

import numpy as np

from checkpoint import ModelConfig
from detector import KeypointDetector
from detector.face_finders import FixedBoxes
from detector.predictor import Estimates

CONFIG = ModelConfig(model="stub", input_size=32, keypoint_mean=0.0, keypoint_std=1.0, passes=2)


def ring_network(batch: np.ndarray) -> Estimates:
    """68 points on a circle around the middle of the crop, its size by the crop's brightness."""
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False, dtype=np.float32)
    radius = 8 + 4 * batch.mean(axis=(1, 2, 3))[:, None]
    points = np.stack([np.cos(angles) * radius, np.sin(angles) * radius], axis=2) + 15.5
    confidence, radius = np.full(len(batch), 0.75), np.full((len(batch), 68), 1.5)
    return Estimates(points, confidence.astype(np.float32), radius.astype(np.float32))


def stub_detector(face_detector=None, *, passes: int = CONFIG.passes) -> KeypointDetector:
    """A detector that finds one face in the corner of each image, or those of a face detector."""
    face_detector = face_detector or FixedBoxes([[0, 0, 1, 1]])
    return KeypointDetector(ring_network, replace(CONFIG, passes=passes), face_detector)
