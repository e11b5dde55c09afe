"""The drawings of `art/` as filters by name."""

from functools import partial

import numpy as np

from detector.predictor import Face
from filters.apply import list_filters, load_art, paint, placements
from filters.base import Filter, add_filter


class Drawing(Filter):
    """One of the drawings that `art/filters.json` places."""

    def __init__(self, name: str):
        self.name = name

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Paint its parts from back to front."""
        for art, matrix in placements(self.name, face.keypoints):
            paint(image, load_art(art), matrix)


for _name in list_filters():
    add_filter(_name, partial(Drawing, _name))
