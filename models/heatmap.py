"""Our network: heatmaps, one for each point, and the centre of each as its place."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from landmarks import NUM_KEYPOINTS
from models.base import KeypointNetwork, register
from models.trust import TrustHead


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
    trust: whether confidence and radius are estimated too (models/trust.py).
    """

    default_size = 96
    smallest_size = 32

    def __init__(
        self,
        input_size: int | None = None,
        width: int = 32,
        stride: int = 4,
        blocks: Sequence[int] = (1, 1, 1, 1),
        trust: bool = False,
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
        self.trust = TrustHead(channels[-1]) if trust else None

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

    def trust_inputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keypoints (B, 68, 2), and what TrustHead judges them by (B, C + 68)."""
        levels = self.levels(x)
        heatmaps = self._merge(levels)
        return self._to_keypoints(heatmaps), TrustHead.inputs(levels[-1], heatmap_spread(heatmaps))

    def estimate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keypoints (B, 68, 2), confidence (B,) and radius (B, 68), in the unit of the keypoints."""
        if self.trust is None:
            return super().estimate(x)
        keypoints, inputs = self.trust_inputs(x)
        return keypoints, *self.trust(inputs)
