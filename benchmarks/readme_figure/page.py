"""The picture at the top of the README, from the two sample photos:

python -m benchmarks.readme_figure.page
"""

from pathlib import Path

import plots
from data_load import sample_photos
from detector import KeypointDetector
from filters import apply_filter
from geometry import crop_matrix, transform_points, warp

SIZE = 420
CENTRES = {"astronaut": ((228, 130), 270), "hopper": ((262, 205), 400)}


def main() -> None:
    """Keypoints on the left, sunglasses on the right, for each photo."""
    detector = KeypointDetector.from_pretrained()
    figure, axes = plots.new_figure(1, 4, width=3, height=3)
    for number, (name, photo) in enumerate(sample_photos().items()):
        keypoints = detector(photo)[0].keypoints
        matrix = crop_matrix(*CENTRES[name], SIZE)
        plain, worn = (warp(image, matrix, (SIZE, SIZE)) for image in (photo, apply_filter(photo, keypoints)))
        points = transform_points(keypoints, matrix)
        plots.draw_face(axes[2 * number], plain, predicted=points, origin="sample photo", size=12)
        plots.draw_image(axes[2 * number + 1], worn, origin="sample photo")
    Path(__file__).with_name("readme_figure.png").write_bytes(plots.figure_png(figure, dpi=80))


if __name__ == "__main__":
    main()
