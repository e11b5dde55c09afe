"""What the training loop is made of: learning rate, optimiser, averaged and first weights."""

import copy
import ctypes
import math

import numpy as np
import torch

from landmarks import NUM_KEYPOINTS
from models import KeypointNetwork
from training.recipes import Recipe


def seed_from(*numbers: int) -> int:
    """One seed out of several numbers, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def learning_rate_at(step: int, total_steps: int, recipe: Recipe) -> float:
    """The learning rate of a step: constant, or one cycle (30 % cosine warm-up, then cosine to ~0)."""
    peak = recipe.learning_rate
    if recipe.schedule == "constant":
        return peak
    if recipe.schedule != "one_cycle":
        raise ValueError(f"schedule must be 'constant' or 'one_cycle', got {recipe.schedule!r}")
    warm_up = 0.3 * total_steps
    if step < warm_up:
        low, share = peak / 25, step / warm_up
        return low + (peak - low) * (1 - math.cos(math.pi * share)) / 2
    share = (step - warm_up) / max(total_steps - warm_up, 1)
    return peak * (1 + math.cos(math.pi * share)) / 2 + 1e-7


def build_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if recipe.optimizer not in kinds:
        raise ValueError(f"optimizer must be one of {', '.join(kinds)}, got {recipe.optimizer!r}")
    return kinds[recipe.optimizer](
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )


def keep_freed_memory() -> bool:
    """Let this process reuse the memory of freed tensors; whether the C library can (glibc, so Linux).

    glibc gives blocks of more than 32 MB back to the system when they are freed and gets them anew, page by
    page, in the next step: a third of the time of a step with images of 224 pixels, and more (LOG.md).
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # other C libraries; Windows has no CDLL(None)
        return False
    trim_threshold, mmap_max = -1, -4  # their numbers in malloc.h
    return bool(set_option(mmap_max, 0) and set_option(trim_threshold, 2**31 - 1))


class MovingAverage:
    """Exponential moving average of weights and buffers, over fewer steps at the start."""

    def __init__(self, model: torch.nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).eval()

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """One step toward `model`."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(new, 1 - decay)
            else:
                average.copy_(new)


def start_at_mean_shape(model: KeypointNetwork, dataset, indices: list[int], count: int = 200) -> None:
    """Set the bias of a dense output to the mean keypoints of some training samples.

    The network then starts as the constant predictor and spends no epochs on becoming it.
    """
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1:]
    if not last or last[0].out_features != 2 * NUM_KEYPOINTS:
        return
    step = max(len(indices) // count, 1)
    shapes = torch.stack([dataset[i]["keypoints"] for i in indices[::step]])
    with torch.no_grad():
        last[0].weight.mul_(0.1)
        last[0].bias.copy_(shapes.mean(dim=0).flatten())
