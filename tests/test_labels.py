"""The shift of the labels, and the pseudo-labels."""

import csv
from pathlib import Path

import numpy as np
import pytest

from data_load import LABEL_OFFSET, PSEUDO_LABELS_FILE, load_split, shift_keypoints, training_labels
from geometry import interocular_distance
from landmarks import OUTER_EYE_CORNERS

ROOT = Path(__file__).parent.parent


class Labelled:
    """The part of a data set that training_labels reads."""

    def __init__(self, names, keypoints):
        self.paths = [Path("training") / name for name in names]
        self.keypoints = keypoints


def stored():
    with np.load(PSEUDO_LABELS_FILE, allow_pickle=False) as file:
        return [str(name) for name in file["names"]], file["keypoints"].astype(np.float32) / 100


def face(eye_distance):
    keypoints = np.arange(136, dtype=np.float32).reshape(68, 2)
    right, left = OUTER_EYE_CORNERS
    keypoints[right], keypoints[left] = (10, 20), (10 + 0.6 * eye_distance, 20 + 0.8 * eye_distance)
    return keypoints


def test_shift_by_hand():
    two = np.stack([face(50), face(100)])
    np.testing.assert_allclose(interocular_distance(two), [50, 100], rtol=1e-6)
    moved = shift_keypoints(two, (0.1, -0.2))
    np.testing.assert_allclose(moved[0] - two[0], np.tile([5, -10], (68, 1)), atol=1e-4)
    np.testing.assert_allclose(moved[1] - two[1], np.tile([10, -20], (68, 1)), atol=1e-4)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(shift_keypoints(moved, (-0.1, 0.2)), two, atol=1e-4)


def test_debiased_labels_lie_to_the_left_and_share_goes_from_there_to_the_pseudo_labels():
    names, pseudo = stored()
    dataset = Labelled(names[:3], pseudo[:3] + np.float32(2))
    assert training_labels(dataset, "raw") is dataset.keypoints
    debiased = training_labels(dataset, "debiased")
    np.testing.assert_allclose(shift_keypoints(debiased, LABEL_OFFSET), dataset.keypoints, atol=1e-3)
    assert (debiased[..., 0] < dataset.keypoints[..., 0]).all()
    np.testing.assert_allclose(training_labels(dataset, "blended", 0.0), debiased, atol=1e-4)
    np.testing.assert_allclose(training_labels(dataset, "blended", 1.0), pseudo[:3], atol=1e-4)
    half = training_labels(dataset, "blended", 0.5)
    np.testing.assert_allclose(half, (debiased + pseudo[:3]) / 2, atol=1e-4)


def test_rows_are_found_by_name_not_by_place():
    names, pseudo = stored()
    dataset = Labelled([names[7], names[2]], np.zeros((2, 68, 2), np.float32))
    np.testing.assert_array_equal(training_labels(dataset, "blended", 1.0), pseudo[[7, 2]])


def test_errors_say_what_to_do():
    names, pseudo = stored()
    with pytest.raises(ValueError, match="one of raw, debiased, blended, got 'refined'"):
        training_labels(Labelled(names[:1], pseudo[:1]), "refined")
    with pytest.raises(ValueError, match=r"no pseudo-labels of 1 images \(nobody_1.jpg\)"):
        training_labels(Labelled(["nobody_1.jpg"], pseudo[:1]), "blended")
    test_image = Labelled(names[:1], pseudo[:1])
    test_image.paths = [Path("test") / names[0]]  # the same name exists there, with another picture
    with pytest.raises(ValueError, match="no pseudo-labels of 1 images"):
        training_labels(test_image, "blended")


def test_the_pseudo_labels_cover_the_training_images_and_no_others():
    with open(ROOT / "data" / "checksums.csv", newline="") as file:
        listed = {row[0] for row in csv.reader(file)}
    names, pseudo = stored()
    assert len(names) == len(set(names)) == 3462
    assert {f"training/{name}" for name in names} <= listed
    assert np.isfinite(pseudo).all()


def test_the_pseudo_labels_agree_with_the_labels(real_data):
    dataset = load_split(real_data, "official", "train")
    pseudo = training_labels(dataset, "blended", 1.0)
    debiased = training_labels(dataset, "debiased")
    scale = interocular_distance(dataset.keypoints)
    error = np.linalg.norm(pseudo - debiased, axis=-1).mean(axis=1) / scale
    assert 0.02 < np.median(error) < 0.05  # neither a copy of the labels nor far from them
    assert abs(np.median(pseudo[..., 0] - debiased[..., 0])) / np.median(scale) < 0.005  # and not shifted
