"""The networks: one square grayscale image in, 68 keypoints out.

    model = build_model("naimishnet")           # list_models() names them all
    model(torch.zeros(8, 1, 96, 96)).shape      # (8, 68, 2)

Every network takes (B, 1, S, S) float32 gray and returns (B, 68, 2): x and y as
`Normalize` scales them. S is `model.input_size`, chosen when the network is built;
`min_size` is the least that leaves the last layer a pixel.

To add one: subclass KeypointNetwork, put `@register("name")` above it, import its
module here. The sweep in tests/test_models.py then covers it.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from landmarks import NUM_KEYPOINTS

__all__ = [
    "BatchNormCNN",
    "HeatmapNet",
    "KeypointNetwork",
    "NaimishNet",
    "StridedCNN",
    "TwoLayerCNN",
    "WideDenseCNN",
    "build_model",
    "count_macs",
    "count_parameters",
    "list_models",
    "model_class",
    "register",
]


_REGISTRY: dict[str, type["KeypointNetwork"]] = {}


def register(name: str):
    """Class decorator: makes a network known to `build_model` under `name`."""

    def add(network):
        if name in _REGISTRY:
            raise ValueError(f"a network named {name!r} is registered already")
        _REGISTRY[name] = network
        network.registered_name = name
        return network

    return add


def list_models() -> list[str]:
    """Names of all registered networks, sorted."""
    return sorted(_REGISTRY)


def model_class(name: str) -> type["KeypointNetwork"]:
    """The class registered as `name`, for its sizes and its docstring."""
    if name not in _REGISTRY:
        raise ValueError(f"no network named {name!r}; there are {', '.join(list_models())}")
    return _REGISTRY[name]


def build_model(name: str, **kwargs) -> "KeypointNetwork":
    """A new network with random weights; kwargs go to its constructor (input_size, ...)."""
    return model_class(name)(**kwargs)


class KeypointNetwork(nn.Module):
    """What all networks share: a declared input size, a checked input, a (B, 68, 2) output."""

    default_size: int  # the input size used where the source states it, or ours
    min_size: int
    registered_name: str

    def __init__(self, input_size: int | None = None):
        super().__init__()
        self.input_size = self.default_size if input_size is None else int(input_size)
        if self.input_size < self.min_size:
            raise ValueError(
                f"{type(self).__name__} needs an input_size of at least {self.min_size}, "
                f"got {self.input_size}"
            )

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, S, S) to anything with 136 numbers per image."""
        raise TypeError(f"{type(self).__name__} must define _features")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = self.input_size
        if x.ndim != 4 or tuple(x.shape[1:]) != (1, size, size):
            raise ValueError(
                f"{type(self).__name__} expects input of shape (B, 1, {size}, {size}), got {tuple(x.shape)}"
            )
        return self._features(x).reshape(-1, NUM_KEYPOINTS, 2)

    def estimate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keypoints (B, 68, 2), confidence (B,) and radius (B, 68); the latter two NaN where unknown."""
        keypoints = self(x)
        unknown = torch.full_like(keypoints[..., 0], math.nan)
        return keypoints, unknown[:, 0], unknown


def count_parameters(model: nn.Module) -> int:
    """How many trained numbers a network has."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: KeypointNetwork) -> int:
    """Multiply-adds of convolutions and dense layers for one image, counted in a forward pass."""
    total = 0

    def add(layer, _inputs, output):
        nonlocal total
        per_output = layer.weight[0].numel()  # one multiply-add per weight of an output channel
        total += per_output * output[0].numel()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    was_training = model.training
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            model.eval()(torch.zeros(1, 1, model.input_size, model.input_size, device=device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


# --- networks that end in dense layers ----------------------------------------------------------


def _flat_size(features: nn.Module, input_size: int) -> int:
    """How many numbers the convolutions leave of one image."""
    was_training = features.training
    with torch.no_grad():
        count = features.eval()(torch.zeros(1, 1, input_size, input_size)).numel()
    features.train(was_training)
    return count


def _conv_block(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, norm: bool, activation, dropout: float = 0.0
) -> list[nn.Module]:
    """Convolution, batch norm (optional), activation with 2x2 max-pool, dropout (optional).

    The sources write the activation before the pool. A maximum commutes with a rising
    function, so the other order is the same network with a quarter of the work.
    """
    layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, kernel, stride=stride)]
    if norm:
        layers.append(nn.BatchNorm2d(c_out))
    layers += [nn.MaxPool2d(2), activation()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return layers


@register("naimishnet")
class NaimishNet(KeypointNetwork):
    """NaimishNet: four convolutions, three dense layers.

    Agarwal, Krohn-Grimberghe, Vyas, "Facial Key Points Detection using Deep
    Convolutional Neural Network - NaimishNet", arXiv 1710.00977, 2017: kernels
    4, 3, 2, 1, ELU, dropout rising from 0.1 to 0.6, dense layers 1000, 1000 (the
    second one linear) and the output. The paper trains one network per keypoint at
    96 px; here one network predicts all 136 numbers. 7.6 M parameters at 96 px.

    dropout: factor on all six dropout rates; 1.0 is the paper, 0.0 turns them off.
    batch_norm: batch norm after each convolution (not in the paper).
    """

    default_size = 96
    min_size = 27

    def __init__(self, input_size: int | None = None, dropout: float = 1.0, batch_norm: bool = False):
        super().__init__(input_size)
        rates = [round(0.1 * k * dropout, 4) for k in range(1, 7)]
        channels, kernels = (1, 32, 64, 128, 256), (4, 3, 2, 1)
        blocks = []
        for i, kernel in enumerate(kernels):
            blocks += _conv_block(
                channels[i], channels[i + 1], kernel, norm=batch_norm, activation=nn.ELU, dropout=rates[i]
            )
        self.features = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(_flat_size(self.features, self.input_size), 1000),  # 6400 at 96 px
            nn.ELU(),
            nn.Dropout(rates[4]),
            nn.Linear(1000, 1000),
            nn.Dropout(rates[5]),
            nn.Linear(1000, 2 * NUM_KEYPOINTS),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)  # "Glorot uniform" in the paper
                nn.init.zeros_(layer.bias)

    def _features(self, x):
        return self.head(self.features(x))


@register("two_layer_cnn")
class TwoLayerCNN(KeypointNetwork):
    """Write-up 001's "simple network with only 2 layers": one convolution, one dense layer.

    The write-up gives no numbers; ours are 16 filters of 5x5 and a 4x4 max-pool.
    """

    default_size = 224
    min_size = 8

    def __init__(self, input_size: int | None = None):
        super().__init__(input_size)
        self.features = nn.Sequential(nn.Conv2d(1, 16, 5), nn.MaxPool2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(_flat_size(self.features, self.input_size), 2 * NUM_KEYPOINTS)

    def _features(self, x):
        return self.head(self.features(x))


@register("strided_cnn")
class StridedCNN(KeypointNetwork):
    """Write-up 000's network, layer by layer: two strided convolutions, dense 2048-1600-800-136.

    Its listing names the layers and not their order; we take the usual one:
    convolution, batch norm, ReLU, pool, dropout (ReLU and pool swapped, see `_conv_block`).
    """

    default_size = 224
    min_size = 152

    def __init__(self, input_size: int | None = None):
        super().__init__(input_size)
        self.features = nn.Sequential(
            *_conv_block(1, 64, 5, norm=True, activation=nn.ReLU, dropout=0.1),
            *_conv_block(64, 128, 4, stride=2, norm=True, activation=nn.ReLU, dropout=0.2),
            *_conv_block(128, 256, 4, stride=2, norm=True, activation=nn.ReLU, dropout=0.3),
            *_conv_block(256, 512, 3, norm=True, activation=nn.ReLU, dropout=0.4),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(_flat_size(self.features, self.input_size), 1600),  # 2048 at 224 px
            nn.BatchNorm1d(1600),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(1600, 800),
            nn.BatchNorm1d(800),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(800, 2 * NUM_KEYPOINTS),
        )

    def _features(self, x):
        return self.head(self.features(x))


@register("batch_norm_cnn")
class BatchNormCNN(KeypointNetwork):
    """Write-up 002's "modified NaimishNet": kernels 5, 5, 3, 3, batch norm, ReLU, three dense layers.

    The write-up gives its convolutions and dropout rates, not the dense widths: 1000
    and 500 are ours.
    """

    default_size = 224
    min_size = 52

    def __init__(self, input_size: int | None = None):
        super().__init__(input_size)
        self.features = nn.Sequential(
            *_conv_block(1, 32, 5, norm=True, activation=nn.ReLU),
            *_conv_block(32, 64, 5, norm=True, activation=nn.ReLU),
            *_conv_block(64, 128, 3, norm=True, activation=nn.ReLU),
            *_conv_block(128, 256, 3, norm=True, activation=nn.ReLU),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(_flat_size(self.features, self.input_size), 1000),
            nn.BatchNorm1d(1000),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(1000, 500),
            nn.BatchNorm1d(500),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(500, 2 * NUM_KEYPOINTS),
        )

    def _features(self, x):
        return self.head(self.features(x))


@register("wide_dense_cnn")
class WideDenseCNN(KeypointNetwork):
    """Write-up 004's network, layer by layer: 3x3 convolutions, dense 36864-4000-1000-136.

    152 M parameters at 224 px, 97 % of them in the first dense layer.
    """

    default_size = 224
    min_size = 46

    def __init__(self, input_size: int | None = None):
        super().__init__(input_size)
        channels = (1, 32, 64, 128, 256)
        blocks = []
        for c_in, c_out in pairwise(channels):
            blocks += _conv_block(c_in, c_out, 3, norm=True, activation=nn.ReLU)
        self.features = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(_flat_size(self.features, self.input_size), 4000),  # 36864 at 224 px
            nn.BatchNorm1d(4000),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(4000, 1000),
            nn.BatchNorm1d(1000),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(1000, 2 * NUM_KEYPOINTS),
        )

    def _features(self, x):
        return self.head(self.features(x))


# --- uncertainty --------------------------------------------------------------------------------


HIDDEN = 96


class UncertaintyHead(nn.Module):
    """Confidence and radius from what a heatmap network has computed anyway.

    Fitted after the network itself, whose weights stay as they are (training/uncertainty.py).

    channels: of the coarsest features, averaged over the crop.
    """

    def __init__(self, channels: int):
        super().__init__()
        inputs = channels + NUM_KEYPOINTS
        # Mean and spread of the inputs over the training crops, so that all weigh alike at the start.
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        # Set on people that nobody was trained on: calibrate() in training/uncertainty.py.
        self.register_buffer("logit_scale", torch.ones(()))
        self.register_buffer("logit_shift", torch.zeros(()))
        self.register_buffer("radius_scale", torch.ones(()))
        self.body = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1 + NUM_KEYPOINTS))

    @staticmethod
    def inputs(coarse: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) features and (B, 68) spreads of the heatmaps to (B, C + 68)."""
        return torch.cat([coarse.mean(dim=(2, 3)), spread.clamp_min(1e-6).log()], dim=1)

    def raw(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logit (B,) and logarithm of the radius (B, 68), before calibration."""
        out = self.body((inputs - self.input_mean) / self.input_std)
        return out[:, 0], out[:, 1:]

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Confidence (B,) 0 to 1, and radius (B, 68) in the network's unit."""
        logit, log_radius = self.raw(inputs)
        confidence = torch.sigmoid(logit * self.logit_scale + self.logit_shift)
        return confidence, log_radius.exp() * self.radius_scale


# --- heatmaps -----------------------------------------------------------------------------------


def soft_argmax(heatmaps: torch.Tensor) -> torch.Tensor:
    """Mean position (B, K, 2), (x, y) in cells, of heatmaps (B, K, H, W) after a softmax over all cells.

    Unlike the cell of the maximum it has a gradient and lies between cells. Sun et
    al., "Integral Human Pose Regression", ECCV 2018.
    """
    height, width = heatmaps.shape[2:]
    weight = heatmaps.float().flatten(2).softmax(dim=-1).unflatten(-1, (height, width))
    return torch.stack([_moment(weight.sum(dim=2), 1), _moment(weight.sum(dim=3), 1)], dim=-1)


def heatmap_spread(heatmaps: torch.Tensor) -> torch.Tensor:
    """Standard deviation (B, K), in cells, of heatmaps (B, K, H, W) about their mean position."""
    weight = heatmaps.float().flatten(2).softmax(dim=-1).unflatten(-1, heatmaps.shape[2:])
    columns, rows = weight.sum(dim=2), weight.sum(dim=3)
    variance = sum(_moment(axis, 2) - _moment(axis, 1) ** 2 for axis in (columns, rows))
    return variance.clamp_min(0).sqrt()


def _moment(weight: torch.Tensor, power: int) -> torch.Tensor:
    """Mean of position to a power, (B, K), under weights (B, K, N) that sum to one."""
    position = torch.arange(weight.shape[-1], device=weight.device, dtype=weight.dtype)
    return (weight * position**power).sum(dim=-1)


def _conv_norm(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    return [nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(c_out)]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a way around them (He et al., CVPR 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(*_conv_norm(channels, channels), nn.ReLU(), *_conv_norm(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), the same shape out."""
        return F.relu(x + self.body(x))


def _level(c_in: int, c_out: int, blocks: int) -> list[nn.Module]:
    """Half the size, then residual blocks."""
    return [*_conv_norm(c_in, c_out, stride=2), nn.ReLU(), *(ResidualBlock(c_out) for _ in range(blocks))]


@register("heatmapnet")
class HeatmapNet(KeypointNetwork):
    """A small residual network with a feature pyramid, 68 heatmaps and a soft-argmax.

    Going down, each level halves the size and sees more of the face; going up again
    (Lin et al., "Feature Pyramid Networks", CVPR 2017) what was seen is added to
    the finer levels, so that a heatmap knows both where an edge is and whose. Outputs
    are in units of a quarter of the input, 0 in the middle: keypoint_mean (S - 1) / 2
    and keypoint_std S / 4.

    width: channels of the first level; the others are 2, 4, 6 and 8 times as many.
    stride: input pixels a heatmap cell, 4 or 8. A soft-argmax lies between cells, so
        8 loses little and costs far less.
    blocks: residual blocks at 1/4, 1/8, 1/16 and 1/32 of the input.
    uncertainty: whether confidence and radius are estimated too (UncertaintyHead).
    """

    default_size = 96
    min_size = 32

    def __init__(
        self,
        input_size: int | None = None,
        width: int = 32,
        stride: int = 4,
        blocks: Sequence[int] = (1, 1, 1, 1),
        uncertainty: bool = False,
    ):
        super().__init__(input_size)
        if self.input_size % 32:
            raise ValueError(f"HeatmapNet needs an input_size that 32 divides, got {self.input_size}")
        if stride not in (4, 8):
            raise ValueError(f"HeatmapNet has heatmaps of stride 4 or 8, got {stride}")
        self.stride = stride
        channels = (2 * width, 4 * width, 6 * width, 8 * width)
        self.stem = nn.Sequential(
            *_conv_norm(1, width, stride=2), nn.ReLU(), *_level(width, channels[0], blocks[0])
        )
        self.down = nn.ModuleList(
            nn.Sequential(*_level(c, wider, count))
            for c, wider, count in zip(channels, channels[1:], blocks[1:], strict=False)
        )
        merged = 2 * width if stride == 4 else 4 * width
        self.lateral = nn.ModuleList(nn.Conv2d(c, merged, 1) for c in channels[stride // 8 :])
        self.smooth = nn.Sequential(*_conv_norm(merged, merged), nn.ReLU(), ResidualBlock(merged))
        self.to_heatmaps = nn.Conv2d(merged, NUM_KEYPOINTS, 1)
        self.uncertainty = UncertaintyHead(channels[-1]) if uncertainty else None

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, S, S) to features at 1/4, 1/8, 1/16 and 1/32."""
        levels = [self.stem(x)]  # (B, 2w, S/4, S/4)
        for stage in self.down:
            levels.append(stage(levels[-1]))
        return levels

    def heatmaps(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, S, S) to (B, 68, S/stride, S/stride), before the softmax."""
        return self._merge(self.levels(x))

    def _merge(self, levels: list[torch.Tensor]) -> torch.Tensor:
        levels = levels[self.stride // 8 :]
        merged = self.lateral[-1](levels[-1])
        for level, lateral in zip(levels[-2::-1], list(self.lateral)[-2::-1], strict=True):
            merged = lateral(level) + F.interpolate(merged, scale_factor=2.0, mode="nearest")
        return self.to_heatmaps(self.smooth(merged))

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        return self._to_keypoints(self.heatmaps(x))

    def _to_keypoints(self, heatmaps: torch.Tensor) -> torch.Tensor:
        cells = soft_argmax(heatmaps)  # (B, 68, 2), cell i covers pixels i*stride to (i+1)*stride - 1
        pixels = cells * self.stride + (self.stride - 1) / 2
        return (pixels - (self.input_size - 1) / 2) / (self.input_size / 4)

    def uncertainty_inputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keypoints (B, 68, 2), and what UncertaintyHead judges them by (B, C + 68)."""
        levels = self.levels(x)
        heatmaps = self._merge(levels)
        return self._to_keypoints(heatmaps), UncertaintyHead.inputs(levels[-1], heatmap_spread(heatmaps))

    def estimate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keypoints (B, 68, 2), confidence (B,) and radius (B, 68), in the unit of the keypoints."""
        if self.uncertainty is None:
            return super().estimate(x)
        keypoints, inputs = self.uncertainty_inputs(x)
        return keypoints, *self.uncertainty(inputs)
