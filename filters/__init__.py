"""Filters: sunglasses and other drawings, placed on a face by its 68 keypoints.

from filters import apply_filter
image = apply_filter(image, faces[0].keypoints, "sunglasses")
"""

from filters.apply import apply_filter, apply_filter_to_faces, apply_filter_to_video, list_filters

__all__ = ["apply_filter", "apply_filter_to_faces", "apply_filter_to_video", "list_filters"]
