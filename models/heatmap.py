"""Our network: heatmaps, one for each point, and the centre of each as its place."""

import torch
from torch import nn
from torch.nn import functional as F

from landmarks import NUM_KEYPOINTS
from models.base import KeypointNetwork, register


def soft_argmax(heatmaps: torch.Tensor) -> torch.Tensor:
    """Mean position (B, K, 2), (x, y) in cells, of heatmaps (B, K, H, W) after a softmax over all cells.

    Unlike the cell of the maximum it has a gradient and lies between cells. Sun et
    al., "Integral Human Pose Regression", ECCV 2018.
    """
    height, width = heatmaps.shape[2:]
    weight = heatmaps.float().flatten(2).softmax(dim=-1).unflatten(-1, (height, width))
    x = (weight.sum(dim=2) * torch.arange(width, device=weight.device)).sum(dim=-1)
    y = (weight.sum(dim=3) * torch.arange(height, device=weight.device)).sum(dim=-1)
    return torch.stack([x, y], dim=-1)


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


@register("heatmapnet")
class HeatmapNet(KeypointNetwork):
    """A small residual network with a feature pyramid, 68 heatmaps at 1/4 and a soft-argmax.

    Going down, each level halves the size and sees more of the face; going up again
    (Lin et al., "Feature Pyramid Networks", CVPR 2017) what was seen is added to
    the finer levels, so that a heatmap knows both where an edge is and whose. Outputs
    are in units of a quarter of the input, 0 in the middle: keypoint_mean (S - 1) / 2
    and keypoint_std S / 4. Width 32 has 3.1 M parameters.

    width: channels of the first level; the others are 2, 4, 6 and 8 times as many.
    """

    default_size = 96
    smallest_size = 32

    def __init__(self, input_size: int | None = None, width: int = 32):
        super().__init__(input_size)
        if self.input_size % 32:
            raise ValueError(f"HeatmapNet needs an input_size that 32 divides, got {self.input_size}")
        fine, *coarse = (2 * width, 4 * width, 6 * width, 8 * width)
        self.stem = nn.Sequential(
            *_conv_norm(1, width, stride=2), nn.ReLU(),
            *_conv_norm(width, fine, stride=2), nn.ReLU(), ResidualBlock(fine),
        )  # fmt: skip
        self.down = nn.ModuleList()
        channels = fine
        for wider in coarse:
            self.down.append(
                nn.Sequential(*_conv_norm(channels, wider, stride=2), nn.ReLU(), ResidualBlock(wider))
            )
            channels = wider
        self.lateral = nn.ModuleList(nn.Conv2d(c, fine, 1) for c in (fine, *coarse))
        self.smooth = nn.Sequential(*_conv_norm(fine, fine), nn.ReLU(), ResidualBlock(fine))
        self.to_heatmaps = nn.Conv2d(fine, NUM_KEYPOINTS, 1)

    def heatmaps(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, S, S) to (B, 68, S/4, S/4), before the softmax."""
        levels = [self.stem(x)]  # (B, 2w, S/4, S/4)
        for stage in self.down:
            levels.append(stage(levels[-1]))
        merged = self.lateral[-1](levels[-1])
        for level, lateral in zip(levels[-2::-1], list(self.lateral)[-2::-1], strict=True):
            merged = lateral(level) + F.interpolate(merged, scale_factor=2.0, mode="nearest")
        return self.to_heatmaps(self.smooth(merged))

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        cells = soft_argmax(self.heatmaps(x))  # (B, 68, 2), cell i covers pixels 4i to 4i + 3
        pixels = cells * 4 + 1.5
        return (pixels - (self.input_size - 1) / 2) / (self.input_size / 4)
