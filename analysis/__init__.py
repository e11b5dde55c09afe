"""Measures of a face from its keypoints: head pose, openings, blinks, alignment, hiding a face.

from analysis import align_face, blinks, blur_faces, eye_opening, head_pose
"""

from analysis.alignment import align_face, face_template, five_points
from analysis.head_pose import HeadPose, head_pose
from analysis.openings import blinks, brow_raise, eye_opening, mouth_opening
from analysis.privacy import blur_faces, face_outline

__all__ = [
    "HeadPose",
    "align_face",
    "blinks",
    "blur_faces",
    "brow_raise",
    "eye_opening",
    "face_outline",
    "face_template",
    "five_points",
    "head_pose",
    "mouth_opening",
]
