"""The picture at the top of the README, from the two free photos:

    python benchmarks/readme_figure.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import plots
from data_files import free_photos
from detector import KeypointDetector
from filters import wear
from geometry import crop_matrix, transform_points, warp

SIZE = 420
CENTRES = {"astronaut": ((228, 130), 270), "hopper": ((262, 205), 400)}


def main() -> None:
    """Keypoints on the left, sunglasses on the right, for each photo."""
    detector = KeypointDetector.from_pretrained()
    figure, axes = plots.new_figure(1, 4, width=3, height=3)
    for number, (name, photo) in enumerate(free_photos().items()):
        keypoints = detector(photo)[0].keypoints
        matrix = crop_matrix(*CENTRES[name], SIZE)
        plain, worn = (warp(image, matrix, (SIZE, SIZE)) for image in (photo, wear(photo, keypoints)))
        points = transform_points(keypoints, matrix)
        plots.draw_face(axes[2 * number], plain, predicted=points, origin="free photo", size=12)
        plots.draw_image(axes[2 * number + 1], worn, origin="free photo")
    Path(__file__).with_suffix(".png").write_bytes(plots.figure_png(figure, dpi=80))


if __name__ == "__main__":
    main()
