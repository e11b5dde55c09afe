"""Losses: values by hand, gradients, and losses of one's own."""

import numpy as np
import pytest
import torch

from training.losses import LOSSES, AdaptiveWingLoss, WingLoss, build_loss


def test_wing_loss_by_hand():
    wing = WingLoss(width=10, curvature=2)
    zero = torch.zeros(1, 1, 2)
    assert wing(zero, zero).item() == 0
    assert wing(zero + 2, zero).item() == pytest.approx(10 * np.log(2))
    brightness = 10 - 10 * np.log(6)
    assert wing(zero + 12, zero).item() == pytest.approx(12 - brightness, rel=1e-6)
    # continuous where the branches meet
    assert wing(zero + 9.9999, zero).item() == pytest.approx(wing(zero + 10.0001, zero).item(), abs=1e-3)


def test_adaptive_wing_by_hand():
    loss = AdaptiveWingLoss(omega=10, theta=4, epsilon=2, alpha=3)  # the power is 2
    zero = torch.zeros(1, 1, 2, dtype=torch.float64)
    assert loss(zero, zero).item() == 0
    assert loss(zero + 2, zero).item() == pytest.approx(10 * np.log(2))
    assert loss(zero - 3, zero).item() == pytest.approx(10 * np.log(1 + 9 / 4))
    # the slope of 10 ln(1 + e^2 / 4) is 10 (e / 2) / (1 + e^2 / 4), which is 4 at theta
    assert loss(zero + 6, zero).item() == pytest.approx(10 * np.log(5) + 4 * (6 - 4))


@pytest.mark.parametrize("arguments", [{}, {"omega": 14, "theta": 0.5, "epsilon": 1}])
def test_the_gradient_of_adaptive_wing_is_continuous(arguments):
    loss = AdaptiveWingLoss(**arguments)
    theta = arguments.get("theta", 0.16)

    def gradient(error):
        predicted = torch.full((1,), error, dtype=torch.float64, requires_grad=True)
        loss(predicted, torch.zeros(1, dtype=torch.float64)).backward()
        return predicted.grad.item()

    assert gradient(theta - 1e-9) == pytest.approx(gradient(theta + 1e-9), rel=1e-6)
    assert gradient(theta + 1e-9) == pytest.approx(loss.slope)
    assert gradient(0.0) == 0
    assert gradient(-1e-3) == -gradient(1e-3)
    assert 0 < gradient(1e-30) < 0.01 * gradient(0.01)  # wing has its largest gradient here


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_are_zero_at_the_truth_and_have_gradients(name):
    loss, true = build_loss(name), torch.randn(2, 68, 2)
    assert loss(true, true).item() == 0
    predicted = (true + 0.3).requires_grad_()
    loss(predicted, true).backward()
    assert (predicted.grad > 0).all()


def test_a_loss_that_gives_many_numbers_is_named_before_training(monkeypatch):
    monkeypatch.setitem(
        LOSSES, "each", type("Each", (torch.nn.Module,), {"forward": lambda _, a, b: (a - b) ** 2})
    )
    with pytest.raises(
        ValueError, match=r"the loss 'each' must give one number; of two faces .*\(2, 68, 2\)"
    ):
        build_loss("each")


class Shifted(torch.nn.Module):
    """A loss whose argument may be negative."""

    def __init__(self, offset: float = -1.0):
        super().__init__()
        self.offset = offset

    def forward(self, predicted, true):
        """The mean distance, shifted."""
        return (predicted - true).abs().mean() + self.offset


def test_a_loss_of_ones_own_may_have_negative_arguments(monkeypatch):
    monkeypatch.setitem(LOSSES, "shifted", Shifted)
    assert build_loss("shifted", offset=-2.0)(torch.ones(1, 68, 2), torch.zeros(1, 68, 2)) == -1
    with pytest.raises(ValueError, match="offset of the loss 'shifted' must be a number; got inf"):
        build_loss("shifted", offset=float("inf"))
    with pytest.raises(ValueError, match="must be a number, 0 or more"):
        build_loss("smooth_l1", beta=-1.0)
