"""Losses between predicted and true keypoints, both (B, 68, 2) and normalised.

    loss = build_loss("adaptive_wing", omega=0.2)
    loss(predicted, true)                            # a scalar

To add a loss: put a module class into LOSSES, here or in a file for `train.py --model-file`. A recipe then
takes its name as `loss` and the arguments of its constructor as `loss_args`.
"""

import inspect
import math
from collections.abc import Callable

import torch
from torch import nn

from landmarks import NUM_KEYPOINTS


class WingLoss(nn.Module):
    """Wing loss: logarithmic for small errors, linear for large ones.

    Small errors get a larger gradient than under L1 or L2. Source: Feng et al., "Wing Loss for Robust Facial
    Landmark Localisation with Convolutional Neural Networks", CVPR 2018.

    width, curvature: w and epsilon of the paper, in the unit of the keypoints. The paper's 10 and 2 are
        pixels of a 256-pixel face; 0.16 and 0.03 are the same share of a crop that is 4 units wide.
    """

    def __init__(self, width: float = 0.16, curvature: float = 0.03):
        super().__init__()
        _check_positive(width=width, curvature=curvature)
        self.width, self.curvature = width, curvature
        self.offset = width - width * math.log1p(width / curvature)

    def forward(self, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar, of keypoints (B, 68, 2)."""
        error = (predicted - true).abs()
        near = self.width * torch.log1p(error / self.curvature)
        return torch.where(error < self.width, near, error - self.offset).mean()


class AdaptiveWingLoss(nn.Module):
    """Adaptive wing loss for coordinates: as wing, and smooth at 0 and where its two parts meet.

    omega * ln(1 + (error / epsilon) ** p) below theta, then the line with the same value and slope. The
    gradient of wing jumps at 0; this one goes to 0 there, since p is above 1. Source: Wang, Bo, Fuxin,
    "Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression", ICCV 2019, arXiv 1904.07399. There
    p is alpha - y with y the value of a heatmap, 0 to 1. Coordinates have no background: y is 1 here.

    omega: scale of the loss. theta, epsilon: where the line begins, and the width of the curve, in the unit
        of the keypoints. The defaults are those of WingLoss; the paper's 14, 0.5 and 1 are for heatmaps.
    alpha: above 2; 2.1 in the paper.
    """

    def __init__(self, omega: float = 0.16, theta: float = 0.16, epsilon: float = 0.03, alpha: float = 2.1):
        super().__init__()
        _check_positive(omega=omega, theta=theta, epsilon=epsilon)
        if not 2 < alpha < math.inf:
            raise ValueError(f"alpha must be a number above 2; got {alpha}")
        self.omega, self.theta, self.epsilon, self.power = omega, theta, epsilon, alpha - 1
        ratio = (theta / epsilon) ** self.power
        self.slope = omega * self.power * ratio / (theta * (1 + ratio))
        self.offset = theta * self.slope - omega * math.log1p(ratio)

    def forward(self, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar, of keypoints (B, 68, 2)."""
        error = (predicted - true).abs()
        near = self.omega * torch.log1p((error / self.epsilon) ** self.power)
        return torch.where(error < self.theta, near, self.slope * error - self.offset).mean()


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a number above 0; got {value}")


#: All losses by name: classes, or functions that give a module.
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "mse": nn.MSELoss,
    "smooth_l1": nn.SmoothL1Loss,
    "l1": nn.L1Loss,
    "wing": WingLoss,
    "adaptive_wing": AdaptiveWingLoss,
}
#: Arguments of PyTorch's losses that a recipe may not set: training needs the mean.
FIXED = ("size_average", "reduce", "reduction")


def build_loss(name: str, **arguments) -> nn.Module:
    """The loss called `name`, one of LOSSES.

    arguments: for its constructor.
    Raises ValueError for another name, an argument that the loss does not have, a value that it cannot have,
    and a loss that gives more than one number.
    """
    if name not in LOSSES:
        raise ValueError(
            f"no loss named {name!r}; there are {', '.join(LOSSES)}, and those of a --model-file"
        )
    parameters = inspect.signature(LOSSES[name]).parameters
    known = [argument for argument in parameters if argument not in FIXED]
    for argument, value in arguments.items():
        if argument not in known:
            there = f"its arguments are {', '.join(known)}" if known else "it has no arguments"
            raise ValueError(f"the loss {name!r} has no argument {argument!r}; {there}")
        if not _is_number(parameters[argument].default):
            continue
        ours = LOSSES[name].__module__.startswith(("torch.", "training."))  # others may take any number
        if not _is_number(value) or not (0 if ours else -math.inf) <= value < math.inf or value == -math.inf:
            expected = "a number, 0 or more" if ours else "a number"
            raise ValueError(f"{argument} of the loss {name!r} must be {expected}; got {value!r}")
    try:
        loss = LOSSES[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the loss {name!r} cannot be built with {arguments}: {error}") from error
    _check_scalar(name, loss)
    return loss


def _check_scalar(name: str, loss: nn.Module) -> None:
    """Raises ValueError for a loss that gives more than one number of two faces."""
    faces = torch.zeros(2, NUM_KEYPOINTS, 2)
    try:
        value = loss(faces, faces)
    except Exception:  # a loss for what one network alone gives (benchmarks/search); training will tell
        return
    if getattr(value, "ndim", 0):
        raise ValueError(
            f"the loss {name!r} must give one number; of two faces it gives {tuple(value.shape)}. Take a mean"
        )


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
