"""What is worn: sunglasses and the like, placed by the 68 keypoints.

`from filters import wear`, then `wear(image, faces[0].keypoints, "sunglasses")`.
"""

from filters.wear import list_filters, wear, wear_all, wear_video

__all__ = ["list_filters", "wear", "wear_all", "wear_video"]
