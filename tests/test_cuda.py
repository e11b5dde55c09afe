"""On a CUDA device: a step of training, detection, and the same answers as on the CPU."""

import numpy as np
import pytest
import torch

from detector import KeypointDetector
from training.loop import train
from training.recipes import get_recipe

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_training_runs_on_the_device_and_its_checkpoint_on_the_cpu(sample_folder, tmp_path, sample_photo):
    recipe = get_recipe("heatmapnet_fast").override({"epochs": 2, "batch_size": 8, "labels": "raw"})
    run = train(recipe, sample_folder, split="official", run_folder=tmp_path / "run", progress=False)
    assert next(run.model.parameters()).is_cuda
    assert all(np.isfinite([row["loss"], row["nme"]]).all() for row in run.history)
    [face] = KeypointDetector.from_pretrained(tmp_path / "run" / "checkpoint")(
        sample_photo, boxes_xyxy=[[170, 50, 280, 160]]
    )
    assert np.isfinite(face.keypoints).all()


def test_a_run_goes_on_on_the_device(sample_folder, tmp_path):
    recipe = get_recipe("heatmapnet_fast").override({"epochs": 1, "batch_size": 8, "labels": "raw"})
    options = {"split": "official", "run_folder": tmp_path / "run", "progress": False}
    train(recipe, sample_folder, **options)
    (tmp_path / "run" / "checkpoint" / "config.json").unlink()
    again = train(recipe, sample_folder, resume=True, **options)
    assert len(again.history) == 1
    assert (tmp_path / "run" / "checkpoint" / "config.json").is_file()


@pytest.mark.parametrize("boxes", [None, [[170, 50, 280, 160]]])
def test_detection_agrees_with_the_cpu(sample_photo, boxes):
    on_cpu = KeypointDetector.from_pretrained()(sample_photo, boxes_xyxy=boxes)
    on_device = KeypointDetector.from_pretrained(device="cuda")(sample_photo, boxes_xyxy=boxes)
    assert len(on_cpu) == len(on_device) > 0
    for ours, theirs in zip(on_cpu, on_device, strict=True):
        # convolutions may run in TF32 there, with 10 bits of mantissa
        np.testing.assert_allclose(theirs.keypoints, ours.keypoints, atol=0.3)
        np.testing.assert_allclose(theirs.radius, ours.radius, rtol=0.05)
        assert theirs.confidence == pytest.approx(ours.confidence, abs=0.01)
