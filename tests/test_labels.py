"""The shift of the labels, and the pseudo-labels."""

import csv
from pathlib import Path

import numpy as np
import pytest

from checkpoint import ModelConfig
from data_load import (
    IBUG_LABELS_FILE,
    LABEL_OFFSET,
    PSEUDO_LABELS_FILE,
    LabelMap,
    blend,
    labels_in_scheme,
    load_split,
    shift_keypoints,
    to_labels,
    training_labels,
)
from geometry import FaceFrame, flip_keypoints, interocular_distance
from landmarks import GROUPS, OUTER_EYE_CORNERS
from sample_faces import canonical_head
from training.metrics import nme_per_face

ROOT = Path(__file__).parent.parent


class Labelled:
    """The part of a data set that training_labels reads."""

    def __init__(self, names, keypoints):
        self.paths = [Path("training") / name for name in names]
        self.keypoints = keypoints


def stored(file=PSEUDO_LABELS_FILE):
    with np.load(file, allow_pickle=False) as file:
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


def test_ibug_labels_are_moved_and_blended_but_for_eyes_and_lips():
    names, pseudo = stored(IBUG_LABELS_FILE)
    dataset = Labelled(names[:3], pseudo[:3] + np.float32(2))
    moved = LabelMap.load().to_ibug(training_labels(dataset, "debiased"))
    half = training_labels(dataset, "ibug", 0.5)
    jaw, eye = list(GROUPS["jaw"]), list(GROUPS["right_eye"])
    np.testing.assert_allclose(half[:, jaw], (moved + pseudo[:3])[:, jaw] / 2, atol=1e-3)
    np.testing.assert_allclose(half[:, eye], pseudo[:3, eye], atol=1e-3)  # labels hardly show open eyes


def test_rows_are_found_by_name_not_by_place():
    names, pseudo = stored()
    dataset = Labelled([names[7], names[2]], np.zeros((2, 68, 2), np.float32))
    np.testing.assert_array_equal(training_labels(dataset, "blended", 1.0), pseudo[[7, 2]])


def test_errors_say_what_to_do():
    names, pseudo = stored()
    with pytest.raises(ValueError, match="one of raw, debiased, blended, ibug, got 'refined'"):
        training_labels(Labelled(names[:1], pseudo[:1]), "refined")
    with pytest.raises(ValueError, match=r"no pseudo-labels of 1 images \(nobody_1.jpg\)"):
        training_labels(Labelled(["nobody_1.jpg"], pseudo[:1]), "blended")
    test_image = Labelled(names[:1], pseudo[:1])
    test_image.paths = [Path("test") / names[0]]  # the same name exists there, with another picture
    with pytest.raises(ValueError, match="no pseudo-labels of 1 images"):
        training_labels(test_image, "blended")


@pytest.mark.parametrize("path", [PSEUDO_LABELS_FILE, IBUG_LABELS_FILE])
def test_the_pseudo_labels_cover_the_training_images_and_no_others(path):
    with open(ROOT / "data" / "checksums.csv", newline="") as file:
        listed = {row[0] for row in csv.reader(file)}
    names, pseudo = stored(path)
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


def test_ibug_labels_lie_elsewhere_and_the_map_brings_them_to_the_labels(real_data):
    dataset = load_split(real_data, "official", "train")
    ibug = training_labels(dataset, "ibug")
    config = ModelConfig(model="x", input_size=96, scheme="ibug", label_offset=LABEL_OFFSET)
    before = nme_per_face(ibug, training_labels(dataset, "debiased"))
    after = nme_per_face(to_labels(ibug, config), dataset.keypoints)
    assert 0.03 < np.median(before) < 0.08
    assert np.median(after) < 0.6 * np.median(before)


# --- where labels lie ---------------------------------------------------------------------------


def heads(count=300, seed=0):
    """Faces (N, 68, 2) px of random shape, size, roll and place."""
    rng = np.random.default_rng(seed)
    shape = canonical_head()[:, :2]
    shape = 50 * (shape - shape.mean(axis=0)) / np.linalg.norm(shape, axis=1).mean()
    faces = []
    for _ in range(count):
        angle, size = rng.normal(0, 0.3), rng.uniform(0.5, 2)
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        faces.append((shape + rng.normal(0, 2, shape.shape)) @ turn.T + rng.uniform(0, 300, 2))
    return np.stack(faces).astype(np.float32)


def test_label_map_finds_a_constant_offset_in_the_frame_of_the_face():
    labels = heads()
    offset = np.zeros((68, 2))
    offset[:, 1] = -0.05  # up, along the face, whatever its roll
    ibug = labels + FaceFrame.of(labels).turn_out_of(offset)
    fitted = LabelMap.fit(labels, ibug)
    np.testing.assert_allclose(fitted.offset, offset, atol=1e-3)
    np.testing.assert_allclose(fitted.to_ibug(labels), ibug, atol=0.1)
    np.testing.assert_allclose(fitted.to_labels(ibug), labels, atol=0.1)


def test_label_map_learns_what_depends_on_the_shape_and_is_symmetric():
    ibug = heads()
    frame = FaceFrame.of(ibug)
    shapes = frame.into(ibug)
    steps = np.zeros_like(shapes)
    steps[:, :, 1] = 0.3 * (shapes[:, [30], 1] - shapes[:, [8], 1])  # by how far the nose is from the chin
    labels = ibug + frame.turn_out_of(steps)
    fitted = LabelMap.fit(labels, ibug, strength=1e-3)
    unit = frame.unit[:, None]
    assert np.median(np.linalg.norm(fitted.to_labels(ibug) - labels, axis=2) / unit) < 0.005
    assert np.median(np.linalg.norm(ibug - labels, axis=2) / unit) > 0.1
    flipped = flip_keypoints(ibug[:1], 500)
    np.testing.assert_allclose(
        fitted.to_labels(flipped), flip_keypoints(fitted.to_labels(ibug[:1]), 500), atol=0.05
    )


def test_only_the_ibug_scheme_uses_the_map_and_a_missing_face_stays_missing():
    faces = heads(3)
    as_labels = ModelConfig(model="x", input_size=96, label_offset=(0.1, 0.0))
    np.testing.assert_array_equal(to_labels(faces, as_labels), shift_keypoints(faces, (0.1, 0.0)))
    placed = ModelConfig(model="x", input_size=96, label_offset=(0.1, 0.0), scheme="ibug")
    moved = shift_keypoints(LabelMap.load().to_labels(faces), (0.1, 0.0))
    np.testing.assert_array_equal(to_labels(faces, placed), moved)
    faces[1] = np.nan
    again = to_labels(faces, placed)
    assert np.isnan(again[1]).all()
    np.testing.assert_array_equal(again[[0, 2]], moved[[0, 2]])


def test_labels_in_the_scheme_of_a_network():
    dataset = Labelled([], heads(2))
    plain = ModelConfig(model="x", input_size=96)
    np.testing.assert_array_equal(labels_in_scheme(dataset, plain), dataset.keypoints)
    placed = ModelConfig(model="x", input_size=96, label_offset=LABEL_OFFSET, scheme="ibug")
    debiased = shift_keypoints(dataset.keypoints, [-v for v in LABEL_OFFSET])
    np.testing.assert_allclose(labels_in_scheme(dataset, placed), LabelMap.load().to_ibug(debiased))


def test_blend_by_hand():
    moved, pseudo = np.zeros((1, 68, 2), np.float32), np.ones((1, 68, 2), np.float32)
    mixed = blend(moved, pseudo, 0.25)
    assert (mixed[0, list(GROUPS["jaw"])] == 0.25).all()
    assert (mixed[0, list(GROUPS["inner_lips"])] == 1).all()
