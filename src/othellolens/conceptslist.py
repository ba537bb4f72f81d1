"""The verb `concepts`: what the judge can look for, and how often it is true."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .concepts import ConceptSet, Family, families, family
from .errors import InputError
from .othello.games import Games
from .runs import HELD_SEED, games_of
from .terminal import say, table, write_result

_GAMES_AT_ONCE = 500


def concepts(
    *, games: str = "2000", families_of: tuple[str, ...] = (), json: Path | None = None
) -> None:
    """List the families of concepts: formula, where undefined, and how often they are true.

    Args:
        games: a file of games, or how many random ones to make.
        families_of: names of families to list alone, each of their concepts on a line.
        json: file for the result ("-": standard output).
    """
    held = games_of(games, HELD_SEED)
    if families_of:
        chosen = ConceptSet(tuple(c for name in families_of for c in family(name).concepts))
        rates = base_rates(held, chosen).tolist()
        shown: list[dict[str, object]] = [
            {"concept": str(concept), "rate": rate}
            for concept, rate in zip(chosen.concepts, rates, strict=True)
        ]
        say(table(shown))
        write_result(json, shown)
        return
    rows = [summary(kind, base_rates(held, ConceptSet(kind.concepts))) for kind in families()]
    say(table([{key: row[key] for key in _SHOWN} for row in rows]))
    say(f"{sum(row['concepts'] for row in rows)} concepts; rates over {held.origin}")
    write_result(json, rows)


_SHOWN = ("family", "concepts", "least", "mean", "most", "rarest", "formula")


def base_rates(games: Games, chosen: ConceptSet) -> Float[Tensor, " concept"]:
    """Share of the positions of some games at which each concept holds.

    Raises:
        InputError: there are no games.
    """
    if not len(games):
        raise InputError("there are no games to count over")
    holds, positions = torch.zeros(len(chosen), dtype=torch.float64), 0
    for first in range(0, len(games), _GAMES_AT_ONCE):
        facts = chosen.of(games[first : first + _GAMES_AT_ONCE].replay())
        holds, positions = holds + facts.sum(0), positions + len(facts)
    return (holds / positions).float()


def summary(kind: Family, rates: Float[Tensor, " concept"]) -> dict[str, Any]:
    """A family in one row."""
    rarest = kind.concepts[int(rates.argmin())]
    return {
        "family": kind.name,
        "concepts": len(kind.concepts),
        "formula": kind.formula,
        "undefined": kind.undefined,
        "history": kind.history,
        "least": float(rates.min()),
        "mean": float(rates.mean()),
        "most": float(rates.max()),
        "rarest": str(rarest),
    }
