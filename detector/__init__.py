"""From any image to 68 keypoints on each face.

from detector import KeypointDetector
detector = KeypointDetector.from_pretrained()
faces = detector(image)
"""

from detector.face_finders import HaarFaceDetector
from detector.predictor import DEFAULT_CHECKPOINT, Face, KeypointDetector, predict_keypoints

__all__ = ["DEFAULT_CHECKPOINT", "Face", "HaarFaceDetector", "KeypointDetector", "predict_keypoints"]
