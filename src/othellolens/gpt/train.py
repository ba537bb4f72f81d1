"""Training of Othello-GPT on random games made as they are needed.

Two targets. `played` is next-move cross-entropy (Li et al. 2023). `legal` is the cross-entropy
against the uniform distribution over the legal moves: for randomly played games its expectation is
the same, and its gradient has far less noise, because the move that happened to be drawn is
replaced by its expectation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..artifact import write_file
from ..errors import InputError
from ..othello.boards import unpack
from ..othello.games import Games, random_games
from .model import GPT, flat
from .tokens import PAD, SQUARE_OF_TOKEN, tokens


@dataclass(frozen=True)
class GPTPlan:
    """How long and how to train."""

    games: int = 2_000_000
    """Random games to train on, each seen once."""
    batch: int = 128
    """Games a step."""
    target: Literal["legal", "played"] = "legal"
    """What to predict: the uniform distribution over legal moves, or the move that was played."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all."""
    lr: float = 7e-3
    """Peak learning rate; Muon's updates are scaled to the size of AdamW's."""
    warmup: float = 0.01
    """Share of the steps in which the learning rate rises from 0; then it falls linearly to 0."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the matrices."""
    clip: float = 1.0
    """Largest gradient norm."""

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return max(1, self.games // self.batch)


class GPTStep(NamedTuple):
    """One step of training, as it is reported."""

    step: int
    games: int
    loss: float
    """Cross-entropy in nats a position, of the batch before the update."""
    lr: float


class Trainer:
    """A training under way: model, optimisers and position; saves and restores to the same bits."""

    def __init__(
        self, model: GPT, plan: GPTPlan, *, seed: int, first: int = 0, compiled: bool = False
    ) -> None:
        self.model, self.plan, self.seed, self.first = model, plan, seed, first
        self.optimizers = _optimizers(model, plan)
        self.done = 0
        self.forward: nn.Module = torch.compile(model) if compiled else model  # pyright: ignore

    def steps(self) -> Iterator[GPTStep]:
        """Train to the end of the plan, one `GPTStep` an update."""
        self.model.train()
        while self.done < self.plan.steps:
            first = self.first + self.done * self.plan.batch
            batch = random_games(self.plan.batch, seed=self.seed, first=first)
            loss = self._loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
            lr = self._set_lr()
            for optimizer in self.optimizers:
                optimizer.step()
            self.model.zero_grad()
            self.done += 1
            yield GPTStep(self.done, self.done * self.plan.batch, loss.item(), lr)
        self.model.eval()

    def save(self, path: Path) -> None:
        """Everything that `restore` needs, in one file, in one step."""
        state = {
            "done": self.done,
            "seed": self.seed,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        write_file(path, lambda work: torch.save(state, work))

    def restore(self, path: Path) -> None:
        """Go on where `save` was called.

        Raises:
            InputError: the file is damaged or is of another training.
        """
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["seed"] != self.seed:
                raise InputError(f"{path} was trained with seed {state['seed']}, not {self.seed}")
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.done = state["done"]
        except InputError:
            raise
        except Exception as error:
            first = str(error).strip().split("\n")[0]
            raise InputError(f"{path} is no checkpoint of this training ({first})") from None

    def _loss(self, batch: Games) -> Tensor:
        device = self.model.device
        ids = tokens(batch).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = self.forward(ids[:, :-1])
        if self.plan.target == "played":
            return F.cross_entropy(
                logits.float().flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD
            )
        return legal_loss(logits.float(), legal_tokens(batch)[:, :-1].to(device))

    def _set_lr(self) -> float:
        position = self.done / self.plan.steps
        rise = (self.done + 1) / max(1.0, self.plan.warmup * self.plan.steps)
        fall = (1 - position) / (1 - self.plan.warmup)
        lr = self.plan.lr * min(1.0, rise, fall)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        return lr


def legal_tokens(games: Games) -> Bool[Tensor, "game ply token"]:
    """Which tokens are legal after each move; none where the game is over. Padding never is."""
    legal = unpack(games.replay_table().legal)[..., SQUARE_OF_TOKEN]
    legal[..., PAD] = False
    return legal


def legal_loss(
    logits: Float[Tensor, "game ply token"], legal: Bool[Tensor, "game ply token"]
) -> Float[Tensor, ""]:
    """Cross-entropy against the uniform distribution over the legal moves, nats a position.

    Positions without a legal move do not count.
    """
    number = legal.sum(-1)
    chosen = (logits * legal).sum(-1) / number.clamp(min=1)
    each = logits.logsumexp(-1) - chosen
    return (each * (number > 0)).sum() / (number > 0).sum()


class _Matrices(torch.optim.Muon):
    """Muon (Jordan et al. 2024) on 2-D views of the blocks' weights.

    Q, K and V count as one matrix over all heads each, as in a model without a head axis.
    """

    def __init__(self, weights: Sequence[Tensor], plan: GPTPlan) -> None:
        self.weights = weights
        self.views = [nn.Parameter(_as_matrix(weight.detach())) for weight in weights]
        super().__init__(
            self.views,
            lr=plan.lr,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def step(self, closure: Any = None) -> Any:
        for view, weight in zip(self.views, self.weights, strict=True):
            view.grad = None if weight.grad is None else _as_matrix(weight.grad)
        return super().step(closure)


def _as_matrix(weight: Tensor) -> Tensor:
    if weight.dim() == 2:
        return weight
    # W_O [head, d_head, d_model] is contiguous; W_Q, W_K, W_V are stored with the heads inside.
    return weight.flatten(0, 1) if weight.is_contiguous() else flat(weight)


def _optimizers(model: GPT, plan: GPTPlan) -> Sequence[torch.optim.Optimizer]:
    named = dict(model.named_parameters())
    inside = [key for key in named if key.startswith("blocks.") and ".W_" in key]
    rest = [weight for key, weight in named.items() if key not in inside]
    matrices = [named[key] for key in inside]
    if plan.optimizer == "muon":
        return [
            _Matrices(matrices, plan),
            torch.optim.AdamW(rest, lr=plan.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        ]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [torch.optim.AdamW(groups, lr=plan.lr, betas=(0.9, 0.95), fused=True)]
