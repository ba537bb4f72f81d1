"""Judgement: everything that the judge says of one encoder, with intervals and chance beside it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..concepts import ConceptSet, standard
from ..encoder import Autoencoder
from ..lens import Lens, Reads
from ..othello.games import Games
from .bootstrap import Interval, better_than_always, by_game, interval
from .controls import Permuted
from .counts import MEMORY, SCORE, Counts, bytes_needed, count, peaks
from .fidelity import Fidelity, fidelity
from .ranks import HUBEN, rank
from .reconstruction import reconstruct
from .recording import Recording
from .relations import absorption, detects, duplicates, splitting
from .scores import Scores, existing, score
from .undisturbed import Undisturbed

BOARD = "board"
"""The families mine and theirs, scored together: the published board state without blanks."""
_TOGETHER = {"mine": BOARD, "theirs": BOARD}


@dataclass(frozen=True)
class FamilyScores:
    """How well single features detect the concepts of one family."""

    concepts: int
    """Those that are averaged over: true somewhere and false somewhere in both halves."""
    coverage: Interval
    """Mean F1 of the best feature at its best threshold."""
    coverage_by_feature: float
    """The same with one threshold a feature."""
    coverage_global: float
    """The same with one threshold for all."""
    lift: Interval
    """Mean of (F1 - F1 of always on) / (1 - F1 of always on)."""
    mcc: Interval
    """Mean of Matthews' correlation."""
    by_ply: float
    """Coverage where each game meets the facts of another one: what the ply alone tells."""
    chance: float
    """Coverage where positions meet the facts of any others: what the base rates alone tell."""
    rebuilt: Interval
    """F1 of these facts rebuilt from features that tell one of them with precision >= 0.95."""
    redundancy: float
    """Features that detect a concept with an F1 of at least 0.8, mean over concepts with any."""
    absorbed: float
    """Share of the positions that main features miss at which a narrower feature is on instead."""
    by_concept: tuple[float, ...]
    """F1 of the best feature of each concept, in order; -1 where it is not averaged over."""
    better_than_always: int
    """Concepts whose detector beats one that is always on, at a false discovery rate of 5 %."""
    auroc_above: int | None = None
    """Concepts that have a feature with an AUROC above 0.9; None where ranks were not asked for."""
    auroc: float | None = None
    """Mean over concepts of the AUROC of the best feature."""
    average_precision: float | None = None
    """Mean over concepts of the average precision of the best feature."""
    split: float | None = None
    """F1 that a union of up to 6 features has above the best one's, mean over concepts."""
    polysemy: float | None = None
    """Concepts that a feature detects with an F1 of at least 0.8, mean over features with any."""


@dataclass(frozen=True)
class Judgement:
    """Scores of one encoder at one site, on held-out games."""

    features: int
    positions: int
    """Of the half that is scored."""
    families: dict[str, FamilyScores]
    """But for those of which no fact is true somewhere and false somewhere in both halves."""
    l0: float
    """Mean number of active features."""
    dead: float
    """Share of features that are never on."""
    duplicates: float
    """Share of features that have a twin: on at the same positions, Jaccard at least 0.9."""
    fvu: float | None = None
    """Fraction of variance unexplained; None, as what follows, where nothing can be rebuilt."""
    recovered: float | None = None
    """Fraction of the cross-entropy recovered, against zero-ablation."""
    kl: float | None = None
    """KL(clean || spliced), nats."""
    illegal: float | None = None
    """Strict top-1 illegal rate of the spliced model."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as they are saved; an interval is [value, low, high]."""
        return asdict(self)

    @staticmethod
    def from_dict(saved: dict[str, Any]) -> "Judgement":
        """What `to_dict` gave, also after it was JSON."""
        families = {name: _family(values) for name, values in saved["families"].items()}
        values: dict[str, Any] = {**saved, "families": families}
        return Judgement(**values)


BLANK = Judgement(0, 0, {}, 0.0, 0.0, 0.0)
"""Of what is not judged yet."""


def _family(saved: dict[str, Any]) -> FamilyScores:
    named: dict[str, Any] = {
        key: Interval(*saved[key]) for key in ("coverage", "lift", "mcc", "rebuilt")
    }
    named["by_concept"] = tuple(saved["by_concept"])
    values: dict[str, Any] = {**saved, **named}
    return FamilyScores(**values)


def judge_fully(
    lens: Lens,
    held: Games,
    *,
    concepts: ConceptSet | None = None,
    ranks: bool = True,
    memory: int = MEMORY,
    last: Undisturbed | None = None,
    watch: Callable[[str], object] = lambda _: None,
) -> Judgement:
    """Judge an encoder: the model runs once, everything else reads the recording.

    Args:
        lens: model, site and encoder.
        held: games that neither saw in training; choices are made on even ones, scores are of odd
            ones.
        concepts: what to look for; by default `standard()`.
        ranks: also AUROC, average precision and splitting, which take some times as long.
        memory: bytes that counts may take at a time.
        last: as in `fidelity`.
        watch: called with what comes next.

    Raises:
        InputError: there are no games.
    """
    concepts = standard() if concepts is None else concepts
    watch("reading")
    recorded = Recording(lens, held)
    peak = peaks(recorded, held)
    families: dict[str, FamilyScores] = {}
    for part in packed(concepts, len(peak), memory):
        watch(f"counting {', '.join(part.families)}")
        counts = count(recorded, held, part, peak=peak, memory=memory)
        controls = [
            count(Permuted(recorded, how), held, part, peak=peak, memory=memory)
            for how in ("games", "positions")
        ]
        for name, chosen in groups(part).items():
            if name != BOARD and not bool(existing(counts.only(*chosen.families)).any()):
                continue
            watch(f"scoring {name}")
            families[name] = _scores(recorded, held, counts, controls, chosen, ranks)
    watch("splicing")
    density, positions = _density(recorded, held)
    return Judgement(
        len(peak),
        positions,
        families,
        float(density.sum()),
        float((density == 0).float().mean()),
        _duplicates(recorded, held, len(peak)),
        **(_lost(fidelity(lens, held, last=last)) if isinstance(lens.encoder, Autoencoder) else {}),
    )


def groups(concepts: ConceptSet) -> dict[str, ConceptSet]:
    """The families by themselves, but mine and theirs as "board"."""
    found: dict[str, ConceptSet] = {}
    for concept in concepts.concepts:
        name = _TOGETHER.get(concept.family, concept.family)
        before = found.get(name, ConceptSet(())).concepts
        found[name] = ConceptSet((*before, concept))
    return found


def packed(concepts: ConceptSet, features: int, memory: int = MEMORY) -> Iterator[ConceptSet]:
    """Concepts in parts whose counts fit into `memory` bytes; a group stays in one part."""
    part = ConceptSet(())
    for group in groups(concepts).values():
        if len(part) and bytes_needed(features, len(part) + len(group)) > memory:
            yield part
            part = ConceptSet(())
        part = part + group
    if len(part):
        yield part


def _scores(
    reads: Reads,
    held: Games,
    counts: Counts,
    controls: Sequence[Counts],
    chosen: ConceptSet,
    ranks: bool,
) -> FamilyScores:
    names = chosen.families
    mine = counts.only(*names)
    scores = score(mine)
    games = by_game(reads, held, scores, "concept")
    by_ply, chance = (score(control.only(*names)).coverage(*names) for control in controls)
    redundancy, polysemy = _uniqueness(mine)
    return FamilyScores(
        int(scores.where(*names).sum()),
        interval(scores, games, *names),
        scores.coverage(*names, thresholds="feature"),
        scores.coverage(*names, thresholds="global"),
        interval(scores, games, *names, measure="lift"),
        interval(scores, games, *names, measure="mcc"),
        by_ply,
        chance,
        reconstruct(reads, held, counts=mine).interval(),
        redundancy,
        absorption(reads, held, scores).rate(scores.exists),
        _by_concept(scores),
        int(better_than_always(games)[scores.exists].sum()),
        **(_ranks(reads, held, scores) if ranks else {}),
        polysemy=polysemy,
    )


def _uniqueness(counts: Counts) -> tuple[float, float]:
    """Features a concept and concepts a feature, each over those with any; 0 where none has."""
    found = detects(counts)
    redundancy, polysemy = (
        float(number[number > 0].float().mean()) if bool(number.any()) else 0.0
        for number in (found.sum(0), found.sum(1))
    )
    return redundancy, polysemy


def _by_concept(scores: Scores) -> tuple[float, ...]:
    values = torch.where(scores.exists, scores.per_concept.measure(), -1.0)
    return tuple(round(value, 6) for value in values.tolist())


def _ranks(reads: Reads, held: Games, scores: Scores) -> dict[str, Any]:
    found = rank(reads, held, scores.counts.concepts)
    where = found.exists()
    areas, precisions = found.best("auroc")[where], found.best("ap")[where]
    return {
        "auroc_above": int((areas > HUBEN).sum()),
        "auroc": float(areas.mean()),
        "average_precision": float(precisions.mean()),
        "split": splitting(reads, held, scores.counts).gain(scores.exists),
    }


def _density(reads: Reads, held: Games) -> tuple[Float[Tensor, " feature"], int]:
    """Share of all positions at which each feature is above 0; positions of the scoring half."""
    on: Tensor | int = 0
    halves = torch.zeros(2, dtype=torch.int64)
    for read in reads.read(held):
        on = on + (read.features > 0).sum(0)
        halves += torch.bincount(read.boards.at[:, 0] % 2, minlength=2)
    return torch.as_tensor(on) / int(halves.sum()), int(halves[SCORE])


def _duplicates(reads: Reads, held: Games, features: int) -> float:
    twins = duplicates(reads, held)
    return len({feature for twin in twins for feature in (twin.one, twin.other)}) / features


def _lost(found: Fidelity) -> dict[str, float]:
    spliced = found.spliced
    return {
        "fvu": found.fvu,
        "recovered": found.recovered,
        "kl": spliced.kl,
        "illegal": spliced.illegal,
    }
