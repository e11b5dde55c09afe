"""Losses between predicted and true keypoints, both (B, 68, 2) and normalised.

To add a loss: put a module class into LOSSES. A recipe then takes its name.
"""

import math

import torch
from torch import nn


class WingLoss(nn.Module):
    """Wing loss: logarithmic for small errors, linear for large ones.

    Small errors get a larger gradient than under L1 or L2. Source: Feng et al., "Wing Loss for Robust Facial
    Landmark Localisation with Convolutional Neural Networks", CVPR 2018.

    width, curvature: w and epsilon of the paper, in the unit of the keypoints. The paper's 10 and 2 are
        pixels of a 256-pixel face; 0.16 and 0.03 are the same share of a crop that is 4 units wide.
    """

    def __init__(self, width: float = 0.16, curvature: float = 0.03):
        super().__init__()
        self.width, self.curvature = width, curvature
        self.offset = width - width * math.log1p(width / curvature)

    def forward(self, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar, of keypoints (B, 68, 2)."""
        error = (predicted - true).abs()
        near = self.width * torch.log1p(error / self.curvature)
        return torch.where(error < self.width, near, error - self.offset).mean()


#: All losses by name.
LOSSES: dict[str, type[nn.Module]] = {
    "mse": nn.MSELoss,
    "smooth_l1": nn.SmoothL1Loss,
    "l1": nn.L1Loss,
    "wing": WingLoss,
}


def build_loss(name: str) -> nn.Module:
    """The loss called `name`: mse, smooth_l1, l1 or wing.

    Raises ValueError for another name.
    """
    if name not in LOSSES:
        raise ValueError(f"no loss named {name!r}; there are {', '.join(LOSSES)}")
    return LOSSES[name]()
