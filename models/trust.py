"""How far an answer may be trusted: is this a face, and how far off may each point be."""

import torch
from torch import nn

from landmarks import NUM_KEYPOINTS

HIDDEN = 96


class TrustHead(nn.Module):
    """Confidence and radius from what a heatmap network has computed anyway.

    Fitted after the network itself, whose weights stay as they are (detector/trust.py).

    channels: of the coarsest features, averaged over the crop.
    """

    def __init__(self, channels: int):
        super().__init__()
        inputs = channels + NUM_KEYPOINTS
        # Mean and spread of the inputs over the training crops, so that all weigh alike at the start.
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        # Set on people that nobody was trained on: calibrate() in detector/trust.py.
        self.register_buffer("logit_scale", torch.ones(()))
        self.register_buffer("logit_shift", torch.zeros(()))
        self.register_buffer("radius_scale", torch.ones(()))
        self.body = nn.Sequential(
            nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1 + NUM_KEYPOINTS)
        )

    @staticmethod
    def inputs(coarse: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) features and (B, 68) spreads of the heatmaps to (B, C + 68)."""
        return torch.cat([coarse.mean(dim=(2, 3)), spread.clamp_min(1e-6).log()], dim=1)

    def raw(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logit (B,) and logarithm of the radius (B, 68), before calibration."""
        out = self.body((inputs - self.input_mean) / self.input_std)
        return out[:, 0], out[:, 1:]

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Confidence (B,) 0 to 1, and radius (B, 68) in the network's unit."""
        logit, log_radius = self.raw(inputs)
        confidence = torch.sigmoid(logit * self.logit_scale + self.logit_shift)
        return confidence, log_radius.exp() * self.radius_scale
