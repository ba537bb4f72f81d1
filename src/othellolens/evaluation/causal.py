"""Causal scores: does a feature that claims a legal move move the model's opinion of that move?

A feature claims "s is a legal move" because it is on when s is. Whether the model uses it is
another question, answered by editing it at one position of a game and reading the next-move
log-probabilities there:

* ablate: where the feature is on and s is legal, take its share out of the reconstruction;
* add: where it is off and s is empty but not legal, put its usual share in;
* swap: where it is on and s is legal, take its share out and put in that of another feature whose
  square is empty but not legal.

What the encoder does not rebuild stays as it is. Beside each stand two controls at the same
positions and of the same length: the direction of a random other feature, and a random direction.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.one_ply import OnePly
from ..gpt.tokens import SQUARE_OF_TOKEN, token_of, tokens
from ..lens import Lens
from ..othello.boards import unpack
from ..othello.games import Games
from .bootstrap import DRAWS, Interval, game_weights, quantiles

Kind: TypeAlias = Literal["ablate", "add", "swap"]
KINDS: tuple[Kind, ...] = ("ablate", "add", "swap")
CONTROLS = ("feature", "random feature", "random direction")
"""What is edited: the feature itself, or in its place what should not matter."""


class Effect(NamedTuple):
    """What editing one feature did, in one game each."""

    feature: int
    square: int
    control: str
    game: Int64[Tensor, " edit"]
    claimed: Float[Tensor, " edit"]
    """Change of the log-probability of the square that the feature claims, nats."""
    others: Float[Tensor, " edit"]
    """Mean change of the log-probabilities of the other legal moves, nats."""


@dataclass(frozen=True)
class Effects:
    """Effects of one kind of edit, over features."""

    kind: str
    effects: tuple[Effect, ...]

    def interval(
        self, control: str, what: str = "claimed", *, draws: int = DRAWS, seed: int = 0
    ) -> Interval:
        """A mean over edits with its 95 % interval by bootstrap over games.

        Args:
            control: one of `CONTROLS`.
            what: "claimed", "others", or "specific": claimed less others.
            draws: how often games are drawn.
            seed: of the draws.

        Raises:
            InputError: there was no position to edit.
        """
        chosen = [effect for effect in self.effects if effect.control == control]
        game = torch.cat([effect.game for effect in chosen]) if chosen else torch.zeros(0)
        if not len(game):
            raise InputError(f"no position of these games lets one {self.kind} these features")
        claimed = torch.cat([effect.claimed for effect in chosen]).double()
        others = torch.cat([effect.others for effect in chosen]).double()
        values = {"claimed": claimed, "others": others, "specific": claimed - others}[what]
        _, place = game.unique(return_inverse=True)
        number = int(place.max()) + 1
        sums, edits = (
            torch.zeros(number).double().index_add_(0, place, x)
            for x in (values, torch.ones(len(values)).double())
        )
        weights = game_weights(number, draws, seed)
        return Interval(float(values.mean()), *quantiles((weights @ sums) / (weights @ edits)))


def causal_effects(
    lens: Lens,
    games: Games,
    claims: Mapping[int, int],
    *,
    kind: Kind = "ablate",
    seed: int = 0,
    batch: int = 128,
) -> Effects:
    """Edit features that claim legal moves, and see what the model makes of it.

    Each feature is edited in every game that has a position to do so, at one of them, drawn at
    random. Cost: one forward pass without edits, and for each edit one position of one.

    Args:
        lens: an autoencoder at its site.
        games: held-out games.
        claims: the square whose legality each feature claims.
        kind: what is done.
        seed: of positions, other features and directions.
        batch: games at a time.

    Raises:
        InputError: the encoder cannot rebuild, or rebuilds at another site than it reads.
    """
    encoder = lens.encoder
    if not isinstance(encoder, Autoencoder):
        raise InputError("this encoder has no decode: features cannot be edited")
    if lens.target != lens.site:
        raise InputError("features of a transcoder act at another site than they read")
    generator = torch.Generator().manual_seed(seed)
    plans = list(_plans(lens, games, claims, kind, generator))
    parts: list[list[Float[Tensor, "control edit 2"]]] = [[] for _ in plans]
    for first in range(0, len(games), batch):
        ids = tokens(games[first : first + batch])[:, : lens.model.cfg.n_ctx]
        played = OnePly(lens.model, ids, lens.site)
        for plan, part in zip(plans, parts, strict=True):
            part.append(_edited(played, plan.within(first, first + batch)))
    found: list[Effect] = []
    for plan, part in zip(plans, parts, strict=True):
        for control, changes in zip(CONTROLS, torch.cat(part, 1), strict=True):
            found.append(
                Effect(plan.feature, plan.square, control, plan.game, changes[:, 0], changes[:, 1])
            )
    return Effects(kind, tuple(found))


class _Plan(NamedTuple):
    """Where one feature is edited, and what is added there, for each control."""

    feature: int
    square: int
    game: Int64[Tensor, " edit"]
    ply: Int64[Tensor, " edit"]
    legal: Bool[Tensor, "edit 64"]
    change: Float[Tensor, "control edit d_in"]

    def within(self, first: int, stop: int) -> "_Plan":
        chosen = (self.game >= first) & (self.game < stop)
        return self._replace(
            game=self.game[chosen] - first,
            ply=self.ply[chosen],
            legal=self.legal[chosen],
            change=self.change[:, chosen],
        )


@torch.no_grad()
def _plans(
    lens: Lens, games: Games, claims: Mapping[int, int], kind: Kind, generator: torch.Generator
) -> Iterator[_Plan]:
    """One plan for each feature that can be edited anywhere."""
    features, boards, legal, empty = _seen(lens, games)
    directions, usual = _directions(lens), _usual(features)
    pool = [feature for feature in range(features.shape[1]) if float(usual[feature]) > 0]
    if len(pool) < 2:
        raise InputError("fewer than two features are ever on: there is nothing to compare")
    for feature, square in claims.items():
        on = features[:, feature] > 0
        partner = _partner(feature, square, claims, generator) if kind == "swap" else None
        where = _where(kind, on, legal, empty, square, None if partner is None else claims[partner])
        rows = _one_a_game(where, boards, generator)
        if not len(rows):
            continue
        other = _other(feature, pool, generator)
        size = features[rows, feature] if kind != "add" else usual[feature].expand(len(rows))
        sign = 1 if kind == "add" else -1
        own = sign * size[:, None] * directions[feature]
        if partner is not None:
            own = own + size[:, None] * _unit(directions[partner]) * directions[feature].norm()
        unit = _unit(torch.randn(directions.shape[1], generator=generator))
        wrong = [sign * _unit(x) * own.norm(dim=1, keepdim=True) for x in (directions[other], unit)]
        at = boards[rows].long()
        change = torch.stack([own, *wrong])
        yield _Plan(feature, square, at[:, 0], at[:, 1], legal[rows], change)


def _seen(lens: Lens, games: Games) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, (game, ply), legal moves and empty squares of every position that can be read."""
    features: list[Tensor] = []
    at: list[Tensor] = []
    legal: list[Tensor] = []
    empty: list[Tensor] = []
    for read in lens.read(games):
        features.append(read.features.cpu())
        at.append(read.boards.at)
        legal.append(unpack(read.boards.legal()))
        empty.append(read.boards.squares()[:, 2])
    if not features:
        raise InputError("there are no games to judge on")
    return torch.cat(features), torch.cat(at), torch.cat(legal), torch.cat(empty)


def _directions(lens: Lens) -> Float[Tensor, "feature d_in"]:
    """What one unit of each feature adds to the reconstruction."""
    encoder: Any = lens.encoder
    number = len(encoder.encode(torch.zeros(1, lens.model.width(lens.site)))[0])
    nothing = encoder.decode(torch.zeros(1, number))
    return (encoder.decode(torch.eye(number)) - nothing).detach()


def _usual(features: Float[Tensor, "position feature"]) -> Float[Tensor, " feature"]:
    """The mean of each feature where it is on."""
    return features.clamp(min=0).sum(0) / (features > 0).sum(0).clamp(min=1)


def _where(
    kind: Kind, on: Tensor, legal: Tensor, empty: Tensor, square: int, other: int | None
) -> Bool[Tensor, " position"]:
    """Where an edit of this kind means something; positions at which the game is over do not."""
    going = legal.any(1)
    if kind == "add":
        return going & ~on & empty[:, square] & ~legal[:, square]
    where = going & on & legal[:, square]
    return where if other is None else where & empty[:, other] & ~legal[:, other]


def _partner(
    feature: int, square: int, claims: Mapping[int, int], generator: torch.Generator
) -> int | None:
    """Another feature, of another square."""
    others = [f for f, s in claims.items() if f != feature and s != square]
    if not others:
        raise InputError("to swap features, two that claim different squares are needed")
    return others[int(torch.randint(len(others), (1,), generator=generator))]


def _other(feature: int, pool: list[int], generator: torch.Generator) -> int:
    while True:
        drawn = pool[int(torch.randint(len(pool), (1,), generator=generator))]
        if drawn != feature:
            return drawn


def _one_a_game(
    where: Bool[Tensor, " position"], at: Tensor, generator: torch.Generator
) -> Int64[Tensor, " edit"]:
    """One row of each game that has one, drawn at random."""
    rows = where.nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=generator)]
    first: dict[int, int] = {}
    for row, game in zip(rows.tolist(), at[rows, 0].tolist(), strict=True):
        first.setdefault(game, row)
    return torch.tensor([first[game] for game in sorted(first)], dtype=torch.int64)


def _unit(x: Float[Tensor, "*many d_in"]) -> Float[Tensor, "*many d_in"]:
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)


@torch.no_grad()
def _edited(played: OnePly, plan: _Plan) -> Float[Tensor, "control edit 2"]:
    """Changes of log-probability: of the claimed square, and the mean of the other legal moves."""
    if not len(plan.game):
        return torch.zeros(len(CONTROLS), 0, 2)
    number = len(CONTROLS)
    logits = played.run(
        plan.game.repeat(number),
        plan.ply.repeat(number),
        lambda x: x + plan.change.flatten(0, 1).to(x),
    )
    logits = logits.float().cpu().unflatten(0, (number, -1))
    clean = played.logits[plan.game, plan.ply].float().cpu()
    moved = logits.log_softmax(-1) - clean.log_softmax(-1)
    return torch.stack([_read_off(one, plan) for one in moved])


def _read_off(moved: Float[Tensor, "edit token"], plan: _Plan) -> Float[Tensor, "edit 2"]:
    others = plan.legal[:, SQUARE_OF_TOKEN].clone()
    others[:, 0] = False
    others[:, token_of(plan.square)] = False
    mean = moved.where(others, 0).sum(1) / others.sum(1).clamp(min=1)
    return torch.stack([moved[:, token_of(plan.square)], mean], 1)
