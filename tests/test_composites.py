"""Scenes for the face finder: targets by hand, repeatable random numbers, faces where the boxes are."""

import numpy as np
import pytest
import torch

from data_load import load_split
from geometry import box_iou
from training.composites import IGNORED, CompositeScenes, Scene, targets


@pytest.fixture(scope="module")
def scenes(sample_folder):
    dataset = load_split(sample_folder, "official", "train")
    return CompositeScenes(dataset, size=128, length=24, labels="raw")


def test_targets_by_hand():
    """A box of 32 px around the edges (36, 20): the centre of cell (4, 2)."""
    scene = Scene(np.zeros((64, 64), np.uint8), np.zeros((64, 64), bool), [np.array([20.0, 4, 52, 36])])
    heat, box, weight = targets(scene)
    assert heat.shape == (8, 8)
    assert heat[2, 4] == 1
    assert (heat < 1).sum() == 63
    # cell (4, 2) is centred at the edges (36, 20)
    torch.testing.assert_close(box[:, 2, 4], torch.tensor([0.0, 0.0, np.log(4)], dtype=torch.float32))
    torch.testing.assert_close(box[:2, 1, 5], torch.tensor([-1.0, 1.0]))
    spread = 0.6  # cells, the smallest
    assert heat[2, 5].item() == pytest.approx(np.exp(-1 / (2 * spread**2)), abs=1e-6)
    assert weight[2, 4] == 1
    assert weight[2, 6] == 0


def test_cells_that_may_show_an_unlabelled_face_are_ignored_except_near_a_face():
    unknown = np.zeros((64, 64), bool)
    unknown[:, 32:] = True
    heat, _, _ = targets(Scene(np.zeros((64, 64), np.uint8), unknown, [np.array([20.0, 4, 52, 36])]))
    assert heat[2, 4] == 1
    assert heat[7, 7] == IGNORED
    assert heat[7, 0] >= 0


def test_scenes_depend_on_seed_epoch_and_index_alone(scenes):
    first, again = scenes[3], scenes[3]
    assert all(torch.equal(first[name], again[name]) for name in first)
    scenes.epoch = 1
    other = scenes[3]
    scenes.epoch = 0
    assert not torch.equal(first["image"], other["image"])
    assert first["image"].shape == (1, 128, 128)
    assert 0 <= first["image"].min() <= first["image"].max() <= 1


def test_scenes_without_faces_have_none(scenes):
    empty = scenes.without_faces(5)
    assert len(empty) == 5
    assert all(empty[index]["heat"].max() <= 0 for index in range(5))
    assert max(scenes[index]["heat"].max() for index in range(8)) == 1


def test_pasted_faces_hardly_overlap_and_their_centres_are_in_the_scene(scenes):
    counts = []
    for index in range(24):
        boxes = scenes.scene(np.random.default_rng(index)).boxes
        counts.append(len(boxes))
        for number, box in enumerate(boxes):
            assert 0 <= (box[0] + box[2]) / 2 <= 128
            assert 0 <= (box[1] + box[3]) / 2 <= 128
            assert all(box_iou(box, other) < 0.3 for other in boxes[:number])
    assert max(counts) > 3
    assert min(counts) == 0
