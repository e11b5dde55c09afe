"""From an image to 68 keypoints per face.

from detector import KeypointDetector
detector = KeypointDetector.from_pretrained()
faces = detector("photo.jpg")
"""

from detector.face_finders import (
    FixedBoxes,
    HaarFaceDetector,
    MultiCascadeDetector,
    NetworkFaceFinder,
    ReducedSearch,
    YuNetFaceDetector,
)
from detector.predictor import DEFAULT_CHECKPOINT, Face, KeypointDetector, predict_keypoints
from detector.results import faces_to_supervision

#: The release of this repository. CHANGELOG.md says what changed, and what stays as it is.
__version__ = "0.3.0"

__all__ = [
    "DEFAULT_CHECKPOINT",
    "Face",
    "FixedBoxes",
    "HaarFaceDetector",
    "KeypointDetector",
    "MultiCascadeDetector",
    "NetworkFaceFinder",
    "ReducedSearch",
    "YuNetFaceDetector",
    "__version__",
    "faces_to_supervision",
    "predict_keypoints",
]
