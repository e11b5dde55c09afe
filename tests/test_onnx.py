"""The ONNX files give the keypoints of the PyTorch network, for any batch size and on the test set."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import export_onnx
from checkpoint import (
    SAVED_MODELS,
    CheckpointError,
    ModelConfig,
    check_onnx,
    load_checkpoint,
    load_config,
    record_onnx,
    save_checkpoint,
    shipped_networks,
)
from data_load import background_photo, load_split
from detector import DEFAULT_CHECKPOINT, KeypointDetector
from detector.predictor import RUNTIMES, OnnxRuntime, TorchRuntime, predict
from files import write_json
from geometry import whole_image_matrix
from models import build_model
from training.uncertainty import TEST_SCENES, with_uncertainty
from training.visibility import with_visibility

ONNX_CHECKPOINTS = [folder.name for folder in shipped_networks() if (folder / "model.onnx").is_file()]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A checkpoint folder of a small network with both heads, with both ONNX files."""
    torch.manual_seed(0)
    config = ModelConfig(
        "heatmapnet", 64, {"width": 8}, keypoint_mean=31.5, keypoint_std=16.0, passes=2, flip_tta=True
    )
    model, config = with_uncertainty(build_model("heatmapnet", input_size=64, width=8).eval(), config)
    model, config = with_visibility(model, config)
    torch.nn.init.normal_(model.visibility.weight)
    folder = save_checkpoint(tmp_path_factory.mktemp("onnx") / "mine", model, config)
    export_onnx.export(model, folder / RUNTIMES["onnx"])
    batches = [np.random.default_rng(0).random((16, 1, 64, 64), dtype=np.float32)]
    export_onnx.quantize(folder / RUNTIMES["onnx"], batches, folder / RUNTIMES["onnx-int8"])
    for runtime in ("onnx", "onnx-int8"):
        record_onnx(folder / RUNTIMES[runtime])
    return folder


@pytest.mark.parametrize("count", [1, 2, 7])
def test_both_runtimes_agree(exported, count):
    model, _ = load_checkpoint(exported)
    batch = np.random.default_rng(count).random((count, 1, 64, 64), dtype=np.float32)
    ours, theirs = TorchRuntime(model)(batch), OnnxRuntime(exported / "model.onnx")(batch)
    for a, b, shape in zip(ours, theirs, [(count, 68, 2), (count,), *[(count, 68)] * 2], strict=True):
        assert a.shape == b.shape == shape
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["naimishnet", "heatmapnet"])
def test_a_network_without_heads_is_exported_with_unknown_estimates(tmp_path, name):
    """Two outputs that are one tensor would be one output of the file."""
    torch.manual_seed(0)
    model = build_model(name, input_size=32 if name == "heatmapnet" else 96).eval()
    config = ModelConfig(name, model.input_size)
    folder = save_checkpoint(tmp_path / "mine", model, config)
    export_onnx.export(model, folder / "model.onnx")
    record_onnx(folder / "model.onnx")
    batch = np.random.default_rng(0).random((2, 1, model.input_size, model.input_size), dtype=np.float32)
    answers = OnnxRuntime(folder / "model.onnx", config=load_config(folder))(batch)
    np.testing.assert_allclose(answers.keypoints, TorchRuntime(model)(batch).keypoints, atol=2e-5)
    assert all(np.isnan(values).all() for values in answers[1:])


def test_int8_is_smaller_and_near(exported):
    model, _ = load_checkpoint(exported)
    batch = np.random.default_rng(5).random((4, 1, 64, 64), dtype=np.float32)
    ours, theirs = TorchRuntime(model)(batch), OnnxRuntime(exported / "model-int8.onnx")(batch)
    assert 0 < np.abs(ours.keypoints - theirs.keypoints).max() < 0.05
    sizes = [(exported / RUNTIMES[runtime]).stat().st_size for runtime in ("onnx-int8", "onnx")]
    assert sizes[0] < 0.7 * sizes[1]


def test_half_weights_make_half_the_file_and_the_same_answers(exported, tmp_path):
    model, config = load_checkpoint(exported)
    save_checkpoint(tmp_path / "half", model, config, half=True)
    rounded, _ = load_checkpoint(tmp_path / "half")
    export_onnx.export(rounded, tmp_path / "half.onnx")
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * (exported / "model.onnx").stat().st_size
    batch = np.random.default_rng(6).random((3, 1, 64, 64), dtype=np.float32)
    for a, b in zip(TorchRuntime(rounded)(batch), OnnxRuntime(tmp_path / "half.onnx")(batch), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def test_files_say_nothing_of_the_machine_they_were_made_on(exported):
    root = str(export_onnx.Path(export_onnx.__file__).parent).encode()
    for runtime in ("onnx", "onnx-int8"):
        assert root not in (exported / RUNTIMES[runtime]).read_bytes()


def test_the_detector_runs_on_either(exported, sample_photo):
    boxes = [[170, 50, 280, 160], [10, 10, 200, 200]]
    torch_faces = KeypointDetector.from_pretrained(exported)(sample_photo, boxes_xyxy=boxes)
    onnx_faces = KeypointDetector.from_pretrained(exported, runtime="onnx")(sample_photo, boxes_xyxy=boxes)
    for a, b in zip(torch_faces, onnx_faces, strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.01)
        np.testing.assert_allclose(a.radius, b.radius, atol=0.01)
        np.testing.assert_allclose(a.visibility, b.visibility, atol=1e-3)
        assert a.confidence == pytest.approx(b.confidence, abs=1e-4)


def test_a_file_without_visibility_is_read_where_the_network_does_not_estimate_it(exported, tmp_path):
    """Files of release 0.2.0 have three outputs."""
    import onnx

    old = onnx.load(exported / "model.onnx")
    (output,) = [value for value in old.graph.output if value.name == "visibility"]
    old.graph.output.remove(output)
    onnx.save(old, tmp_path / "old.onnx")
    batch = np.random.default_rng(3).random((2, 1, 64, 64), dtype=np.float32)
    config = load_config(exported)
    without = replace(config, model_args={**config.model_args, "visibility": False}, onnx={})
    write_json(tmp_path / "config.json", without.to_dict())
    record_onnx(tmp_path / "old.onnx")
    answers = OnnxRuntime(tmp_path / "old.onnx", config=load_config(tmp_path))(batch)
    np.testing.assert_array_equal(answers.radius, OnnxRuntime(exported / "model.onnx")(batch).radius)
    assert np.isnan(answers.in_crops(config).visibility).all()
    write_json(
        tmp_path / "config.json", replace(load_config(tmp_path), model_args=config.model_args).to_dict()
    )
    with pytest.raises(CheckpointError, match="make it again"):
        OnnxRuntime(tmp_path / "old.onnx", config=load_config(tmp_path))


def test_errors_name_the_way_out(exported, tmp_path):
    with pytest.raises(ValueError, match="one of auto, torch, onnx, onnx-int8, got 'tensorrt'"):
        KeypointDetector.from_pretrained(exported, runtime="tensorrt")
    model, config = load_checkpoint(exported)
    save_checkpoint(tmp_path / "plain", model, config)
    with pytest.raises(CheckpointError, match=r"model.onnx is missing; make it: python export_onnx.py"):
        KeypointDetector.from_pretrained(tmp_path / "plain", runtime="onnx")


def test_a_failed_export_leaves_the_old_file(exported, monkeypatch):
    before = (exported / "model.onnx").read_bytes()

    def half_way(*_args, **_more):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch.onnx, "export", half_way)
    model, _ = load_checkpoint(exported)
    with pytest.raises(OSError, match="no space"):
        export_onnx.export(model, exported / "model.onnx")
    assert (exported / "model.onnx").read_bytes() == before
    assert not list(exported.glob(".*"))


def test_the_command_writes_a_file_that_belongs_to_the_config(exported, tmp_path, capsys):
    model, config = load_checkpoint(exported)
    folder = save_checkpoint(tmp_path / "mine", model, config)
    assert export_onnx.main([str(folder), "--only", "model.onnx"]) == 0
    assert "model.onnx: " in capsys.readouterr().out
    check_onnx(folder / "model.onnx", folder)
    assert list(load_config(folder).onnx) == ["model.onnx"]


def test_the_command_names_an_error_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export_onnx, "find_data", lambda: pytest.fail("the data were looked for"))
    assert export_onnx.main([str(tmp_path / "nothing")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("export_onnx.py: no checkpoint named")
    assert error.count("\n") == 1


def test_what_ships_has_its_onnx_files():
    assert DEFAULT_CHECKPOINT in ONNX_CHECKPOINTS


@pytest.mark.parametrize("name", ONNX_CHECKPOINTS)
def test_shipped_files_agree_over_the_test_set(name, real_data):
    model, config = load_checkpoint(name)
    dataset = load_split(real_data, "official", "test")
    # a quarter of the images for the default checkpoint and fewer for the others, to stay within seconds
    indices = range(0, len(dataset), 4 if name == DEFAULT_CHECKPOINT else 16)
    images = [dataset.image(index) for index in indices]
    starts = [whole_image_matrix(image.shape[:2], config.input_size, config.whole_view) for image in images]
    runtimes = TorchRuntime(model), OnnxRuntime(SAVED_MODELS / name / "model.onnx")
    ours, theirs = (predict(runtime, config, images, starts, passes=1) for runtime in runtimes)
    assert np.abs(ours.keypoints - theirs.keypoints).max() < 0.01
    assert np.abs(ours.confidence - theirs.confidence).max() < 1e-3
    # The second crop is cut and turned by the first answer, and OpenCV cuts in steps of 1/32 pixel: a
    # difference in the last bit tips a few of its samples into the next step.
    ours, theirs = (predict(runtime, config, images, starts).keypoints for runtime in runtimes)
    apart = np.abs(ours - theirs).max(axis=(1, 2))
    assert np.median(apart) < 0.01
    assert apart.max() < 0.1


@pytest.mark.parametrize("runtime", ["onnx", "onnx-int8"])
@pytest.mark.parametrize("name", ["heatmapnet", "heatmapnet-small"])
def test_no_face_is_reported_where_there_is_none(name, runtime):
    """With 8 bits, whatever was not among the images that set the ranges may look like a face."""
    detector = KeypointDetector.from_pretrained(name, runtime=runtime)
    detector.face_detector.min_score = 0.02
    for scene in TEST_SCENES:
        photo = background_photo(scene)
        assert len(detector.face_detector(photo)) > 5
        assert detector(photo) == []
