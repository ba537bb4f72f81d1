"""The verb `causal`: do the features of an SAE move the model the way they claim to?"""

from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from .concepts import standard
from .encoder import Autoencoder
from .errors import InputError
from .evaluation.cases import Cases, natural_cases
from .evaluation.causal import CONTROLS, KINDS, causal_effects
from .evaluation.counterfactuals import Counterfactual
from .evaluation.counts import count
from .evaluation.edits import by_features
from .evaluation.interventions import Outcome, intervene, oracle_null
from .evaluation.recording import Recording
from .evaluation.scores import Scores, score
from .lens import Lens, Reads
from .othello.games import Games
from .runs import HELD_SEED, apart, games_of, load_lens
from .terminal import Progress, say, table, write_result

_CASES_SEED = 1_000_003
# Far from the seeds of games that anybody trains on.


def causal(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    model: str | None = None,
    site: str | None = None,
    games: str = "600",
    least: float = 0.5,
    edited: int = 200,
    cases: int = 1000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Edit the features of an SAE: do the moves that they claim follow, and does the board?

    Features that detect a legal move are taken out, put in and swapped, beside a random feature and
    a random direction of the same length. Then, on the intervention benchmark, the features of a
    square's old state are turned off and those of its new state on.

    Args:
        run: folder of an SAE (of other libraries, too); user/repo:folder for one on the hub.
        model: where its folder does not say it, or another.
        site: where to read, likewise.
        games: a file of held-out games, or how many random ones to make, to choose features on.
        least: F1 from which a feature claims what it detects best.
        edited: of these games, how many to edit features in.
        cases: of the intervention benchmark, made anew.
        seed: of positions and controls.
        json: file for the result ("-": standard output).
    """
    lens = load_lens(run, model=model, site=site)
    if not isinstance(lens.encoder, Autoencoder):
        raise InputError(f"{run} has no decode: its features cannot be edited")
    held, progress = games_of(games, HELD_SEED), Progress()
    apart(Games(held.moves[:0], str(lens.encoder.metadata.get("games", ""))), held)
    recorded = Recording(lens, held)
    scores = score(count(recorded, held, standard()))
    claims = legal_claims(scores, least)
    if len(claims) < 2:
        raise InputError(
            f"{len(claims)} features detect a legal move with an F1 of {least:g}: lower --least"
        )
    rows: list[dict[str, Any]] = []
    for number, kind in enumerate(KINDS):
        progress("editing features", number, len(KINDS))
        found = causal_effects(lens, held[:edited], claims, kind=kind, seed=seed)
        rows += [
            {"edit": kind, "what": control}
            | {name: found.interval(control, name) for name in ("claimed", "others", "specific")}
            for control in CONTROLS
        ]
    made = natural_cases(cases, seed=_CASES_SEED + seed)
    outcomes = _benchmark(lens, made, scores, recorded, held, seed)
    progress.close()
    say(f"{len(claims)} features that claim a legal move; change of log-probability, nats")
    say(table([{key: str(value) for key, value in row.items()} for row in rows]) + "\n")
    say(f"{made.histories.origin}: one disc flipped; errors are false positives and negatives")
    say(table([_outcome(name, one) for name, one in outcomes.items()]))
    result = {name: _outcome(name, one) for name, one in outcomes.items()}
    write_result(json, {"held": held.origin, "edits": rows, "benchmark": result})


def legal_claims(scores: Scores, least: float) -> dict[int, int]:
    """The square whose legality each feature claims: its best match, if it is good enough."""
    found: dict[int, tuple[float, int]] = {}
    for match in scores.detectors():
        square = match.concept.square
        if match.concept.family == "legal" and square is not None and match.f1 >= least:
            found[match.feature] = max(found.get(match.feature, (0.0, 0)), (match.f1, square))
    return {feature: square for feature, (_, square) in found.items()}


def state_claims(scores: Scores) -> dict[tuple[str, int], tuple[int, ...]]:
    """The best feature of each state of each square."""
    return {
        (match.concept.family, match.concept.square): (match.feature,)
        for match in scores.detectors()
        if match.concept.square is not None
    }


def _benchmark(
    lens: Lens, cases: Cases, scores: Scores, recorded: Reads, held: Games, seed: int
) -> dict[str, Outcome]:
    claims, usual = state_claims(scores), _usual(recorded, held)
    wanted = Counterfactual.of(cases, "flip")
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randperm(len(usual), generator=generator).tolist()
    random = {key: tuple(mixed[feature] for feature in some) for key, some in claims.items()}
    return {
        "nothing (null)": intervene(lens.model, wanted),
        "the rules, not edited (oracle null)": oracle_null(wanted),
        "features at their mean": intervene(lens.model, wanted, by_features(lens, claims, usual)),
        "features at twice their mean": intervene(
            lens.model, wanted, by_features(lens, claims, 2 * usual)
        ),
        "random features at twice their mean": intervene(
            lens.model, wanted, by_features(lens, random, 2 * usual)
        ),
    }


def _usual(recorded: Reads, held: Games) -> Float[Tensor, " feature"]:
    """The mean of each feature where it is on."""
    total, on = torch.zeros(()), torch.zeros(())
    for read in recorded.read(held):
        total, on = total + read.features.sum(0), on + (read.features > 0).sum(0)
    return total / on.clamp(min=1)


def _outcome(name: str, found: Outcome) -> dict[str, object]:
    return {
        "edited": name,
        "error": str(found.interval()),
        "F1": found.mean("f1"),
        "KL": found.mean("kl"),
        "cases": int(found.counted.sum()),
    }
