"""Logistic regression of one concept on a few features by plain gradient descent, to the end."""

import torch
from torch import Tensor


def logistic(x: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weights and intercept for standardised x [position, feature] in double precision."""
    x, y = x.double(), y.double()
    weights, intercept = torch.zeros(x.shape[1]).double(), torch.zeros(()).double()
    for _ in range(40_000):
        error = torch.sigmoid(x @ weights + intercept) - y
        weights = weights - 0.5 * (x.T @ error / len(x) + ridge * weights)
        intercept = intercept - 0.5 * error.mean()
    return weights, intercept
