"""What all networks share: the registry, the declared and checked input, counting."""

import math

import torch
from torch import nn

from landmarks import NUM_KEYPOINTS

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
    smallest_size: int
    registered_name: str

    def __init__(self, input_size: int | None = None):
        super().__init__()
        self.input_size = self.default_size if input_size is None else int(input_size)
        if self.input_size < self.smallest_size:
            raise ValueError(
                f"{type(self).__name__} needs an input_size of at least {self.smallest_size}, "
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


def count_multiply_adds(model: KeypointNetwork) -> int:
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
