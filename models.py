"""The networks: one square grayscale image in, 68 keypoints out.

    model = build_model("naimishnet")           # list_models() names them all
    model(torch.zeros(8, 1, 96, 96)).shape      # (8, 68, 2)

Every network takes (B, 1, S, S) float32 gray and returns (B, 68, 2): x and y as `Normalize` scales them.
S is `model.input_size`, chosen when the network is built, and at least the class's `min_size`.

To add a network: subclass KeypointNetwork with `@register("name")` above it, in a file of your own, in a
notebook or in this file, where tests/test_models.py tests it too (CONTRIBUTING.md).
"""

import inspect
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from heads import UncertaintyHead, VisibilityHead
from landmarks import NUM_KEYPOINTS

MAX_PARAMETERS = 500_000_000  # 2 GB of float32

# --- the base class ------------------------------------------------------------------------------


class KeypointNetwork(nn.Module):
    """The base class of all networks: it checks the input and shapes the output.

    A subclass defines `_features`, and sets default_size and min_size where they are others.

    input_size: side of the input in pixels; default_size if not given.
    Raises ValueError for less than min_size.
    """

    default_size: int = 96  # input size of the source, or ours if the source states none
    min_size: int = 8  # smaller inputs are refused; here the smallest that leaves the last layer a pixel
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
        """(B, 1, S, S) to any shape with 136 numbers per image."""
        raise TypeError(f"{type(self).__name__} must define _features")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keypoints (B, 68, 2) of images (B, 1, S, S). Raises ValueError for another shape."""
        size = self.input_size
        if x.ndim != 4 or tuple(x.shape[1:]) != (1, size, size):
            raise ValueError(
                f"{type(self).__name__} expects input of shape (B, 1, {size}, {size}), got {tuple(x.shape)}"
            )
        return self._features(x).reshape(-1, NUM_KEYPOINTS, 2)

    def estimate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keypoints (B, 68, 2), confidence (B,), radius (B, 68) and visibility (B, 68).

        All but the keypoints are NaN where the network does not estimate them.
        """
        keypoints = self(x)
        radius, visibility = (torch.full_like(keypoints[..., 0], math.nan) for _ in range(2))
        return keypoints, radius[:, 0], radius, visibility


# --- the registry --------------------------------------------------------------------------------

_REGISTRY: dict[str, type[KeypointNetwork]] = {}
MODEL_FILE_MODULE = "model_file"  # the module of classes from train.py --model-file


def register(name: str):
    """Class decorator: makes a network known to `build_model` under `name`.

    A class of a notebook, of a model file, or of a module that is loaded again replaces the one before.
    Raises ValueError if another class has that name.
    """

    def add(network):
        old, own = _REGISTRY.get(name, network), {"__main__", MODEL_FILE_MODULE}
        same = (old.__module__, old.__qualname__) == (network.__module__, network.__qualname__)
        if not same and not {old.__module__, network.__module__} <= own:
            raise ValueError(f"a network named {name!r} is registered already, in {old.__module__}")
        _REGISTRY[name] = network
        network.registered_name = name
        return network

    return add


def list_models() -> list[str]:
    """Names of all registered networks, sorted."""
    return sorted(_REGISTRY)


def model_class(name: str) -> type[KeypointNetwork]:
    """The class that is registered as `name`.

    Raises ValueError if there is none.
    """
    if name not in _REGISTRY:
        raise ValueError(f"no network named {name!r}; there are {', '.join(list_models())}")
    return _REGISTRY[name]


def build_model(name: str, **arguments) -> KeypointNetwork:
    """A new network with random weights.

    arguments: for its constructor (input_size, ...).
    Raises ValueError for an unknown name or a value that the network cannot have.
    """
    return model_class(name)(**arguments)


def argument_names(name: str) -> list[str]:
    """The arguments that the network `name` takes besides input_size."""
    names: list[str] = []
    for kind in model_class(name).__mro__:
        if "__init__" not in vars(kind):
            continue
        parameters = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):  # **more go to the class above
            break
    return [argument for argument in names if argument != "input_size"]


def check_model(name: str, input_size: int | None = None, **arguments) -> None:
    """Check that `build_model` can build a network. No memory is taken for its weights.

    Raises ValueError for an unknown name or argument, for a value that the network cannot have, and for more
    than MAX_PARAMETERS weights.
    """
    known = argument_names(name)
    for argument in arguments:
        if argument not in known:
            there = f"its arguments are {', '.join(known)}" if known else "it has no arguments"
            raise ValueError(f"the network {name!r} has no argument {argument!r}; {there}")
    try:
        with torch.device("meta"):
            model = build_model(name, input_size=input_size, **arguments)
    except (TypeError, RuntimeError, OverflowError) as error:
        problem = str(error).partition("\n")[0]
        raise ValueError(f"the network {name!r} cannot be built with {arguments}: {problem}") from error
    if count_parameters(model) > MAX_PARAMETERS:
        raise ValueError(
            f"the network {name!r} would have {count_parameters(model):,} weights at input_size {input_size} "
            f"with {arguments}, more than {MAX_PARAMETERS:,}"
        )


def _check_argument(name: str, value, kind: type, low: float, high: float) -> None:
    """Raise ValueError if an argument of a network is no int or float from low to high."""
    is_number = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        number = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {number} from {low} to {high}; got {value!r}")


# --- networks that end in dense layers -----------------------------------------------------------


def _flat_size(features: nn.Module, input_size: int) -> int:
    """Number of values that the convolutions give for one image."""
    was_training = features.training
    with torch.no_grad():
        count = features.eval()(torch.zeros(1, 1, input_size, input_size)).numel()
    features.train(was_training)
    return count


def _conv_block(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, norm: bool, activation, dropout: float = 0.0
) -> list[nn.Module]:
    """Convolution, batch norm (optional), 2x2 max-pool, activation, dropout (optional).

    The sources put the activation before the pool. Both orders give the same values, since the activations
    are monotonic; this one computes a quarter of the activations.
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

    dropout: factor on all six dropout rates, 0 to 1.6; 1.0 is the paper, 0.0 turns dropout off.
    batch_norm: if true, batch norm follows each convolution (not in the paper).
    """

    default_size = 96
    min_size = 27

    def __init__(self, input_size: int | None = None, dropout: float = 1.0, batch_norm: bool = False):
        super().__init__(input_size)
        _check_argument("dropout", dropout, float, 0, 1.6)
        if not isinstance(batch_norm, bool):
            raise ValueError(f"batch_norm must be true or false; got {batch_norm!r}")
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

    The write-up gives no numbers. 16 filters of 5x5 and a 4x4 max-pool are ours.
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

    Its listing names the layers and not their order. This is the usual order: convolution, batch norm, ReLU,
    pool, dropout (with ReLU and pool swapped, see `_conv_block`).
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

    The write-up gives the convolutions and the dropout rates, not the widths of the dense layers: 1000 and
    500 are ours.
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


# --- parts of a heatmap network ------------------------------------------------------------------


def soft_argmax(heatmaps: torch.Tensor) -> torch.Tensor:
    """Mean position (B, K, 2), (x, y) in cells, of heatmaps (B, K, H, W) after a softmax over all cells.

    Unlike the cell of the maximum, it has a gradient and can lie between cells. Source: Sun et al., "Integral
    Human Pose Regression", ECCV 2018.
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
    """Mean (B, K) of position to a power, weighted by (B, K, N), which sums to one."""
    position = torch.arange(weight.shape[-1], device=weight.device, dtype=weight.dtype)
    return (weight * position**power).sum(dim=-1)


def _conv_norm(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution that keeps the size (at stride 1), and batch norm."""
    padding = kernel // 2
    return [nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(c_out)]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to their input (He et al., CVPR 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(*_conv_norm(channels, channels), nn.ReLU(), *_conv_norm(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same shape."""
        return F.relu(x + self.body(x))


def _level(c_in: int, c_out: int, blocks: int) -> list[nn.Module]:
    """A convolution that halves the size, then residual blocks."""
    return [*_conv_norm(c_in, c_out, stride=2), nn.ReLU(), *(ResidualBlock(c_out) for _ in range(blocks))]


# --- the heatmap network -------------------------------------------------------------------------


@register("heatmapnet")
class HeatmapNet(KeypointNetwork):
    """A small residual network with a feature pyramid, 68 heatmaps and a soft-argmax.

    Each level halves the size. The coarse levels are then enlarged and added to the finer ones (Lin et al.,
    "Feature Pyramid Networks", CVPR 2017), so a heatmap has both a fine position and a wide view. The unit of
    the keypoints is a quarter of the input, with 0 in the middle: keypoint_mean is (S - 1) / 2 and
    keypoint_std is S / 4.

    width: channels of the stem, 1 to 256; the four levels have 2, 4, 6 and 8 times as many.
    stride: input pixels per heatmap cell, 4 or 8. 8 costs far less and loses little, since a soft-argmax can
        lie between cells.
    blocks: four numbers, 0 to 16: residual blocks at 1/4, 1/8, 1/16 and 1/32 of the input size.
    uncertainty: if true, confidence and radius are estimated too (UncertaintyHead).
    visibility: if true, also whether each point can be seen (VisibilityHead); needs uncertainty.
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
        visibility: bool = False,
    ):
        super().__init__(input_size)
        if self.input_size % 32:
            raise ValueError(f"HeatmapNet needs an input_size that 32 divides, got {self.input_size}")
        _check_argument("width", width, int, 1, 256)
        if stride not in (4, 8):
            raise ValueError(f"stride must be 4 or 8; got {stride!r}")
        if not isinstance(blocks, list | tuple) or len(blocks) != 4:
            raise ValueError(f"blocks must be four whole numbers; got {blocks!r}")
        for count in blocks:
            _check_argument("each of blocks", count, int, 0, 16)
        for name, value in (("uncertainty", uncertainty), ("visibility", visibility)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false; got {value!r}")
        if visibility and not uncertainty:
            raise ValueError("visibility needs uncertainty: true")
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
        features = channels[0] + merged, channels[-1] + NUM_KEYPOINTS
        self.visibility = VisibilityHead(*features) if visibility else None

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, S, S) to features (B, C, h, w) at 1/4, 1/8, 1/16 and 1/32 of the input size."""
        levels = [self.stem(x)]  # (B, 2w, S/4, S/4)
        for stage in self.down:
            levels.append(stage(levels[-1]))
        return levels

    def heatmaps(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, S, S) to (B, 68, S/stride, S/stride), before the softmax."""
        return self.to_heatmaps(self._merge(self.levels(x)))

    def _merge(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Features of all levels to (B, C, S/stride, S/stride), from which the heatmaps are made."""
        levels = levels[self.stride // 8 :]
        merged = self.lateral[-1](levels[-1])
        for level, lateral in zip(levels[-2::-1], list(self.lateral)[-2::-1], strict=True):
            merged = lateral(level) + F.interpolate(merged, scale_factor=2.0, mode="nearest")
        return self.smooth(merged)

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        return self._to_keypoints(self.heatmaps(x))

    def _to_keypoints(self, heatmaps: torch.Tensor) -> torch.Tensor:
        """Heatmaps (B, 68, h, w) to keypoints (B, 68, 2)."""
        cells = soft_argmax(heatmaps)  # (B, 68, 2), cell i covers pixels i*stride to (i+1)*stride - 1
        pixels = cells * self.stride + (self.stride - 1) / 2
        return (pixels - (self.input_size - 1) / 2) / (self.input_size / 4)

    def head_inputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """What the heads get of images (B, 1, S, S).

        Keypoints (B, 68, 2), features of each face (B, G), and of each point (B, 68, L); None for the latter
        without a VisibilityHead.
        """
        levels = self.levels(x)
        merged = self._merge(levels)
        heatmaps = self.to_heatmaps(merged)
        shared = UncertaintyHead.inputs(levels[-1], heatmap_spread(heatmaps))
        has_local = self.visibility is not None
        local = VisibilityHead.local_features(levels[0], merged, heatmaps) if has_local else None
        return self._to_keypoints(heatmaps), shared, local

    def estimate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keypoints (B, 68, 2), confidence (B,), radius and visibility (B, 68).

        Keypoints and radius are in the unit of the keypoints. What is not estimated is NaN.
        """
        if self.uncertainty is None:
            return super().estimate(x)
        keypoints, shared, local = self.head_inputs(x)
        confidence, radius = self.uncertainty(shared)
        visibility = torch.full_like(radius, math.nan)
        if self.visibility is not None:
            visibility = self.visibility(local, shared)
        return keypoints, confidence, radius, visibility


# --- the face finder -----------------------------------------------------------------------------


class FaceFinder(nn.Module):
    """A small fully convolutional network: a gray image of any size in, a score and a box at each cell out.

    A cell covers 8x8 pixels. The score is high at the cell of a face's centre; the box there is the square
    around the face, 1.2 times as large as the larger side of the box around its keypoints. Source: Zhou et
    al., "Objects as Points", 2019 (CenterNet), on a feature pyramid (Lin et al., CVPR 2017).

    width: channels at 1/4 of the image size, 4 to 128; the levels below have 2, 3 and 4 times as many.
    """

    stride = 8  # pixels per cell
    multiple = 32  # height and width of the input are multiples of it

    def __init__(self, width: int = 20):
        super().__init__()
        _check_argument("width", width, int, 4, 128)
        fine, middle, coarse = 2 * width, 3 * width, 4 * width
        self.stem = nn.Sequential(
            *_conv_norm(1, 16, stride=2), nn.ReLU(), *_conv_norm(16, width, stride=2), nn.ReLU()
        )
        levels = ((width, fine, 1), (fine, middle, 2), (middle, coarse, 1))  # 1/8, 1/16, 1/32
        self.down = nn.ModuleList(nn.Sequential(*_level(*level)) for level in levels)
        self.lateral = nn.ModuleList(nn.Conv2d(c, fine, 1) for c in (fine, middle, coarse))
        self.smooth = nn.Sequential(*_conv_norm(fine, fine), nn.ReLU())
        self.head = nn.Conv2d(fine, 4, 1)  # logit of the score, offset in x and y, logarithm of the side
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[0], -4.0)  # faces are rare: the first scores are near 0.02

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, 1, H, W), gray 0 to 1, to (B, 4, H/8, W/8), all in cells.

        Channels: logit of the score; x and y of the face's centre relative to the cell's; ln of the side.
        Raises ValueError for another shape, and for sides that are no multiples of 32.
        """
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise ValueError(
                f"FaceFinder expects (B, 1, H, W) with H and W multiples of {self.multiple}, got "
                f"{tuple(x.shape)}"
            )
        fine = self.down[0](self.stem(2 * x - 1))
        middle = self.down[1](fine)
        merged = self.lateral[2](self.down[2](middle))
        for level, lateral in ((middle, self.lateral[1]), (fine, self.lateral[0])):
            merged = lateral(level) + F.interpolate(merged, scale_factor=2.0, mode="nearest")
        return self.head(self.smooth(merged))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B, H/8, W/8), 0 to 1, and boxes (B, 4, H/8, W/8), box_xyxy in pixels of the input."""
        maps = self.maps(x)
        ones = torch.ones_like(maps[:, 0])
        columns, rows = ones.cumsum(2) - 0.5, ones.cumsum(1) - 0.5  # centres of the cells, as edges count
        x_centre = (columns + maps[:, 1]) * self.stride
        y_centre = (rows + maps[:, 2]) * self.stride
        half = maps[:, 3].clamp(-4, 6).exp() * (self.stride / 2)
        boxes = torch.stack([x_centre - half, y_centre - half, x_centre + half, y_centre + half], dim=1)
        return maps[:, 0].sigmoid(), boxes


# --- size and cost -------------------------------------------------------------------------------


def count_parameters(model: nn.Module) -> int:
    """Number of trained values of a network."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: KeypointNetwork) -> int:
    """MACs (multiply-adds) of convolutions and dense layers per pass, for one image."""
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
