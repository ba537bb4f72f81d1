"""Compression and distinction: does a player tell positions apart exactly where the rules do?

After Vafa et al. 2024 (https://arxiv.org/abs/2406.03689), section 2.4, with epsilon-acceptance
(section 3.2) and Monte-Carlo boundaries (appendix E.1). L(s) are the suffixes of which every move
gets a probability above epsilon after s and the moves before it; L(q) are those that are legal from
the position q. The boundary of two histories (equation 1; definition 2.4 for positions) is

    B(s1, s2) = {x1..xk in L(s1) but not L(s2), with x1..xj in both for all j < k}.

* Compression precision: over positions q reached by two histories s1, s2, the share for which no
  suffix sampled from L(s1) leaves L(s2), since the true boundary is empty.
* Distinction precision (equation 3): the share of B(s1, s2) that is legal from q1 but not from q2,
  averaged over pairs of different positions.
* Distinction recall (equation 2): the share of the true boundary B(q1, q2) that the player accepts
  after s1 but not after s2, averaged likewise.

Both boundaries are sampled: M suffixes are drawn move by move from what is accepted after s1, with
the player's own probabilities (the rules': uniformly), and each is cut where it first leaves L(s2).
A boundary is the set of what is cut; suffixes that never leave L(s2) add nothing. Hence compression
precision is an upper bound (appendix E.1).

Where this departs from the paper or from its code for Othello (othello_world/test_world_model.py):

* A suffix ends where the rules end the game from q1. That code samples on to 60 moves, where a
  finished game has no moves to accept.
* A suffix has at most `depth` moves, as the paper does for maps (k = 5) but not for Othello;
  `depth=None` is the paper's.
* Different positions are never equal (that code may draw a position twice), and nothing that fails
  is passed over (its `except: pass`). They stand at one ply, drawn uniformly from 3 to 58, and are
  those of two games drawn there; that code draws from the distinct positions of a length.
* Two different positions can have the same continuations (one empty square, say), and a player's
  sampled boundary may be empty though it should not be. The share of nothing is not 1: such a pair
  does not count in the average, and `Distinction` tells how many count. The code's convention, by
  which it is 1, is `precision_as_published`; under it a player that ignores the history scores 1.
* Padding is never a move: its probability counts for nothing.
* One pair of histories a position, where the paper averages over several.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from ...errors import InputError
from ...gpt.tokens import CONTEXT, PAD, SQUARE_OF_TOKEN
from ...othello.games import Games
from .agreement import different_pairs, histories, open_transpositions
from .players import EPSILON, Player, chances, check_epsilon, last_logits, oracle
from .positions import Positions
from .watching import Watch, quiet

SAMPLES = 30
"""Suffixes drawn for each pair (appendix E.1)."""
DEPTH = 10
SHORTEST = 3
"""First ply of the distinction test: theirs begins with histories of four moves."""
_CHUNK = 64

Suffix = tuple[int, ...]
"""Token ids."""


class Compression(NamedTuple):
    """Counts of positions; they add."""

    positions: int
    kept: int
    """Positions at which no sampled suffix tells the two histories apart."""

    def __add__(self, other: "Compression") -> "Compression":  # pyright: ignore
        return Compression(*(a + b for a, b in zip(self, other, strict=True)))

    def precision(self) -> float:
        """Compression precision; nan where there are no positions."""
        return self.kept / self.positions if self.positions else float("nan")


class Distinction(NamedTuple):
    """Sums over pairs of different positions; they add."""

    pairs: int
    drawn: int
    """Pairs for which the player's sampled boundary holds something."""
    precise: float
    """Summed share of that boundary that is right."""
    real: int
    """Pairs for which the true sampled boundary holds something."""
    recalled: float
    """Summed share of that boundary that the player finds."""
    precise_squares: float
    """Summed squares of the shares in `precise`, for the spread of their mean."""
    recalled_squares: float
    """The same for `recalled`."""

    def __add__(self, other: "Distinction") -> "Distinction":  # pyright: ignore
        sums = {key: x + other._asdict()[key] for key, x in self._asdict().items()}
        return Distinction(**sums)

    def precision(self) -> float:
        """Mean over pairs whose boundary is not empty; nan where there are none."""
        return self.precise / self.drawn if self.drawn else float("nan")

    def precision_as_published(self) -> float:
        """The same with 1 for every empty boundary, as the paper's code counts."""
        return (self.precise + self.pairs - self.drawn) / self.pairs if self.pairs else float("nan")

    def recall(self) -> float:
        """Mean over pairs whose true boundary is not empty; nan where there are none."""
        return self.recalled / self.real if self.real else float("nan")

    def precision_error(self) -> float:
        """Standard error of `precision`, pairs taken as independent."""
        return _error(self.drawn, self.precise, self.precise_squares)

    def recall_error(self) -> float:
        """Standard error of `recall`, pairs taken as independent."""
        return _error(self.real, self.recalled, self.recalled_squares)


def _error(count: int, total: float, squares: float) -> float:
    if count < 2:
        return float("nan")
    variance = max(0.0, squares - total * total / count) / (count - 1)
    return (variance / count) ** 0.5


def compression(
    player: Player,
    games: Games,
    positions: int,
    *,
    samples: int = SAMPLES,
    depth: int | None = DEPTH,
    epsilon: float = EPSILON,
    seed: int = 0,
    watch: Watch = quiet,
) -> Compression:
    """Compression precision, over positions that `games` reach by at least two histories.

    Positions are drawn uniformly without repeats, and two of the histories of each; where the games
    hold fewer, all of them.
    """
    check_epsilon(epsilon)
    found = Compression(0, 0)
    pairs = compression_pairs(games, positions, seed=seed)
    chance = torch.Generator().manual_seed(seed)
    for part in pairs.split(_CHUNK):
        sampled = boundaries(player, *_sides(games, part), samples, depth, epsilon, chance)
        found += Compression(len(part), sum(not boundary for boundary in sampled))
        watch("compression", found.positions, len(pairs))
    return found


def compression_pairs(games: Games, positions: int, *, seed: int = 0) -> Int32[Tensor, "pair 2 2"]:
    """Two rows with different histories for each of up to `positions` positions, by a seed."""
    chance = torch.Generator().manual_seed(seed)
    groups = open_transpositions(games)
    chosen = set(torch.randperm(len(groups), generator=chance)[:positions].tolist())
    rows: list[Tensor] = [torch.empty(0, 2, 2, dtype=torch.int32)]
    for number, position in enumerate(groups.groups()):
        if number in chosen:
            two = torch.randperm(len(position.at), generator=chance)[:2]
            rows.append(position.at[two][None])
    return torch.cat(rows)


def distinction(
    player: Player,
    games: Games,
    pairs: int,
    *,
    samples: int = SAMPLES,
    depth: int | None = DEPTH,
    epsilon: float = EPSILON,
    seed: int = 0,
    watch: Watch = quiet,
) -> Distinction:
    """Distinction precision and recall, over pairs of different positions at one ply of `games`."""
    check_epsilon(epsilon)
    chance = torch.Generator().manual_seed(seed)
    plies = torch.randint(SHORTEST, _last_ply(games) + 1, (pairs,), generator=chance)
    rows = different_pairs(games, plies, seed=seed)
    found = Distinction(0, 0, 0.0, 0, 0.0, 0.0, 0.0)
    for part in rows.split(_CHUNK):
        one, other = _sides(games, part)
        drawn = boundaries(player, one, other, samples, depth, epsilon, chance)
        real = boundaries(oracle, one, other, samples, depth, epsilon, chance)
        right = _shares(oracle, one, other, drawn, epsilon)
        recalled = _shares(player, one, other, real, epsilon)
        squares = (sum(x * x for x in shares) for shares in (right, recalled))
        found += Distinction(
            len(part), len(right), sum(right), len(recalled), sum(recalled), *squares
        )
        watch("distinction", found.pairs, pairs)
    return found


def boundaries(
    player: Player,
    one: Int64[Tensor, "pair length"],
    other: Int64[Tensor, "pair length"],
    samples: int,
    depth: int | None,
    epsilon: float,
    chance: torch.Generator,
) -> list[set[Suffix]]:
    """The boundary B(s1, s2) of each pair of histories, as far as `samples` suffixes show it.

    Args:
        player: whose acceptance; `oracle` for the true boundary.
        one: s1, token ids and then padding; at least 60 columns, so that suffixes fit.
        other: s2, of the same lengths.
        samples: suffixes to draw for each pair.
        depth: how many moves a suffix has at most; None: until the game is over.
        epsilon: what is accepted has a probability above it.
        chance: draws the suffixes.
    """
    found: list[set[Suffix]] = [set() for _ in one]
    begun = (one != PAD).sum(1).repeat_interleave(samples)
    pair = torch.arange(len(one)).repeat_interleave(samples)
    one, other = one[pair], other[pair]
    stand = _after(one)
    for step in range(depth if depth is not None else one.shape[1]):
        go = torch.from_numpy(~stand.over) & (begun + step < one.shape[1])
        if not bool(go.any()):
            break
        chosen, left = _draw(player, one[go], other[go], epsilon, chance)
        kept = go.nonzero()[:, 0][chosen != PAD]
        chosen, left = chosen[chosen != PAD], left[chosen != PAD]
        pair, one, other, begun = pair[kept], one[kept], other[kept], begun[kept]
        for side in (one, other):
            side[torch.arange(len(side)), begun + step] = chosen
        for row in left.nonzero()[:, 0].tolist():
            end = int(begun[row])
            found[int(pair[row])].add(tuple(one[row, end : end + step + 1].tolist()))
        stand = stand[kept.numpy()].play(SQUARE_OF_TOKEN[chosen])[(~left).nonzero()[:, 0].numpy()]
        pair, one, other, begun = pair[~left], one[~left], other[~left], begun[~left]
    return found


def accepts(
    player: Player,
    before: list[Int64[Tensor, " length"]],
    suffixes: list[Suffix],
    epsilon: float,
) -> list[bool]:
    """Whether a player accepts each suffix after its history, padding after it cut or not."""
    good = [True] * len(suffixes)
    pending = list(range(len(suffixes)))
    for step in range(max(map(len, suffixes), default=0)):
        pending = [i for i in pending if good[i] and step < len(suffixes[i])]
        if not pending:
            break
        rows = [_grown(before[i], suffixes[i][:step]) for i in pending]
        chance = chances(last_logits(player, torch.stack(rows)))
        for i, row in zip(pending, chance, strict=True):
            good[i] = bool(row[suffixes[i][step]] > epsilon)
    return good


def _shares(
    player: Player, one: Tensor, other: Tensor, sampled: list[set[Suffix]], epsilon: float
) -> list[float]:
    """For each boundary that is not empty the share that is accepted after s1 but not after s2."""
    flat = [(row, suffix) for row, suffixes in enumerate(sampled) for suffix in sorted(suffixes)]
    suffixes = [suffix for _, suffix in flat]
    first = accepts(player, [one[row] for row, _ in flat], suffixes, epsilon)
    second = accepts(player, [other[row] for row, _ in flat], suffixes, epsilon)
    hits = [0] * len(sampled)
    for (row, _), yes, no in zip(flat, first, second, strict=True):
        hits[row] += yes and not no
    return [hit / len(found) for hit, found in zip(hits, sampled, strict=True) if found]


def _draw(
    player: Player, one: Tensor, other: Tensor, epsilon: float, chance: torch.Generator
) -> tuple[Int64[Tensor, " row"], Tensor]:
    """A move accepted after `one` (padding if none), and whether it is rejected after `other`."""
    here, there = chances(last_logits(player, torch.cat([one, other]))).unflatten(0, (2, -1))
    weights = here * (here > epsilon)
    weights[:, PAD] = (weights.sum(-1) == 0).float()
    chosen = weights.multinomial(1, generator=chance)
    return chosen[:, 0], there.gather(1, chosen)[:, 0] <= epsilon


def _after(ids: Int64[Tensor, "row length"]) -> Positions:
    stand = Positions.start(len(ids))
    for column in SQUARE_OF_TOKEN[ids].unbind(1):
        stand = stand.play(column)
    return stand


def _grown(before: Int64[Tensor, " length"], suffix: Suffix) -> Int64[Tensor, " length"]:
    grown, length = before.clone(), int((before != PAD).sum())
    grown[length : length + len(suffix)] = torch.tensor(suffix, dtype=torch.int64)
    return grown


def _sides(games: Games, pairs: Int32[Tensor, "pair 2 2"]) -> tuple[Tensor, Tensor]:
    one, other = (histories(games, pairs[:, side], CONTEXT + 1) for side in (0, 1))
    return one, other


def _last_ply(games: Games) -> int:
    """The last ply at which two games at least go on.

    Raises:
        InputError: the games are too few or too short.
    """
    lengths = games.lengths().sort(descending=True).values
    last = min(int(lengths[1]) - 2, CONTEXT - 1) if len(games) > 1 else -1
    if last < SHORTEST:
        raise InputError("distinction needs at least two games of five moves or more")
    return last
