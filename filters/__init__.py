"""What is worn: sunglasses and the like, placed by the 68 keypoints.

`from filters import wear`, then `wear(image, faces[0].keypoints, "sunglasses")`.
"""

from filters.apply import apply_filter, apply_filter_to_faces, apply_filter_to_video, list_filters

__all__ = ["apply_filter", "apply_filter_to_faces", "apply_filter_to_video", "list_filters"]
