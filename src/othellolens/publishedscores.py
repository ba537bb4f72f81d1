"""`othellolens evaluate --protocol boardgameeval`: published scores and corrected ones together."""

from pathlib import Path

from .concepts import ConceptSet, cells, family
from .errors import InputError
from .evaluation.boardgameeval import published
from .evaluation.controls import Oracle
from .evaluation.counts import count
from .evaluation.reconstruction import reconstruct
from .evaluation.recording import Recording
from .evaluation.scores import score
from .lens import Reads
from .othello.games import Games
from .runs import HELD_SEED, apart, games_of, load_lens
from .terminal import say, table, write_result

ORACLE = "oracle"
"""Judged in the place of a folder: an encoder whose features are the truth."""
_OURS = {
    "board": ("mine", "theirs"),
    "board with blanks": ("mine", "theirs", "empty"),
    "legal moves": ("legal",),
}


def oracle() -> Oracle:
    """Every cell, legal move and blank, by the rules and by the parity of the ply."""
    concepts: ConceptSet = cells()
    for name in ("empty", "legal", "mine by parity", "theirs by parity"):
        concepts = concepts + family(name)
    return Oracle(concepts)


def evaluate_as_published(
    run: Path, *, model: str | None, site: str | None, games: str, json: Path | None
) -> None:
    """Judge as BoardGameEval did, faults included, and as we do, on the same games.

    The first half of the games is for coverage and labels, the second for rebuilding boards.
    """
    held = games_of(games, HELD_SEED)
    if len(held) < 4:
        raise InputError(f"{len(held)} games are too few for two halves: take 4 or more")
    half, reads = len(held) // 2, _reads(run, model, site, held)
    theirs = published(reads, held[:half], held[half:])
    recorded = Recording(reads, held)
    counts = count(recorded, held, oracle().concepts)
    rows: list[dict[str, object]] = []
    for name, found in theirs.items():
        ours = counts.only(*_OURS[name])
        rows.append(
            {
                "facts": name,
                "coverage as published": found.coverage,
                "of at most": found.attainable,
                "coverage corrected": score(ours).coverage(*_OURS[name]),
                "boards as published": found.reconstruction,
                "composite": found.composite,
                "boards corrected": reconstruct(recorded, held, counts=ours).f1,
            }
        )
    say(table(rows))
    say(
        "as published: mine by parity, one threshold chosen on the games that are scored, facts"
        " that never occur counted as 0; corrected: by the rules, chosen on even and scored on odd"
        " games, over facts that occur"
    )
    write_result(json, rows)


def _reads(run: Path, model: str | None, site: str | None, held: Games) -> Reads:
    if str(run) == ORACLE and not run.exists():
        return oracle()
    lens = load_lens(run, model=model, site=site)
    apart(Games(held.moves[:0], str(lens.encoder.metadata.get("games", ""))), held)
    return lens
