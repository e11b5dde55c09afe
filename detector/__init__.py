"""From any image to 68 keypoints on each face.

from detector import KeypointDetector
detector = KeypointDetector.from_pretrained()
faces = detector(image)
"""

from detector.haar import HaarFaceDetector
from detector.pipeline import DEFAULT_CHECKPOINT, Face, KeypointDetector, find_keypoints

__all__ = ["DEFAULT_CHECKPOINT", "Face", "HaarFaceDetector", "KeypointDetector", "find_keypoints"]
