"""publish.py: what is written, what is refused, and an upload to a hub on 127.0.0.1 that is loaded back."""

import json
import shutil

import numpy as np
import pytest
import yaml
from hub_server import NAME, hub_server  # noqa: F401 (a fixture)

import models
import publish
from checkpoint import ONNX_FILES, SAVED_MODELS, ModelConfig, load_config, save_checkpoint
from detector import KeypointDetector
from training.own_network import load_model_file
from training.recipes import get_recipe

SHIPPED = SAVED_MODELS / "heatmapnet-small-identity"


def metadata_of(folder) -> tuple[dict, str]:
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), text


NETWORK = """
import torch
from models import KeypointNetwork, register

@register("tiny_net")
class TinyNet(KeypointNetwork):
    def __init__(self, input_size=None):
        super().__init__(input_size)
        self.dense = torch.nn.Linear(self.input_size**2, 136)

    def _features(self, x):
        return self.dense(x.flatten(1))
"""


def test_what_is_uploaded_is_loaded_back_by_its_name(hub_server, sample_photo, capsys):  # noqa: F811
    assert publish.main([str(SHIPPED), NAME]) == 0
    assert capsys.readouterr().out.strip() == f"{hub_server.url}/{NAME}"
    names = {path.name for path in hub_server.folder.iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", *ONNX_FILES}
    for runtime in ("torch", "onnx", "onnx-int8"):
        ours = KeypointDetector.from_pretrained(str(SHIPPED), runtime=runtime)(sample_photo)
        theirs = KeypointDetector.from_pretrained(NAME, runtime=runtime)(sample_photo)
        np.testing.assert_array_equal(theirs[0].keypoints, ours[0].keypoints)


def test_the_card_has_the_metadata_of_the_hub_and_no_dead_link(tmp_path):
    assert publish.main(["heatmapnet-small-identity", NAME, "--dry-run", str(tmp_path / "out")]) == 0
    head, text = metadata_of(tmp_path / "out")
    assert head["license"] == "mit"
    assert head["pipeline_tag"] == "keypoint-detection"
    assert {"onnx", "safetensors", "ibug-68"} <= set(head["tags"])
    (result, *_) = head["model-index"][0]["results"]
    measured = load_config(SHIPPED).measured
    assert result["metrics"][0]["value"] == pytest.approx(
        100 * measured[result["dataset"]["split"]]["nme"], abs=0.005
    )
    assert f'from_pretrained("{NAME}")' in text
    assert "](../" not in text


def test_links_lead_to_the_source_where_it_is_named(tmp_path):
    source = "https://example.org/us/keypoints/blob/main"
    arguments = ["heatmapnet-small", NAME, "--dry-run", str(tmp_path / "out"), "--source", source]
    assert publish.main(arguments) == 0
    head, text = metadata_of(tmp_path / "out")
    assert f"]({source}/benchmarks/README.md)" in text
    assert "model-index" not in head  # figures that leak are no results


def test_a_network_of_one_s_own_gets_a_card(tmp_path):
    recipe = get_recipe("naimishnet")
    config = recipe.config(trained_on="own")
    save_checkpoint(tmp_path / "mine", recipe.build_model(), config)
    (tmp_path / "mine" / "history.csv").write_text("private")
    assert publish.main([str(tmp_path / "mine"), NAME, "--dry-run", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    head, text = metadata_of(tmp_path / "out")
    assert "the author's own images, from random weights" in text
    assert "**Network** `naimishnet` {'dropout': 0.2}." in text
    assert "datasets" not in head
    assert json.loads((tmp_path / "out" / "config.json").read_text())["trained_on"] == "own"


def test_the_card_of_a_network_from_a_file_says_how_to_load_it(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_REGISTRY", dict(models._REGISTRY))
    file = tmp_path / "my_net.py"
    file.write_text(NETWORK)
    load_model_file(file)
    config = ModelConfig("tiny_net", 96, trained_on="own", started_from="official", recipe="mine", images=30)
    folder = save_checkpoint(tmp_path / "mine", models.build_model("tiny_net"), config)
    options = ["--model-file", str(file), "--dry-run", str(tmp_path / "out")]
    assert publish.main([str(folder), NAME, *options]) == 0
    assert (tmp_path / "out" / "my_net.py").read_text() == NETWORK
    _, text = metadata_of(tmp_path / "out")
    assert 'load_model_file("my_net.py")' in text
    assert "**Trained on** 30 images: the author's own images, from weights that" in text


def test_what_cannot_be_published_is_refused(tmp_path, capsys):
    shutil.copytree(SHIPPED, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("private")
    for arguments, message in (
        ([str(tmp_path / "damaged"), NAME, "--dry-run", str(tmp_path / "a")], "model.safetensors"),
        ([str(SHIPPED), "faces", "--dry-run", str(tmp_path / "b")], "named OWNER/REPO"),
        ([str(SHIPPED), NAME, "--dry-run", str(tmp_path / "full")], "must be a new or empty folder"),
    ):
        assert publish.main(arguments) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_hub_that_refuses_is_reported_with_advice(hub_server, capsys):  # noqa: F811
    hub_server.refuse = 403
    assert publish.main([str(SHIPPED), NAME]) == 1
    error = capsys.readouterr().err
    assert "this token may not write" in error
    assert "hf auth login" in error
