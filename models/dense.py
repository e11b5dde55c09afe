"""Networks that end in dense layers: NaimishNet, and the CNNs of the public write-ups."""

from itertools import pairwise

import torch
from torch import nn

from landmarks import NUM_KEYPOINTS
from models.base import KeypointNetwork, register


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
    smallest_size = 27

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
    smallest_size = 8

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
    smallest_size = 152

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
    smallest_size = 52

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
    smallest_size = 46

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
