"""The verb `worldmodel`: does a model behave like something that knows the board?"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import torch
import tyro

from .errors import InputError
from .evaluation.worldmodel import (
    EPSILON,
    PHASES,
    Agreement,
    Behaviour,
    Compression,
    Detours,
    Distinction,
    Kind,
    Player,
    agreement,
    beginnings,
    behaviour,
    check_epsilon,
    compression,
    detours,
    distinction,
    oracle,
    player_of,
    transposition_pairs,
)
from .gpt.model import untrained
from .gpt.runs import load_gpt_run
from .othello.games import Games
from .runs import HELD_SEED, apart, games_of
from .shares import wilson
from .terminal import Progress, say, table, write_result

_DETOURS: tuple[tuple[Kind, float], ...] = (
    ("random", 0.0), ("random", 0.1), ("random", 0.5), ("adversarial", 0.1), ("adversarial", 0.5)
)  # fmt: skip

Rows: TypeAlias = list[dict[str, object]]


class Findings(NamedTuple):
    """What was found out about one player."""

    behaviour: Behaviour
    agreement: Agreement
    compression: Compression
    distinction: Distinction
    detours: dict[str, Detours]
    openings: int
    """How many different ones the games under detours have."""


class Sizes(NamedTuple):
    """How much is measured."""

    judged: int
    pairs: int
    positions: int
    different: int
    detoured: int


def worldmodel(
    model: Annotated[str, tyro.conf.Positional] = "mini",
    *,
    games: str = "50000",
    judged: int = 2000,
    pairs: int = 5000,
    positions: int = 300,
    different: int = 300,
    detoured: int = 300,
    epsilon: float = EPSILON,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Test a model's moves alone, beside the rules and an untrained model: no activation is read.

    Legality and KL to the uniform-legal oracle by phase; whether two histories of one position are
    continued alike; compression and distinction of positions, and detours (Vafa et al. 2024).

    Args:
        model: mini, a published model's name, or the folder of a trained model.
        games: a file of games (WTHOR, too), or how many random held-out ones to make.
        judged: of these games, how many to judge for legality, drawn at random.
        pairs: pairs of histories of one position, for agreement.
        positions: positions with two histories, for compression.
        different: pairs of different positions, for distinction.
        detoured: games to finish under detours, drawn at random; each begins with four moves.
        epsilon: a move is accepted where its probability is above this.
        seed: of everything that is drawn.
        json: file for the result ("-": standard output).
    """
    sizes = Sizes(judged, pairs, positions, different, detoured)
    _check(sizes, epsilon)
    loaded, config = load_gpt_run(model)
    held, progress = games_of(games, HELD_SEED), Progress()
    if len(held) < 2:
        raise InputError(f"{len(held)} games are too few: take some thousands")
    apart(Games(held.moves[:0], str(config.get("games", ""))), held)
    players: dict[str, Player] = {
        model: player_of(loaded),
        "oracle": oracle,
        "untrained": player_of(untrained(loaded, seed=seed)),
    }
    found = {
        name: measure(player, held, sizes, epsilon, seed, _named(progress, name))
        for name, player in players.items()
    }
    progress.close()
    for title, rows in tables(found).items():
        say(f"{title}\n{table(rows)}\n")
    write_result(json, {"games": held.origin, "epsilon": epsilon, **_result(found)})


def measure(
    player: Player,
    games: Games,
    sizes: Sizes,
    epsilon: float,
    seed: int,
    watch: Callable[[str, int, int], object],
) -> Findings:
    """All tests of one player, on the same games and pairs whoever it is."""
    some = partial(dict, epsilon=epsilon, watch=watch)
    couples = transposition_pairs(games, sizes.pairs, seed=seed)
    begun = _drawn(games, sizes.detoured, seed)
    under = {
        f"{kind} {share:g}": detours(player, begun, share=share, kind=kind, seed=seed, watch=watch)
        for kind, share in _DETOURS
    }
    return Findings(
        behaviour(player, _drawn(games, sizes.judged, seed), **some()),
        agreement(player, games, couples, **some()),
        compression(player, games, sizes.positions, seed=seed, **some()),
        distinction(player, games, sizes.different, seed=seed, **some()),
        under,
        beginnings(begun),
    )


def _drawn(games: Games, count: int, seed: int) -> Games:
    """So many of them at random: files are in the order of years."""
    order = torch.randperm(len(games), generator=torch.Generator().manual_seed(seed))[:count]
    return Games(games.moves[order.sort().values], f"{len(order)} of {games.origin}")


def tables(found: dict[str, Findings]) -> dict[str, Rows]:
    """What is shown, by title."""
    legality: Rows = [
        {"player": name, "phase": phase, **_rounded(part.rates())}
        for name, one in found.items()
        for phase, part in _phases(one.behaviour)
    ]
    alike: Rows = [
        {"player": name, "phase": phase, **_rounded(part.rates(), whole=("pairs",))}
        for name, one in found.items()
        for phase, part in _phases(one.agreement)
    ]
    nerode: Rows = [{"player": name, **_nerode(one)} for name, one in found.items()]
    under: Rows = [
        {
            "player": name,
            "games": next(iter(one.detours.values())).games,
            "openings": one.openings,
            **{kind: _share(x.finished, x.games) for kind, x in one.detours.items()},
        }
        for name, one in found.items()
    ]
    return {
        "Next moves: top-1 illegal (strict, lenient), KL to the oracle in nats, probability of the"
        " legal moves,\nand shares of legal and of illegal moves that are accepted": legality,
        "Two histories of one position: same top move, total variation distance, overlap of the"
        " accepted moves": alike,
        "Myhill-Nerode (Vafa et al. 2024), with 95 % intervals": nerode,
        "Games that stay legal to their end under detours, with 95 % intervals; different openings"
        " among them": under,
    }


def _phases(counted: Any) -> list[tuple[str, Any]]:
    return [*((phase, counted.during(phase)) for phase in PHASES), ("all", counted)]


def _rounded(rates: dict[str, float], whole: Sequence[str] = ()) -> dict[str, object]:
    return {
        key: int(x) if key in whole else None if math.isnan(x) else x for key, x in rates.items()
    }


def _nerode(one: Findings) -> dict[str, object]:
    squeezed, told = one.compression, one.distinction
    return {
        "compression": _share(squeezed.kept, squeezed.positions),
        "positions": squeezed.positions,
        "distinction precision": _mean(told.precision(), told.precision_error()),
        "pairs": told.drawn,
        "as published": _number(told.precision_as_published()),
        "distinction recall": _mean(told.recall(), told.recall_error()),
        "of pairs": told.real,
    }


def _share(hits: int, count: int) -> str:
    """A share with its Wilson interval."""
    if not count:
        return "-"
    low, high = wilson(hits, count)
    return f"{hits / count:.3f} [{low:.3f}, {high:.3f}]"


def _mean(mean: float, error: float) -> str:
    return "-" if math.isnan(mean) else f"{mean:.3f} +- {1.96 * error:.3f}"


def _number(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.3f}"


def _result(found: dict[str, Findings]) -> dict[str, object]:
    return {
        name: {
            "behaviour": {phase: _rounded(x.rates()) for phase, x in _phases(one.behaviour)},
            "behaviour_by_ply": {key: x.tolist() for key, x in one.behaviour._asdict().items()},
            "agreement": {phase: _rounded(x.rates()) for phase, x in _phases(one.agreement)},
            "agreement_by_ply": {key: x.tolist() for key, x in one.agreement._asdict().items()},
            "compression": one.compression._asdict(),
            "distinction": one.distinction._asdict(),
            "detours": {kind: x._asdict() for kind, x in one.detours.items()},
            "openings": one.openings,
        }
        for name, one in found.items()
    }


def _named(progress: Progress, name: str) -> Callable[[str, int, int], object]:
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _check(sizes: Sizes, epsilon: float) -> None:
    check_epsilon(epsilon)
    for name, size in sizes._asdict().items():
        if size < 1:
            raise InputError(f"{name} must be at least 1, not {size}")
