"""How long and how an SAE is trained, and what is reported of each step."""

from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

from ..errors import InputError


@dataclass(frozen=True)
class SAEPlan:
    """How long and how to train."""

    rows: int = 4_000_000
    """Activation vectors to train on; the games are played through again where they are fewer."""
    batch: int = 1024
    """Rows a step."""
    window: int = 4096
    """Games whose rows are mixed with one another; at least twice as many as a batch has rows."""
    lr: float | None = None
    """Peak learning rate of Adam; by default 7e-4 / sqrt(width / 2^14)."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises."""
    decay: float = 0.2
    """Share of the steps at the end in which it falls linearly to 0."""
    clip: float = 1.0
    """Largest gradient norm."""
    dead_after: int | None = None
    """Rows of silence after which a feature counts as dead; by default 1/50 of all rows."""
    resample_until: float = 0.5
    """Share of the steps in which dead features are resampled, where the architecture needs it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the products, and of what ReLU and gated kinds make of them, the penalty of p-annealed
    gates included; weights, optimiser and reconstruction losses are float32 either way."""
    compiled: bool = False
    """Compile the loss, of kinds without a k: some 20 seconds once; needs a C++ compiler."""

    def __post_init__(self) -> None:
        for name in ("rows", "batch", "window"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("warmup", "decay", "resample_until"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        if not self.clip > 0 or (self.lr is not None and not 0 <= self.lr < inf):
            raise InputError(f"clip must be above 0 and lr not below: got {self.clip}, {self.lr}")
        if self.dead_after is not None and self.dead_after < 1:
            raise InputError(f"dead_after is {self.dead_after}: it is a number of rows, 1 or more")

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return max(1, self.rows // self.batch)

    @property
    def patience(self) -> int:
        """Rows of silence after which a feature counts as dead."""
        return self.dead_after if self.dead_after is not None else max(1, self.rows // 50)

    def rate(self, step: int, width: int) -> float:
        """Learning rate of a step, counted from 0."""
        peak = self.lr if self.lr is not None else 7e-4 / (width / 2**14) ** 0.5
        rise = (step + 1) / max(1.0, self.warmup * self.steps)
        fall = (self.steps - step) / max(1.0, self.decay * self.steps)
        return peak * min(1.0, rise, fall)


class SAEStep(NamedTuple):
    """One step of training, as it is reported."""

    step: int
    rows: int
    reconstruction: float
    """Squared error a position, for targets scaled to mean norm sqrt(d_out)."""
    sparsity: float
    revival: float
    fvu: float
    """Fraction of variance unexplained, of this batch."""
    l0: float
    """Mean number of active features."""
    dead: int
    """Features silent for longer than the plan's patience."""
    strength: float
    """Weight of the sparsity penalty; 0 for architectures that have none."""
