"""Verdict: everything that the judge says of one lens, in one row."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..concepts import standard
from ..encoder import Autoencoder
from ..lens import Lens
from ..othello.games import Games
from .counts import count
from .fidelity import fidelity
from .reconstruction import reconstruct
from .scores import Scores, score


@dataclass(frozen=True)
class Verdict:
    """Scores of one lens on held-out games; None where its encoder cannot reconstruct."""

    features: int
    coverage: float
    """Mean best F1 over the 128 facts mine / theirs."""
    empty_coverage: float
    """The same over the 60 facts empty."""
    legal_coverage: float
    """The same over the 60 facts legal."""
    reconstruction: float
    """F1 of the boards rebuilt from features of precision >= 0.95."""
    l0: float | None = None
    """Mean number of active features."""
    fvu: float | None = None
    """Fraction of variance unexplained."""
    recovered: float | None = None
    """Fraction of the cross-entropy recovered, against zero-ablation."""
    kl: float | None = None
    """KL(clean || spliced), nats."""
    illegal: float | None = None
    """Strict top-1 illegal rate of the spliced model."""
    dead: float | None = None
    """Share of features that are never on."""


def judge(
    lens: Lens, held: Games, *, watch: Callable[[int, int], object] = lambda _, __: None
) -> tuple[Verdict, Scores]:
    """Judge one lens on held-out games; choices are made on even games, scores are of odd ones.

    Args:
        lens: model, site and encoder.
        held: games that neither saw in training.
        watch: called with how many games were read, and how many will be in all.

    Raises:
        InputError: there are no games, or counting needs more memory than is allowed.
    """
    passes = 5 if isinstance(lens.encoder, Autoencoder) else 3
    done = 0

    def advance(games: int) -> None:
        nonlocal done
        done += games
        watch(done, passes * len(held))

    lens = replace(lens, watch=advance)
    counts = count(lens, held, standard())
    scores = score(counts)
    verdict = Verdict(
        len(counts.peak),
        scores.coverage(),
        scores.coverage("empty"),
        scores.coverage("legal"),
        reconstruct(lens, held, counts=counts.only("mine", "theirs")).f1,
        *(_fidelity(lens, held) if isinstance(lens.encoder, Autoencoder) else ()),
    )
    return verdict, scores


def _fidelity(lens: Lens, held: Games) -> tuple[float, float, float, float, float, float]:
    found = fidelity(lens, held)
    spliced = found.spliced
    return found.l0, found.fvu, found.recovered, spliced.kl, spliced.illegal, found.dead
