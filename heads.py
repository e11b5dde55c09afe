"""Small parts that are fitted after a heatmap network, on what it computes for the keypoints.

UncertaintyHead estimates confidence and radius, VisibilityHead which points are hidden. The weights of the
network stay as they are, and so do its keypoints (training/uncertainty.py, training/visibility.py).
"""

import torch
from torch import nn
from torch.nn import functional as F

from landmarks import NUM_KEYPOINTS


class UncertaintyHead(nn.Module):
    """Estimates confidence and radius from features and heatmaps that HeatmapNet computes for the keypoints.

    channels: number of channels of the coarsest features.
    """

    hidden = 96

    def __init__(self, channels: int):
        super().__init__()
        inputs = channels + NUM_KEYPOINTS
        # Mean and standard deviation of the inputs over the training crops.
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        # Calibration on held-out people: calibrate() in training/uncertainty.py.
        self.register_buffer("logit_scale", torch.ones(()))
        self.register_buffer("logit_shift", torch.zeros(()))
        self.register_buffer("radius_scale", torch.ones(()))
        self.body = nn.Sequential(
            nn.Linear(inputs, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1 + NUM_KEYPOINTS)
        )

    @staticmethod
    def inputs(coarse: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) coarsest features and (B, 68) standard deviations of the heatmaps to (B, C + 68)."""
        return torch.cat([coarse.mean(dim=(2, 3)), spread.clamp_min(1e-6).log()], dim=1)

    def raw(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logit of the confidence (B,) and logarithm of the radius (B, 68), before calibration."""
        out = self.body((inputs - self.input_mean) / self.input_std)
        return out[:, 0], out[:, 1:]

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Confidence (B,), 0 to 1, and radius (B, 68) in the unit of the keypoints, of inputs (B, C + 68)."""
        logit, log_radius = self.raw(inputs)
        confidence = torch.sigmoid(logit * self.logit_scale + self.logit_shift)
        return confidence, log_radius.exp() * self.radius_scale


class VisibilityHead(nn.Module):
    """Estimates for each keypoint whether it can be seen, from features and heatmaps of HeatmapNet.

    A point is hidden if something covers it, or if the image ends before it. A point that the head itself
    hides, on a turned face, counts as seen: nobody has labelled such points here.

    local: number of features of a point. shared: number of features of a face.
    """

    hidden = 64

    def __init__(self, local: int, shared: int):
        super().__init__()
        # Mean and standard deviation of the features over the training crops.
        for name, count in (("local", local), ("shared", shared)):
            self.register_buffer(f"{name}_mean", torch.zeros(count))
            self.register_buffer(f"{name}_std", torch.ones(count))
        # Calibration on held-out people: calibrate() in training/visibility.py.
        self.register_buffer("logit_scale", torch.ones(()))
        self.register_buffer("logit_shift", torch.zeros(()))
        self.from_local = nn.Linear(local, self.hidden)
        self.from_shared = nn.Linear(shared, self.hidden, bias=False)
        # What differs between the points: which features count.
        self.offset = nn.Parameter(torch.zeros(NUM_KEYPOINTS, self.hidden))
        self.weight = nn.Parameter(torch.zeros(NUM_KEYPOINTS, self.hidden))
        self.bias = nn.Parameter(torch.zeros(NUM_KEYPOINTS))

    @staticmethod
    def local_features(fine: torch.Tensor, merged: torch.Tensor, heatmaps: torch.Tensor) -> torch.Tensor:
        """Features (B, 68, C + D) around each point: means that its heatmap weighs after a softmax.

        fine: (B, C, H, W), the finest features. merged: (B, D, h, w). heatmaps: (B, 68, h, w).
        """
        if fine.shape[2] != merged.shape[2]:
            fine = F.avg_pool2d(fine, fine.shape[2] // merged.shape[2])
        weight = heatmaps.flatten(2).softmax(dim=-1)
        return weight @ torch.cat([fine, merged], dim=1).flatten(2).transpose(1, 2)

    def raw(self, local: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """Logit (B, 68) that a point is seen, before calibration."""
        local = self.from_local((local - self.local_mean) / self.local_std)
        shared = self.from_shared((shared - self.shared_mean) / self.shared_std)
        values = F.relu(local + shared.unsqueeze(1) + self.offset)
        return (values * self.weight).sum(dim=-1) + self.bias

    def forward(self, local: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """Visibility (B, 68), 0 to 1, of features (B, 68, local) and (B, shared)."""
        return torch.sigmoid(self.raw(local, shared) * self.logit_scale + self.logit_shift)
