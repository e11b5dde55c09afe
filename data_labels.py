"""What is known about the labels of this data set, and how training may use it.

    keypoints = training_labels(dataset, "refined", share=0.5)

**They lie too far right.** Train a network on images and mirrored images alike, so that
it cannot know left from right, and its answers lie 2.75 % of the inter-ocular distance
(about one pixel) to the left of the labels, on all points and all poses alike
(benchmarks/label_offset.md). That is no property of faces, so it is taken out of
the labels before training, and added to predictions only where they are
compared with labels of this data set. A mirror cannot show an error up or down.

**They are noisy.** `data/refined_keypoints.npz` holds a second opinion for each training
image: points of a public face mesh mapped to these 68 by a ridge regression that
never saw that person (benchmarks/refine_labels.py). Where both are averaged, wrong labels count half.
"""

from pathlib import Path

import numpy as np

from geometry import interocular_distance

#: (x, y) shift of the labels against what they mark, as a share of the inter-ocular distance.
LABEL_OFFSET = (0.0275, 0.0)
REFINED_FILE = Path(__file__).parent / "data" / "refined_keypoints.npz"
LABELS = ("given", "centred", "refined")


def shift_keypoints(keypoints: np.ndarray, offset_xy) -> np.ndarray:
    """Keypoints (..., 68, 2) moved by offset_xy times each face's inter-ocular distance."""
    step = interocular_distance(keypoints)[..., None, None] * np.asarray(offset_xy, dtype=np.float32)
    return (keypoints + step).astype(np.float32)


def training_labels(dataset, labels: str, share: float = 0.5) -> np.ndarray:
    """The keypoints (N, 68, 2) to train on, image pixels.

    labels: 'given' (as in the CSV), 'centred' (LABEL_OFFSET taken out) or 'refined'
        (centred, then `share` of the way to the second opinion).
    Raises ValueError for an unknown word, or an image of which there is no second opinion.
    """
    if labels not in LABELS:
        raise ValueError(f"labels must be one of {', '.join(LABELS)}, got {labels!r}")
    if labels == "given":
        return dataset.keypoints
    centred = shift_keypoints(dataset.keypoints, [-v for v in LABEL_OFFSET])
    if labels == "centred":
        return centred
    return centred + np.float32(share) * (_second_opinion(dataset.paths) - centred)


def _second_opinion(paths) -> np.ndarray:
    with np.load(REFINED_FILE, allow_pickle=False) as stored:
        row_of = {str(name): row for row, name in enumerate(stored["names"])}
        keypoints = stored["keypoints"].astype(np.float32) / 100
    unknown = [path.name for path in paths if path.parent.name != "training" or path.name not in row_of]
    if unknown:
        raise ValueError(
            f"{REFINED_FILE.name} has no second opinion on {len(unknown)} images ({', '.join(unknown[:3])}); "
            "it covers the training images of this data set. Use labels=centred, or labels=given"
        )
    return keypoints[[row_of[path.name] for path in paths]]
