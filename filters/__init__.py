"""Filters: glasses, make-up, a hat, a swapped face and more, placed on a face by its 68 keypoints.

from filters import create_filter, filter_names
image = create_filter("glasses")(image, faces)

from filters import apply_filter                              # the drawings of art/ alone, from keypoints
image = apply_filter(image, faces[0].keypoints, "sunglasses")
"""

from filters import drawn, make_up, rigid, swap, triggers, warps  # noqa: F401 (they register their filters)
from filters.apply import apply_filter, apply_filter_to_faces, apply_filter_to_video, list_filters
from filters.base import Filter, create_filter, filter_names, register
from filters.swap import Donor

__all__ = [
    "Donor",
    "Filter",
    "apply_filter",
    "apply_filter_to_faces",
    "apply_filter_to_video",
    "create_filter",
    "filter_names",
    "list_filters",
    "register",
]
