"""One sweep over every registered network, and the write-ups' printed numbers."""

import pytest
import torch
from torch import nn

import models
from models import (
    HeatmapNet,
    KeypointNetwork,
    argument_names,
    build_model,
    check_model,
    count_macs,
    count_parameters,
    list_models,
    model_class,
    register,
    soft_argmax,
)

EVERY_MODEL = pytest.mark.parametrize("name", list_models())


def smallest(name: str, **kwargs) -> KeypointNetwork:
    """The network at its smallest size: quick, and the size itself is tested by the way."""
    torch.manual_seed(0)
    return build_model(name, input_size=model_class(name).min_size, **kwargs)


def images_for(model, count=4):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 1, model.input_size, model.input_size, generator=generator)


@EVERY_MODEL
def test_shape_finite_and_deterministic_in_eval(name):
    model = smallest(name).eval()
    with torch.no_grad():
        out = model(images_for(model))
        assert out.shape == (4, 68, 2)
        assert torch.isfinite(out).all()
        torch.testing.assert_close(model(images_for(model)), out, rtol=0, atol=0)
        one = model(images_for(model)[:1])
        torch.testing.assert_close(one, out[:1], rtol=1e-4, atol=1e-5)  # no image sees its neighbours


@EVERY_MODEL
def test_every_parameter_gets_a_gradient(name):
    model = smallest(name).train()
    model(images_for(model, 8)).square().mean().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@EVERY_MODEL
def test_fits_four_images(name):
    model = smallest(name, **({"width": 16} if name == "heatmapnet" else {})).train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    images = images_for(model)
    # inside the input: a heatmap cannot say what lies beyond its edge
    true = 2.4 * torch.rand(4, 68, 2, generator=torch.Generator().manual_seed(2)) - 1.2
    constant = (true - true.mean(dim=0)).square().mean().item()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss = torch.tensor(float("inf"))
    for _ in range(1000):
        loss = (model(images) - true).square().mean()
        if loss.item() < 0.01 * constant:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01 * constant


@EVERY_MODEL
def test_wrong_input_names_the_expected_shape(name):
    model = smallest(name)
    size = model.input_size
    for shape in [(1, 3, size, size), (1, 1, size + 1, size), (1, size, size)]:
        with pytest.raises(ValueError, match=rf"\(B, 1, {size}, {size}\), got"):
            model(torch.zeros(shape))


@EVERY_MODEL
def test_declares_its_sizes(name):
    model = model_class(name)
    assert model.min_size <= model.default_size
    with pytest.raises(ValueError, match=f"at least {model.min_size}, got {model.min_size - 1}"):
        build_model(name, input_size=model.min_size - 1)


@EVERY_MODEL
def test_smallest_size_is_the_smallest(name, monkeypatch):
    kind = model_class(name)
    size = kind.min_size - 1
    monkeypatch.setattr(kind, "min_size", 1)
    with pytest.raises((RuntimeError, ValueError, ZeroDivisionError)):
        build_model(name, input_size=size)(torch.zeros(2, 1, size, size))


@EVERY_MODEL
def test_seed_decides_the_weights(name):
    one, two = smallest(name), smallest(name)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_naimishnet_is_the_papers():
    model = build_model("naimishnet")
    layers = list(model.modules())
    convolutions = [m for m in layers if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, *c.kernel_size) for c in convolutions] == [
        (1, 32, 4, 4),
        (32, 64, 3, 3),
        (64, 128, 2, 2),
        (128, 256, 1, 1),
    ]
    dense = [m for m in layers if isinstance(m, nn.Linear)]
    assert [(d.in_features, d.out_features) for d in dense] == [(6400, 1000), (1000, 1000), (1000, 136)]
    assert [m.p for m in layers if isinstance(m, nn.Dropout)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert sum(isinstance(m, nn.ELU) for m in layers) == 5  # the second dense layer is linear
    # by hand: 544 + 18496 + 32896 + 33024 + 6401000 + 1001000 + 136136
    assert count_parameters(model) == 7_623_096


def test_writeup_000_as_printed():
    model = build_model("strided_cnn")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == [
        (1, 64, 5, 1),
        (64, 128, 4, 2),
        (128, 256, 4, 2),
        (256, 512, 3, 1),
    ]
    dense = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [(d.in_features, d.out_features) for d in dense] == [(2048, 1600), (1600, 800), (800, 136)]
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    norms = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert norms == [64, 128, 256, 512, 1600, 800]


def test_writeup_002_table():
    model = build_model("batch_norm_cnn")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]) for c in convolutions] == [
        (32, 5, 1, 0),
        (64, 5, 1, 0),
        (128, 3, 1, 0),
        (256, 3, 1, 0),
    ]
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.4]
    assert sum(isinstance(m, nn.Linear) for m in model.modules()) == 3


def test_writeup_004_as_printed():
    model = build_model("wide_dense_cnn")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == [
        (1, 32, 3),
        (32, 64, 3),
        (64, 128, 3),
        (128, 256, 3),
    ]
    dense = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [(d.in_features, d.out_features) for d in dense] == [(36864, 4000), (4000, 1000), (1000, 136)]
    norms = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert norms == [32, 64, 128, 256, 4000, 1000]
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.4, 0.4]


def test_multiply_adds_by_hand():
    class Tiny(KeypointNetwork):
        default_size, min_size = 4, 4

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.dense = nn.Linear(8, 136)

        def _features(self, x):
            return self.dense(self.conv(x).flatten(1))

    # 2 channels x 2 x 2 places x 9 weights, and 8 x 136
    assert count_macs(Tiny()) == 72 + 1088


def test_pooling_before_the_activation_is_the_same_function():
    x = torch.randn(2, 3, 8, 8)
    for activation in (nn.ELU(), nn.ReLU()):
        pool = nn.MaxPool2d(2)
        torch.testing.assert_close(pool(activation(x)), activation(pool(x)))


def test_soft_argmax_by_hand():
    heatmaps = torch.full((1, 2, 5, 7), -30.0)
    heatmaps[0, 0, 2, 3] = 30.0  # one cell: column 3, row 2
    heatmaps[0, 1, 0, 0] = heatmaps[0, 1, 0, 6] = 30.0  # two equal cells: half-way between them
    torch.testing.assert_close(soft_argmax(heatmaps), torch.tensor([[[3.0, 2.0], [3.0, 0.0]]]))


def test_heatmap_cells_are_blocks_of_four_pixels(monkeypatch):
    # a peak in cell (0, 0) lies in the middle of pixels 0 to 3, which is 1.5
    model = build_model("heatmapnet").eval()
    peak = torch.full((1, 68, 24, 24), -30.0)
    peak[:, :, 0, 23] = 30.0
    monkeypatch.setattr(model, "heatmaps", lambda x: peak)
    out = model(torch.zeros(1, 1, 96, 96)) * 24 + 47.5  # the keypoint_std and keypoint_mean of a recipe
    torch.testing.assert_close(out[0, 0], torch.tensor([4 * 23 + 1.5, 1.5]))
    with pytest.raises(ValueError, match="that 32 divides, got 100"):
        build_model("heatmapnet", input_size=100)


def test_unknown_and_doubled_names_are_refused():
    with pytest.raises(ValueError, match=r"no network named 'resnet'; there are .*naimishnet"):
        build_model("resnet")
    with pytest.raises(ValueError, match="registered already"):
        register("naimishnet")(KeypointNetwork)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("naimishnet", {"foo": 1}, "no argument 'foo'; its arguments are dropout, batch_norm"),
        ("two_layer_cnn", {"foo": 1}, "it has no arguments"),
        ("naimishnet", {"input_size": 1024}, "1,017,287,096 weights"),
        ("naimishnet", {"dropout": 2}, "dropout must be a number from 0 to 1.6; got 2"),
        ("heatmapnet", {"width": 0}, "width must be a whole number from 1 to 256"),
        ("heatmapnet", {"stride": 5}, "stride must be 4 or 8"),
        ("heatmapnet", {"blocks": (1, 1)}, "blocks must be four whole numbers"),
        ("heatmapnet", {"uncertainty": 1}, "uncertainty must be true or false"),
    ],
)
def test_arguments_are_checked_without_building(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_model(name, **arguments)


def test_arguments_of_a_subclass_include_those_of_its_base():
    class Wider(HeatmapNet):
        def __init__(self, input_size=None, extra=1, **more):
            super().__init__(input_size, **more)

    register("test_wider")(Wider)
    try:
        assert argument_names("test_wider") == [
            "extra",
            "width",
            "stride",
            "blocks",
            "uncertainty",
            "visibility",
        ]
        check_model("test_wider", input_size=32, extra=2, width=8)
    finally:
        del models._REGISTRY["test_wider"]
