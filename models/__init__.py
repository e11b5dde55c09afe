"""The networks: one square grayscale image in, 68 keypoints out.

    model = build_model("naimishnet")           # list_models() names them all
    model(torch.zeros(8, 1, 96, 96)).shape      # (8, 68, 2)

Every network takes (B, 1, S, S) float32 gray and returns (B, 68, 2): x and y as
`Normalize` scales them. S is `model.input_size`, chosen when the network is built;
`smallest_size` is the least that leaves the last layer a pixel.

To add one: subclass KeypointNetwork, put `@register("name")` above it, import its
module here. The sweep in tests/test_models.py then covers it.
"""

from models.base import (
    KeypointNetwork,
    build_model,
    count_multiply_adds,
    count_parameters,
    list_models,
    model_class,
    register,
)
from models.dense import BatchNormCNN, NaimishNet, StridedCNN, TwoLayerCNN, WideDenseCNN
from models.heatmap import HeatmapNet

__all__ = [
    "BatchNormCNN",
    "HeatmapNet",
    "KeypointNetwork",
    "NaimishNet",
    "StridedCNN",
    "TwoLayerCNN",
    "WideDenseCNN",
    "build_model",
    "count_multiply_adds",
    "count_parameters",
    "list_models",
    "model_class",
    "register",
]
