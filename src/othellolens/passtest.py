"""The verb `pass-test`: does "mine" follow the player who moves, or the parity of the move?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from .errors import InputError
from .gpt.model import GPT
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .othello.games import Games
from .probes.board import BoardProbe
from .probes.fit import ProbePlan, fit_probe
from .probes.passes import SINCE, Sides, before_first_pass, sides
from .runs import HELD_SEED, games_of
from .terminal import Progress, say, table, write_result

FITTED = ("before any pass", "rules", "parity")
"""What the probes are fitted on: positions before any pass, where both conventions are one; or all
positions, labelled by the rules or by parity."""


def pass_test(
    model: Annotated[str, tyro.conf.Positional] = "mini",
    *,
    games: tuple[str, ...] = ("5000",),
    layers: tuple[int, ...] = (),
    train: str = "30000",
    plan: ProbePlan = ProbePlan(rows=500_000),  # noqa: B008
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """After a pass, does "mine" follow the player who moves next, or the parity of the move?

    The model is never told of passes. Linear probes are fitted on positions before any pass, and on
    all positions by either convention; then they are read where the two disagree.

    Args:
        model: mini, a published model's name, or the folder of a trained model.
        games: files of held-out games, or numbers of random ones to make; a table for each.
        layers: where to read, resid_post; by default every layer.
        train: a file of games to fit probes on, or how many random ones to make.
        plan: how the probes are fitted.
        seed: of the fitting and of random games.
        json: file for the result ("-": standard output).
    """
    player = load_gpt(model)
    chosen = layers or tuple(range(player.cfg.n_layers))
    if not all(0 <= layer < player.cfg.n_layers for layer in chosen):
        raise InputError(f"layers are numbered 0 to {player.cfg.n_layers - 1}: not {chosen}")
    held = {source: games_of(source, HELD_SEED) for source in games}
    fitting, progress = games_of(train, seed), Progress()
    rows: list[dict[str, Any]] = []
    for site in (Site("resid_post", layer) for layer in chosen):
        for name, probe in _probes(player, site, fitting, plan, seed, progress):
            for source, played in held.items():
                rows.append(_row(source, site, name, sides(probe, player, site, played)))
    progress.close()
    for source, played in held.items():
        mine = [row for row in rows if row["games"] == source]
        say(f"{played.origin}: {mine[0]['positions']:,} disputed positions; share of their filled")
        say("cells whose colour is read as the rules have it (the rest: as parity has it)")
        say(table([_shown(row) for row in mine]) + "\n")
    write_result(json, rows)


def _probes(
    player: GPT, site: Site, games: Games, plan: ProbePlan, seed: int, progress: Progress
) -> Iterator[tuple[str, BoardProbe]]:
    for name in FITTED:
        what = f"{site}: probe fitted {name if name == FITTED[0] else 'by ' + name}"
        yield (
            name,
            fit_probe(
                player,
                site,
                before_first_pass(games) if name == FITTED[0] else games,
                plan=plan,
                seed=seed,
                labels="parity" if name == "parity" else "rules",
                watch=lambda step, what=what: progress(what, step.step, plan.steps),
            ),
        )


def _row(source: str, site: Site, fitted: str, found: Sides) -> dict[str, Any]:
    shares = {name: found.share(name) for name in SINCE}
    return {
        "games": source,
        "site": str(site),
        "fitted": fitted,
        "positions": found.positions,
        "undisputed": found.undisputed,
        "since": shares,
        "interval": found.interval(),
    }


def _shown(row: dict[str, Any]) -> dict[str, object]:
    low, high = row["interval"]
    since = {f"{name} plies on": share for name, share in row["since"].items() if name != "all"}
    return {
        "site": row["site"],
        "fitted": row["fitted"],
        "true mover": f"{row['since']['all']:.3f} [{low:.3f}, {high:.3f}]",
        **since,
        "right where undisputed": row["undisputed"],
    }
