"""Rules: conjunctions of facts that tell when a neuron, or any other feature, is on.

A condition that somebody has in mind splits a neuron's activations (the spectrum plots of the
Othello circuits notebook beside Nanda et al. 2023, https://arxiv.org/abs/2309.00941). Or the rule
is searched for, as in network dissection (Bau et al. 2017, https://arxiv.org/abs/1704.05796), by
beam search over conjunctions; it is chosen on one half of the games and scored on the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..concepts import Concept, ConceptSet, everything, standard
from ..errors import InputError
from ..evaluation.controls import Permuted
from ..evaluation.counts import CHOOSE, SCORE, count
from ..evaluation.measures import Table, always, f1
from ..evaluation.scores import measure_of
from ..lens import Reads
from ..othello.boards import Boards
from ..othello.games import Games
from .neurons import columns

_Rule: TypeAlias = tuple[int, ...]
# Literals in rising order. Of C concepts: i is that concept i holds, C + i that it does not.
_NOTHING: tuple[_Rule, int, float] = ((), 0, 0.0)


@dataclass(frozen=True)
class Condition:
    """Facts of a position that must all hold, or not hold: "c3 mine & !d3 empty"."""

    literals: tuple[tuple[Concept, bool], ...]
    """Facts, and whether each is to hold."""

    def __post_init__(self) -> None:
        facts = [concept for concept, _ in self.literals]
        if not facts or len(set(facts)) < len(facts):
            raise InputError(f"a condition is of one fact or more, each named once: not '{self}'")

    def __str__(self) -> str:
        return " & ".join(f"{'' if wanted else '!'}{fact}" for fact, wanted in self.literals)

    @property
    def concepts(self) -> ConceptSet:
        """The facts, to be seen on boards."""
        return ConceptSet(tuple(concept for concept, _ in self.literals))

    def met(self, facts: Bool[Tensor, "position literal"]) -> Bool[Tensor, " position"]:
        """Where it holds, if these of its facts do."""
        return (facts == torch.tensor([wanted for _, wanted in self.literals])).all(1)

    def holds(self, boards: Boards) -> Bool[Tensor, " position"]:
        """At which positions it holds.

        Raises:
            InputError: a fact is of the last move, and the boards are not whole games in order.
        """
        return self.met(self.concepts.of(boards))

    @staticmethod
    def parse(text: str) -> "Condition":
        """What `str` writes: facts by name, & between them, ! before what is not to hold.

        Raises:
            InputError: there is no such fact, none at all, or one comes twice.
        """
        literals: list[tuple[Concept, bool]] = []
        for part in text.split("&"):
            wanted = not part.strip().startswith("!")
            name = " ".join(part.strip().removeprefix("!").split())
            if name not in _by_name():
                near = get_close_matches(name, _by_name(), n=1, cutoff=0.0)[0]
                raise InputError(
                    f"no fact {name!r} in the condition {text!r}: did you mean {near!r}?"
                    " Write e.g. 'c3 mine & !d3 empty'"
                )
            literals.append((_by_name()[name], wanted))
        return Condition(tuple(literals))


@cache
def _by_name() -> dict[str, Concept]:
    return {str(concept): concept for concept in everything().concepts}


@dataclass(frozen=True)
class Spectrum:
    """How a neuron's activation is spread where a condition holds and where it does not."""

    edges: Float[Tensor, " edge"]
    """Of bins of equal width from the least activation to the largest."""
    holds: Int64[Tensor, " bin"]
    """Positions in each bin at which the condition holds."""
    others: Int64[Tensor, " bin"]
    mean_holds: float
    mean_others: float
    auroc: float
    """Chance that a position where it holds has the larger activation, ties half."""
    explained: float
    """Share of the activation's variance that lies between the two means, 0 to 1 (eta squared)."""


def spectrum(
    reads: Reads, neurons: Sequence[int], games: Games, condition: Condition, *, bins: int = 20
) -> tuple[Spectrum, ...]:
    """Split activations by a condition (the "spectrum plots" of the notebook).

    Memory: 4 bytes a position and neuron asked for.

    Args:
        reads: `neurons_of(model, layer)`, or another lens.
        neurons: which features.
        games: to look through, once.
        condition: which positions to hold against the others.
        bins: of the histograms.

    Raises:
        InputError: there is no such neuron, or the condition never or always holds.
    """
    x, facts, _ = _held(reads, games, condition.concepts, neurons)
    there = condition.met(facts)
    if not bool(there.any()) or bool(there.all()):
        often = "always" if len(there) and bool(there.all()) else "never"
        raise InputError(
            f"'{condition}' {often} holds at the {len(there):,} positions of {games.origin}:"
            " take more games or another condition"
        )
    return tuple(_spectrum(row, there, bins) for row in x)


def _spectrum(x: Tensor, there: Tensor, bins: int) -> Spectrum:
    low, high = float(x.min()), float(x.max())
    edges = torch.linspace(low, high, bins + 1)
    place = (torch.searchsorted(edges, x, right=True) - 1).clamp(0, bins - 1)
    holds, others = (torch.bincount(place[where], minlength=bins) for where in (there, ~there))
    a, b, whole = x[there].double(), x[~there].double(), x.double()
    between = len(a) * len(b) / len(x) ** 2 * (a.mean() - b.mean()) ** 2
    explained = float(between / whole.var(correction=0).clamp(min=1e-30))
    return Spectrum(
        edges, holds, others, float(a.mean()), float(b.mean()), _auroc(x, there), explained
    )


def _auroc(x: Float[Tensor, " position"], truth: Bool[Tensor, " position"]) -> float:
    """By ranks, ties half; NaN where the truth is always or never so."""
    _, place, size = x.unique(return_inverse=True, return_counts=True)
    rank = (size.cumsum(0) - (size - 1) / 2.0).double()[place]
    true, false = int(truth.sum()), int((~truth).sum())
    above = float(rank[truth].sum()) - true * (true + 1) / 2
    return above / (true * false) if true and false else float("nan")


@dataclass(frozen=True)
class Rule:
    """What a neuron says, in facts, as chosen on the even games; scores are of the odd ones."""

    neuron: int
    condition: Condition | None
    """None where the neuron is hardly ever on."""
    threshold: float
    """The neuron is on where it exceeds this share of its peak on the even games."""
    on: float
    """Share of positions at which it is on."""
    f1: float
    """Of "the rule holds" as a detector of "the neuron is on", or the other way around."""
    always: float
    """F1 of a rule that holds everywhere."""
    auroc: float
    """Of the activation for the rule, without a threshold; NaN where the rule never holds."""
    chosen: float
    """The measure that it was chosen by, on the even games: compare neurons by this."""


@dataclass(frozen=True)
class Search:
    """How to search for rules."""

    depth: int = 3
    """Facts in a rule, at most."""
    width: int = 8
    """Rules of each length with which the search goes on (beam search)."""
    thresholds: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75)
    """Shares of a neuron's peak, ascending; the best for each rule is taken."""
    by: str = "f1"
    """What to choose by; see `evaluation.measures`."""
    gain: float = 0.01
    """What each fact more must add to that."""
    least: int = 20
    """Positions of the even games at which a threshold must leave the neuron on."""

    def __post_init__(self) -> None:
        rising = list(self.thresholds) == sorted(set(self.thresholds))
        if min(self.depth, self.width) < 1 or min(self.thresholds, default=-1) < 0 or not rising:
            raise InputError("depth and width are 1 or more, thresholds rise from 0 or more")


def screened(
    reads: Reads,
    games: Games,
    concepts: ConceptSet,
    *,
    most: int,
    how: Search = Search(),  # noqa: B008
) -> tuple[int, ...]:
    """The neurons that a single fact, or its contrary, tells best on the even games, best first.

    A quick look at all of them, from counts alone, before a search in depth of these. The peaks are
    those of the first 500 even games.

    Args:
        reads: `neurons_of(model, layer)`, or another lens.
        games: held-out ones.
        concepts: facts to look for.
        most: neurons to name.
        how: thresholds and measure.

    Raises:
        InputError: there are no games, or no such measure.
    """
    counts = count(reads, games, concepts, thresholds=how.thresholds)
    positions, holds = counts.positions[CHOOSE], counts.holds[CHOOSE]
    best = torch.full((len(counts.peak),), -torch.inf)
    for fires, both in zip(counts.fires[CHOOSE], counts.both[CHOOSE], strict=True):
        on = fires[:, None]
        either = torch.cat([both, on - both], 1), torch.cat([holds, positions - holds])
        score = measure_of(how.by)(Table(*either, on, positions)).amax(1)
        best = torch.maximum(best, score.masked_fill(fires < how.least, -torch.inf))
    return tuple(best.argsort(descending=True, stable=True)[:most].tolist())


def search_rules(
    reads: Reads,
    games: Games,
    concepts: ConceptSet | None = None,
    *,
    neurons: Sequence[int] | None = None,
    how: Search = Search(),  # noqa: B008
    shuffled: bool = False,
    watch: Callable[[int, int], object] = lambda _done, _all: None,
) -> tuple[Rule, ...]:
    """For each neuron the conjunction of facts and negated facts that best tells when it is on.

    Memory: 4 bytes a position and neuron, 5 a position and fact.

    Args:
        reads: `neurons_of(model, layer)`, or another lens.
        games: held-out ones, 4 or more.
        concepts: facts to make rules of; by default `concepts.standard()`.
        neurons: which features; by default all.
        how: to search.
        shuffled: each game meets the facts of another at the same ply (`Permuted`). What is found
            then is what chance and the ply give, and the least that a rule must exceed.
        watch: called with the number of neurons done, and of all.

    Raises:
        InputError: too few games, no such neuron or measure.
    """
    if len(games) < 4:
        raise InputError(f"{len(games)} games: half choose and half are scored, so take 4 or more")
    concepts = standard() if concepts is None else concepts
    source = Permuted(reads, "games") if shuffled else reads
    x, facts, half = _held(source, games, concepts, neurons)
    even, odd = half == CHOOSE, half == SCORE
    beam, literals = _Beam(facts[even], how), _literals(facts[odd])
    found: list[Rule] = []
    for n, row in zip(range(len(x)) if neurons is None else neurons, x, strict=True):
        bars = torch.tensor(how.thresholds) * row[even].amax().clamp(min=0)
        rule, level, chosen = beam.best(row[even] > bars[:, None])
        threshold, holds = how.thresholds[level], _mask(literals, rule)
        pairs = [(concepts.concepts[i % len(concepts)], i < len(concepts)) for i in rule]
        condition = Condition(tuple(pairs)) if pairs else None
        found.append(
            _scored(n, condition, threshold, chosen, row[odd] > bars[level], row[odd], holds)
        )
        watch(len(found), len(x))
    return tuple(found)


def _scored(
    neuron: int,
    condition: Condition | None,
    threshold: float,
    chosen: float,
    on: Bool[Tensor, " position"],
    x: Float[Tensor, " position"],
    holds: Bool[Tensor, " position"],
) -> Rule:
    table = Table((holds & on).sum(), holds.sum(), on.sum(), torch.tensor(len(on)))
    return Rule(
        neuron,
        condition,
        threshold,
        on.float().mean().item(),
        f1(table).item() if condition else 0.0,
        always(table).item(),
        _auroc(x, holds),
        chosen,
    )


class _Beam:
    """Conjunctions on the even games. Counts are products of 0s and 1s: exact to 2^24 positions."""

    def __init__(self, facts: Bool[Tensor, "position concept"], how: Search) -> None:
        self.facts, self.literals, self.how = facts.float(), _literals(facts), how
        self.measure, self.known = measure_of(how.by), dict[_Rule, Tensor]()

    def best(self, on: Bool[Tensor, "threshold position"]) -> tuple[_Rule, int, float]:
        """The best rule for when a neuron is on, which threshold it is for, and how good it is."""
        near = on[0].nonzero()[:, 0]
        fires, hot, facts = (
            on.sum(1)[:, None, None],
            on.index_select(1, near).float(),
            self.facts.index_select(0, near),
        )
        beam: list[_Rule] = [()]
        found, most = _NOTHING, 0.0
        for size in range(1, self.how.depth + 1):
            masks = torch.stack([_mask(self.literals, rule) for rule in beam])
            both = _signed(hot[:, None] * masks.index_select(1, near), facts)
            table = Table(both, self._holds(beam, masks), fires, torch.tensor(on.shape[1]))
            score = self.measure(table).masked_fill(fires < self.how.least, -torch.inf)
            for number, rule in enumerate(beam):
                score[:, number, _named(rule, facts.shape[1])] = -torch.inf
            best, level = score.flatten(1).max(0)
            order = best.argsort(descending=True, stable=True)[: self.how.width * size]
            order = order[best[order] > -torch.inf].tolist()
            if not order:
                break
            longer = [tuple(sorted((*beam[i // both.shape[2]], i % both.shape[2]))) for i in order]
            value = float(best[order[0]])
            if value - self.how.gain * size > most:
                most = value - self.how.gain * size
                found = longer[0], int(level[order[0]]), value
            beam = list(dict.fromkeys(longer))[: self.how.width]
        return found

    def _holds(
        self, beam: list[_Rule], masks: Bool[Tensor, "rule position"]
    ) -> Float[Tensor, "rule literal"]:
        """Positions at which rules and one literal more hold; many neurons ask for the same."""
        new = [number for number, rule in enumerate(beam) if rule not in self.known]
        counts = _signed(masks[new].float(), self.facts) if new else ()
        self.known.update(zip([beam[number] for number in new], counts, strict=True))
        return torch.stack([self.known[rule] for rule in beam])


def _literals(facts: Bool[Tensor, "position concept"]) -> Bool[Tensor, "literal position"]:
    """Where each fact holds, then where each does not, a literal a row."""
    return torch.cat([facts, ~facts], 1).T.contiguous()


def _mask(literals: Bool[Tensor, "literal position"], rule: _Rule) -> Bool[Tensor, " position"]:
    holds = torch.ones(literals.shape[1], dtype=torch.bool)
    for literal in rule:
        holds &= literals[literal]
    return holds


def _named(rule: _Rule, concepts: int) -> list[int]:
    """The literals that say again what a rule says, or the contrary."""
    return [i for literal in rule for i in (literal % concepts, literal % concepts + concepts)]


def _signed(rows: Tensor, facts: Float[Tensor, "position concept"]) -> Tensor:
    """At how many of the rows' positions each fact holds, then each does not: [..., literal]."""
    holds = rows @ facts
    return torch.cat([holds, rows.sum(-1, keepdim=True) - holds], -1)


def _held(
    reads: Reads, games: Games, concepts: ConceptSet, neurons: Sequence[int] | None
) -> tuple[Float[Tensor, "neuron position"], Bool[Tensor, "position concept"], Tensor]:
    """Activations, facts and halves of all positions."""
    parts = [
        (columns(read.features, neurons).T, read.facts(concepts), read.boards.at[:, 0] % 2)
        for read in reads.read(games)
    ]
    if not parts:
        raise InputError("there are no games to look at")
    x, facts, half = zip(*parts, strict=True)
    return torch.cat(x, 1), torch.cat(facts), torch.cat(half)
