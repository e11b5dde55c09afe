"""The warning about training crops that do not fit the passes afterwards."""

import warnings

import numpy as np
import pytest

import train as train_py
from data_load import FacialKeypointsDataset
from files import cv2
from training.crops import crop_problem, trained_scales, whole_image_scale
from training.loop import train
from training.recipes import RECIPES, get_recipe

WHOLE = 2.6  # of the data set


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_fit(name):
    assert crop_problem(RECIPES[name], WHOLE) == ""


def test_scales_by_hand():
    recipe = get_recipe("heatmapnet").override({"augmentation.scale": 0, "crop_scale": 1.5})
    assert trained_scales(recipe, WHOLE) == (1.5, 4.5)  # wide crops are up to 3 times as large
    assert trained_scales(recipe.override({"augmentation.wide_crop_prob": 0}), WHOLE) == (1.5, 1.5)
    assert trained_scales(recipe.override({"augmentation.scale": 0.5}), WHOLE)[0] == pytest.approx(1.5 / np.e)
    whole = recipe.override({"crop_mode": "whole", "augmentation.wide_crop_prob": 0})
    assert trained_scales(whole, WHOLE) == (2.6, 2.6)
    classic = whole.override({"crop_mode": "classic"})
    assert trained_scales(classic, WHOLE) == pytest.approx((2.6 * 224 / 250,) * 2)


def test_face_crops_alone_do_not_fit_whole_images():
    narrow = get_recipe("heatmapnet").override({"augmentation.wide_crop_prob": 0, "passes": 1})
    problem = crop_problem(narrow, WHOLE)
    assert "whole images (whole_view=letterbox: 2.6 times the face)" in problem
    assert problem.endswith(
        "Set augmentation.wide_crop_prob=0.33 and augmentation.wide_crop_range=1.2,3 and passes=2"
    )
    assert crop_problem(narrow, 1.5) == ""  # images that are face crops already


def test_whole_images_alone_do_not_fit_crops():
    recipe = get_recipe("heatmapnet").override({"crop_mode": "whole", "augmentation.wide_crop_prob": 0})
    problem = crop_problem(recipe, WHOLE)
    assert "boxes of a face finder (box_scale=1.6: 1.8 times" not in problem
    assert "crops around keypoints (crop_scale=1.35: 1.4 times the face)" in problem
    assert "Set crop_scale=2.6, or else crop_mode=face" in problem


@pytest.mark.parametrize("name", ["heatmapnet", "naimishnet"])
@pytest.mark.parametrize(
    "changes", [{"augmentation.wide_crop_prob": 0, "crop_scale": 1.2}, {"crop_scale": 6}]
)
def test_what_a_warning_says_to_set_ends_it(name, changes):
    recipe = get_recipe(name).override(changes)
    _, _, remedy = crop_problem(recipe, WHOLE).partition("Set ")
    fixed = recipe.override(dict(part.split("=") for part in remedy.split(" and ")))
    assert remedy
    assert crop_problem(fixed, WHOLE) == ""


def test_the_scale_of_whole_images_by_hand(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 50, 3), np.uint8))
    keypoints = np.full((1, 68, 2), 20, np.float32)
    keypoints[0, 0] = (20, 40)  # 20 pixels high
    dataset = FacialKeypointsDataset.from_paths([tmp_path / "a.png"], keypoints)
    assert whole_image_scale(dataset, [0]) == pytest.approx(5, rel=0.1)


def test_train_py_prints_our_warnings_without_a_line_of_code():
    text = train_py.one_line_warning("set passes=2", UserWarning, "training/loop.py", 1)
    assert text == "train.py: warning: set passes=2\n"
    assert "loop.py:1: FutureWarning: old" in train_py.one_line_warning("old", FutureWarning, "loop.py", 1)


def test_training_warns_once_and_before_the_first_epoch(sample_folder, tmp_path):
    small = {"input_size": 32, "batch_size": 16, "epochs": 1, "model_args.width": 8}
    recipe = get_recipe("heatmapnet").override(small)
    options = {"trained_on": "sample", "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(recipe, sample_folder, run_folder=tmp_path / "a", **options)
    recipe = recipe.override({"augmentation.wide_crop_prob": 0, "crop_scale": 1.0, "batch_size": 5000})
    with (
        pytest.warns(UserWarning, match=r"passes will also be given .* Set augmentation.wide_crop_prob"),
        pytest.raises(RuntimeError, match="fewer than one batch"),
    ):
        train(recipe, sample_folder, run_folder=tmp_path / "b", **options)
