"""The synthetic sample: drawn faces with exact keypoints, generated from a seed.

It replaces the YouTube Faces images on machines that have neither them nor a
network connection, so that the notebooks, the training and the tests run
everywhere. `write_sample` draws the images into a folder laid out like the real
data set; none is in the repository. Results on these faces are not valid for
photographs, and everything that shows them says so (`is_sample`).

Convention: images are (H, W, 3) uint8 RGB, keypoints (68, 2) float32 (x, y) in
pixels of that image, on the grid stated in `geometry.py`. The axes of
`canonical_head` and the signs of the angles are stated in `head.py`.
"""

from sample_faces.folder import IS_SAMPLE_MARKER, is_sample, write_sample
from sample_faces.frames import draw_face, draw_video
from sample_faces.head import canonical_head
from sample_faces.people import Identity, draw_identity

__all__ = [
    "IS_SAMPLE_MARKER",
    "Identity",
    "canonical_head",
    "draw_face",
    "draw_identity",
    "draw_video",
    "is_sample",
    "write_sample",
]
