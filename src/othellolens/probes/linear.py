"""The linear probe: for every square, whether it is mine, theirs or empty (Nanda et al. 2023).

p = softmax over the three of (x - mean) W[:, :, square] + b. "Mine" are the discs of the player who
moves next by the rules, passes honoured. As an encoder it has 192 features, the probabilities.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..activations.crowding import mixable
from ..activations.mixing import Mixer
from ..activations.rows import Rows
from ..activations.sources import Played
from ..artifact import (
    CONFIG,
    check_tensors,
    new_folder,
    provenance,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from ..concepts import Concept
from ..encoder import Encoder
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello.boards import Boards
from ..othello.games import Games, Table
from ..othello.squares import SQUARES

WEIGHTS = "probe.safetensors"
KIND = "linear-probe"
CLASSES = ("mine", "theirs", "empty")
Labels: TypeAlias = Literal["rules", "parity"]


@dataclass(frozen=True)
class ProbePlan:
    """How long and how to fit."""

    rows: int = 2_000_000
    """Activation vectors to fit on."""
    batch: int = 2048
    """Rows a step."""
    window: int = 4096
    """Games whose rows are mixed with one another; at least twice as many as a batch has rows."""
    lr: float = 1e-2
    """Peak learning rate of AdamW; it falls linearly to 0."""
    weight_decay: float = 1e-2
    """Decoupled weight decay."""

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return max(1, self.rows // self.batch)


class ProbeStep(NamedTuple):
    """One step of fitting, as it is reported."""

    step: int
    loss: float
    """Cross-entropy, nats a square."""
    accuracy: float
    """Share of squares that the batch's argmax gets right."""


class LinearProbe(Encoder):
    """W [d_in, 3, 64], b [3, 64], mean [d_in]; the classes are mine, theirs, empty."""

    mean: Tensor
    scale: Tensor

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.d_in = d_in
        self.W = nn.Parameter(torch.zeros(d_in, 3, 64))
        self.b = nn.Parameter(torch.zeros(3, 64))
        self.register_buffer("mean", torch.zeros(d_in))
        self.register_buffer("scale", torch.ones(()))

    def logits(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position 3 64"]:
        """Unnormalised log probabilities of mine, theirs, empty for every square."""
        centred = (x - self.mean) * self.scale
        return (centred @ self.W.flatten(1)).unflatten(1, (3, 64)) + self.b

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        """192 probabilities: 64 squares mine, 64 theirs, 64 empty."""
        return self.logits(x).softmax(1).flatten(1)

    def feature_names(self) -> tuple[str, ...]:
        facts = [Concept(family, square) for family in CLASSES for square in SQUARES]
        return tuple(map(str, facts))

    def save(self, path: str | Path) -> None:
        """Write a folder of config.json and probe.safetensors.

        Raises:
            InputError: `path` exists.
        """
        config = {
            **self.metadata,
            "kind": KIND,
            "schema": 1,
            "d_in": self.d_in,
            "classes": CLASSES,
            "provenance": provenance(),
        }
        with new_folder(Path(path)) as folder:
            write_json(folder / CONFIG, config)
            write_tensors(folder / WEIGHTS, self.state_dict())


def fit_probe(
    model: GPT,
    site: Site,
    games: Games,
    *,
    plan: ProbePlan | None = None,
    seed: int = 0,
    labels: Labels = "rules",
    watch: Callable[[ProbeStep], object] = lambda _: None,
) -> LinearProbe:
    """Fit the mine / theirs / empty probe on what passes a site of a model.

    Args:
        model: the player.
        site: where to read it.
        games: what to play through it.
        plan: how long and how.
        seed: of the mixing.
        labels: whose the discs are: of the side to move by the "rules", or by the "parity" of the
            ply, which is the published convention and wrong after a pass.
        watch: called with every step.
    """
    plan = plan or ProbePlan()
    if labels not in ("rules", "parity"):
        raise InputError(f"labels go by rules or parity: not {labels!r}")
    if not len(games):
        raise InputError("there are no games to fit on")
    table = games.replay_table()
    source = Played(model, site, games, window=mixable(plan.window, plan.batch))
    batches = Mixer(source, batch=plan.batch, seed=seed).batches()
    probe = LinearProbe(model.width(site))
    rows = (batch.of(site) for batch in batches)
    for step in _steps(probe, rows, table, plan, labels):
        watch(step)
    batches.close()
    probe.metadata = {
        "model_name": model.name,
        "hook_name": site.hook_name,
        "games": games.origin,
        "plan": asdict(plan),
        "seed": seed,
        "labels": labels,
    }
    return probe.eval()


def _steps(
    probe: LinearProbe, rows: Iterator[Rows], table: Table, plan: ProbePlan, labels: Labels
) -> Iterator[ProbeStep]:
    optimizer = torch.optim.AdamW(
        probe.parameters(), lr=plan.lr, betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    for step, batch in zip(range(plan.steps), rows, strict=False):
        if not step:
            _settle(probe, batch)
        truth = _truth(table, batch, labels)
        logits = probe.logits(batch.x)
        loss = F.cross_entropy(logits, truth)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * (1 - step / plan.steps)
        optimizer.step()
        optimizer.zero_grad()
        right = (logits.argmax(1) == truth).float().mean()
        yield ProbeStep(step + 1, loss.item(), right.item())


@torch.no_grad()
def _settle(probe: LinearProbe, first: Rows) -> None:
    """Centre and scale inputs to a variance of 1 an axis, so that one learning rate suits all."""
    probe.mean.copy_(first.x.mean(0))
    probe.scale.copy_(1 / (first.x - probe.mean).pow(2).mean().sqrt().clamp(min=1e-12))


def _truth(table: Table, rows: Rows, labels: Labels) -> Tensor:
    game, ply = rows.at.long().unbind(1)
    boards = Boards(table.mine[game, ply], table.theirs[game, ply], rows.at, table.black[game, ply])
    boards = by_parity(boards) if labels == "parity" else boards
    return classes(boards).to(rows.x.device)


def by_parity(boards: Boards) -> Boards:
    """The boards seen by the side that would move if nobody ever passed."""
    black = boards.at[:, 1] % 2 == 1
    same = black == boards.black
    mine = torch.where(same, boards.mine, boards.theirs)
    return Boards(mine, torch.where(same, boards.theirs, boards.mine), boards.at, black)


def classes(boards: Boards) -> Tensor:
    """int64 [position, 64]: 0 mine, 1 theirs, 2 empty."""
    return boards.squares().to(torch.uint8).argmax(1)


def load_probe(path: Path) -> LinearProbe:
    """A probe in eval mode with its metadata.

    Raises:
        InputError: a file is missing or damaged, or keys or shapes do not fit.
    """
    config = read_json(path / CONFIG)
    if config.get("kind") != KIND or not isinstance(config.get("d_in"), int):
        raise InputError(f"{path / CONFIG} is of kind {config.get('kind')!r}, no linear probe")
    probe = LinearProbe(config["d_in"])
    tensors = read_tensors(path / WEIGHTS)
    check_tensors(str(path / WEIGHTS), tensors, probe.state_dict())
    probe.load_state_dict(tensors)
    probe.metadata = config
    return probe.eval()
