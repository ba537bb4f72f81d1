"""Training of Othello-GPT on random games made as they are needed.

Two targets. `played` is next-move cross-entropy (Li et al. 2023). `legal` is the cross-entropy
against the uniform distribution over the legal moves: for randomly played games its expectation is
the same, and its gradient has far less noise, because the move that happened to be drawn is
replaced by its expectation. It is the sum of two: minus the log of the probability that the model
gives to legal moves as a whole, and how unevenly that lies among them. `legality` weighs the first.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..artifact import write_file
from ..errors import InputError
from ..othello.boards import unpack
from ..othello.games import Games, random_games
from .model import GPT, flat
from .parallel import Team
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
    legality: float = 1.0
    """Weight of -log(probability of all legal moves together) in the `legal` loss; what remains of
    the loss is the evenness among them. Above 1 the model plays fewer illegal moves, and shuns
    those that it is less sure of: somewhat further from the uniform-legal oracle."""
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
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the products; weights, optimiser and losses are float32 either way."""

    def __post_init__(self) -> None:
        least_of = {"games": 1, "batch": 1, "legality": 0, "lr": 0, "weight_decay": 0}
        for name, least in least_of.items():
            if not getattr(self, name) >= least:
                raise InputError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.target == "played" and self.legality != 1:
            raise InputError("legality weighs a part of the legal loss: take --target legal")
        if not 0 <= self.warmup < 1 or not self.clip > 0:
            raise InputError(
                f"warmup must be a share in [0, 1) and clip above 0: got {self.warmup}, {self.clip}"
            )

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


class _Batch(NamedTuple):
    """This process's share of a batch."""

    ids: Int64[Tensor, "game ply"]
    legal: Bool[Tensor, "game ply token"] | None
    positions: Int64[Tensor, ""]
    """How many positions the loss is a mean over."""


class Trainer:
    """A training under way: model, optimisers and position; saves and restores to the same bits."""

    def __init__(
        self,
        model: GPT,
        plan: GPTPlan,
        *,
        seed: int,
        first: int = 0,
        compiled: bool = False,
        team: Team = Team(),  # noqa: B008
    ) -> None:
        self.model, self.plan, self.seed, self.first = model.to(team.device), plan, seed, first
        self.team, self.share = team, team.share(plan.batch)
        self.optimizers = _optimizers(model, plan)
        self.done = 0
        self._since: list[float] = []
        self.forward = team.wrapped(torch.compile(model) if compiled else model)  # pyright: ignore

    def steps(self) -> Iterator[GPTStep]:
        """Train to the end of the plan, one `GPTStep` an update.

        Raises:
            InputError: the loss or a gradient is not finite any more.
        """
        ahead = self._batch() if self.done < self.plan.steps else None
        while ahead is not None:
            self.model.train()
            loss = self._loss(ahead)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
            lr = self._set_lr()
            for optimizer in self.optimizers:
                optimizer.step()
            self.model.zero_grad()
            self.done += 1
            # A GPU is still at work here: the next games are made meanwhile.
            ahead = self._batch() if self.done < self.plan.steps else None
            yield self._told(float(self.team.mean(loss.detach())), float(norm), lr)
        self.model.eval()

    def _batch(self) -> "_Batch":
        first = self.first + self.done * self.plan.batch + self.team.rank * self.share
        games = random_games(self.share, seed=self.seed, first=first)
        ids, legal = tokens(games), None
        counted = ids[:, 1:] != PAD
        if self.plan.target == "legal":
            legal = legal_tokens(games)[:, :-1]
            counted = legal.any(-1)
            legal = legal.to(self.team.device)
        return _Batch(ids.to(self.team.device), legal, counted.sum().to(self.team.device))

    def _told(self, loss: float, norm: float, lr: float) -> GPTStep:
        for what, number in (("loss", loss), ("norm of the gradient", norm)):
            if not math.isfinite(number):
                raise self._diverged(f"{what} is {number}")
        self._since.append(loss)
        return GPTStep(self.done, self.done * self.plan.batch, loss, lr)

    def _diverged(self, what: str) -> InputError:
        return InputError(
            f"the {what} at step {self.done}: take a smaller learning rate than {self.plan.lr:g},"
            " or a longer warm-up; the last checkpoint is untouched"
        )

    def check_weights(self) -> None:
        """Refuse weights that are not finite, as a last update can leave them.

        Raises:
            InputError: they are not.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise self._diverged("weights are not finite")

    def take_mean(self) -> float:
        """The mean loss of the steps since this was last asked."""
        mean = sum(self._since) / len(self._since)
        self._since.clear()
        return mean

    def save(self, path: Path) -> None:
        """Everything that `restore` needs, in one file, in one step.

        Raises:
            InputError: the weights are not finite.
        """
        self.check_weights()
        state = {
            "done": self.done,
            "losses": self._since,
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
            self.done, self._since = state["done"], state["losses"]
        except InputError:
            raise
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).split("\n")[0]
            raise InputError(f"{path} is no checkpoint of this training ({first})") from None

    def _loss(self, batch: "_Batch") -> Tensor:
        """Such that its mean over the processes is the mean over all positions of the batch."""
        bf16 = self.plan.precision == "bf16"
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=bf16):
            logits = self.forward(batch.ids[:, :-1])
        if batch.legal is None:
            loss = F.cross_entropy(
                logits.float().flatten(0, 1), batch.ids[:, 1:].flatten(), ignore_index=PAD
            )
        else:
            loss = legal_loss(logits.float(), batch.legal, legality=self.plan.legality)
        if self.team.size == 1:
            return loss
        return loss * (batch.positions * self.team.size / self.team.total(batch.positions))

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
    logits: Float[Tensor, "game ply token"],
    legal: Bool[Tensor, "game ply token"],
    *,
    legality: float = 1.0,
) -> Float[Tensor, ""]:
    """Cross-entropy against the uniform distribution over the legal moves, nats a position.

    With P the probability of all n legal moves together, it is -log P + the mean of -log(p / P)
    over them; `legality` is the weight of the first term. Positions without a legal move do not
    count.
    """
    number = legal.sum(-1)
    total = logits.logsumexp(-1)
    each = total - (logits * legal).sum(-1) / number.clamp(min=1)
    if legality != 1:
        # The least float in place of -inf: a position without a legal move has a gradient of 0.
        inside = logits.masked_fill(~legal, torch.finfo(logits.dtype).min)
        each = each + (legality - 1) * (total - inside.logsumexp(-1))
    # Chosen and not multiplied: what does not count is not finite.
    return each.where(number > 0, 0).sum() / (number > 0).sum()


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
