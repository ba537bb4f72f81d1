"""The verbs `fit-probe` and `probe`: one probe for keeps, or every layer beside its baselines."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro
from torch import Tensor

from .artifact import refuse_existing
from .errors import InputError
from .gpt.model import GPT, untrained
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .othello.games import Games
from .probes.accuracy import Accuracy, marginal_accuracy, probe_accuracies
from .probes.board import BoardProbe
from .probes.fact_accuracy import FactAccuracy, fact_accuracies
from .probes.facts import FactProbe
from .probes.fit import Kind, ProbePlan, ProbeTarget, fit_probes
from .probes.geometry import geometry, paired
from .probes.labels import Convention
from .probes.linear import LinearProbe
from .probes.probe import Probe
from .runs import HELD_SEED, apart, games_of
from .terminal import Progress, say, table, write_result


def verb_fit_probe(
    out: Path,
    *,
    model: str = "mini",
    site: str = "resid_post.3",
    kind: Kind = "linear",
    labels: Convention = "rules",
    back: int = 0,
    families: tuple[str, ...] = (),
    games: str = "30000",
    held: str = "1000",
    plan: ProbePlan = ProbePlan(),  # noqa: B008
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Fit a mine / theirs / empty probe, or one of concepts, and say how often it is right.

    Args:
        out: the folder to write.
        model: mini, or the folder of a trained model.
        site: where to read, e.g. resid_post.3, attn_out.2, or z.2.5 for one head.
        kind: a linear probe, or an mlp with a hidden layer of 128.
        labels: whose the discs are: by the rules, or by parity as in the published probes, or by
            colours; shuffled are those of another game.
        back: plies before the position whose truth it is told; 0: the position itself.
        families: of concepts to find by a logistic regression each, instead of the board; see
            `othellolens concepts`.
        games: a file of games to fit on, or how many random ones to make.
        held: the same for the games to test on.
        plan: how long and how.
        seed: of the mixing and of the random games to fit on.
        json: file for the result ("-": standard output).
    """
    refuse_existing(out)
    player, where = load_gpt(model), Site.parse(site)
    train, test = apart(games_of(games, seed), games_of(held, HELD_SEED))
    target = ProbeTarget(where, kind, labels, back, families=families)
    (probe,) = _fit(player, [target], train, plan, seed, "fit-probe")
    if isinstance(probe, FactProbe):
        (scores,) = fact_accuracies([(where, probe)], player, test, back=back)
        probe.metadata["accuracy"] = {name: scores.mean(name) for name in families}
        say(table([_facts(str(where), name, scores, None, None) for name in families]))
    else:
        board = cast(BoardProbe, probe)
        told: Convention = "rules" if labels == "shuffled" else labels
        (found,) = probe_accuracies([(where, board)], player, test, labels=told, back=back)
        probe.metadata["accuracy"] = found.to_dict()
        say(f"{where} of {model}: {found.cell:.2%} of cells, {found.board:.2%} of boards right")
    probe.save(out)
    write_result(json, probe.metadata["accuracy"])


def probe_layers(
    model: Annotated[str, tyro.conf.Positional] = "mini",
    *,
    sites: tuple[str, ...] = (),
    kinds: tuple[Kind, ...] = ("linear", "mlp"),
    back: int = 0,
    families: tuple[str, ...] = (),
    by: tuple[Literal["square", "ply", "geometry"], ...] = (),
    games: str = "30000",
    held: str = "1000",
    plan: ProbePlan = ProbePlan(rows=500_000),  # noqa: B008
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Probe every layer for the board, or for concepts, beside baselines.

    The baselines: the same probe on a model of fresh weights, the same probe told the truth of
    other games, and the most frequent state of each square at each ply, which needs no model.

    Args:
        model: mini, a published model's name, or the folder of a trained model.
        sites: where to read, e.g. resid_post.3 attn_out.2 z.2.5; by default resid_post of every
            layer.
        kinds: of probes for the board.
        back: plies before the position whose truth is asked for.
        families: of concepts to find, instead of the board.
        by: of the best site and kind: accuracy by square, by ply; or how the directions of the
            linear probes lie to one another.
        games: a file of games to fit on, or how many random ones to make.
        held: the same for the games to test on.
        plan: how long and how.
        seed: of the mixing, the untrained model and the random games to fit on.
        json: file for the result, with accuracies by square and ply ("-": standard output).
    """
    player = load_gpt(model)
    layers = range(player.cfg.n_layers)
    where = [Site.parse(s) for s in sites] or [Site("resid_post", layer) for layer in layers]
    train, test = apart(games_of(games, seed), games_of(held, HELD_SEED))
    contest = _Contest(player, where, train, test, plan, seed, back)
    if families:
        if by:
            raise InputError("--by speaks of boards: leave it out with --families")
        rows = _fact_rows(contest, families)
        say(table(rows))
        write_result(json, rows)
        return
    found = _boards(contest, kinds)
    marginals = marginal_accuracy(player, train, test) if not back else None
    if marginals is not None:
        say(
            f"most frequent state of each square at each ply, without a model: cells"
            f" {marginals.cell:.4f}, boards {marginals.board:.4f}"
        )
    say(table([_board_row(one) for one in found]))
    best = max(found, key=lambda one: one["accuracy"].cell)
    for what in by:
        say("\n" + {"square": _by_square, "ply": _by_ply, "geometry": _lie}[what](contest, best))
    write_result(json, [_saved(one) for one in found])


class _Contest:
    """One model's sites, games and plan."""

    def __init__(
        self,
        model: GPT,
        sites: Sequence[Site],
        train: Games,
        test: Games,
        plan: ProbePlan,
        seed: int,
        back: int,
    ) -> None:
        self.model, self.sites, self.train, self.test = model, list(sites), train, test
        self.plan, self.seed, self.back = plan, seed, back
        self.blank = untrained(model, seed=seed + 1)

    def fit(self, model: GPT, targets: Sequence[ProbeTarget]) -> list[Probe]:
        """Probes of this or the untrained model."""
        what = "probes" if model is self.model else "probes of an untrained model"
        return _fit(model, targets, self.train, self.plan, self.seed, what)

    def board_accuracies(self, model: GPT, targets: list[ProbeTarget]) -> list[Accuracy]:
        """Held-out accuracy of probes fitted to these targets."""
        probes = self.fit(model, targets)
        pairs = [(t.site, cast(BoardProbe, p)) for t, p in zip(targets, probes, strict=True)]
        return probe_accuracies(pairs, model, self.test, back=self.back)


def _fit(
    model: GPT, targets: Sequence[ProbeTarget], games: Games, plan: ProbePlan, seed: int, what: str
) -> list[Probe]:
    progress = Progress()
    found = fit_probes(
        model,
        targets,
        games,
        plan=plan,
        seed=seed,
        watch=lambda step: progress(what, step.step, plan.steps, right=round(step.accuracy, 4)),
    )
    progress.close()
    return found


def _boards(contest: _Contest, kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    """For each site and kind its accuracy, and those of its two floors."""
    plain = [ProbeTarget(s, k, back=contest.back) for s in contest.sites for k in kinds]
    mixed = [ProbeTarget(t.site, t.kind, "shuffled", t.back) for t in plain]
    found = contest.board_accuracies(contest.model, plain + mixed)
    blank = contest.board_accuracies(contest.blank, plain)
    return [
        {
            "site": str(target.site),
            "probe": target.kind,
            "accuracy": found[index],
            "untrained": blank[index],
            "shuffled": found[len(plain) + index],
        }
        for index, target in enumerate(plain)
    ]


def _board_row(one: dict[str, Any]) -> dict[str, object]:
    accuracy: Accuracy = one["accuracy"]
    shown: dict[str, object] = {"site": one["site"], "probe": one["probe"]}
    for what in ("cell", "board"):
        low, high = accuracy.interval(what)
        shown[f"{what}s"] = f"{getattr(accuracy, what):.4f} [{low:.4f}, {high:.4f}]"
    for floor in ("untrained", "shuffled"):
        shown |= {f"{floor} cells": one[floor].cell, f"{floor} boards": one[floor].board}
    return shown


def _saved(one: dict[str, Any]) -> dict[str, Any]:
    accuracy: Accuracy = one["accuracy"]
    cells, boards = accuracy.by_ply()
    floors = {name: one[name].to_dict() for name in ("untrained", "shuffled")}
    return {
        "site": one["site"],
        "probe": one["probe"],
        **accuracy.to_dict(),
        **floors,
        "by_square": accuracy.by_square().tolist(),
        "cells_by_ply": _plain(cells),
        "boards_by_ply": _plain(boards),
    }


def _plain(values: Tensor) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _by_square(_: _Contest, best: dict[str, Any]) -> str:
    grid = best["accuracy"].by_square().view(8, 8)
    lines = [
        f"{digit + 1} " + " ".join(f"{float(grid[letter, digit]):.3f}" for letter in range(8))
        for digit in range(8)
    ]
    head = "  " + " ".join(f"{letter:^5}" for letter in "abcdefgh")
    return "\n".join(
        [f"right by square, {best['probe']} at {best['site']}:", head.rstrip(), *lines]
    )


def _by_ply(_: _Contest, best: dict[str, Any]) -> str:
    cells, boards = best["accuracy"].by_ply()
    rows: list[dict[str, object]] = [
        {"ply": f"{ply}", "cells": float(cells[ply]), "boards": float(boards[ply])}
        for ply in range(len(cells))
    ]
    return f"right by ply, {best['probe']} at {best['site']}:\n{table(rows)}"


def _lie(contest: _Contest, _: dict[str, Any]) -> str:
    """Geometry at every site; and of probes for colours on odd and on even plies."""
    sites = contest.sites
    targets = [ProbeTarget(site) for site in sites]
    targets += [ProbeTarget(s, labels="colours", plies="odd") for s in sites]
    targets += [ProbeTarget(s, labels="colours", plies="even") for s in sites]
    probes = [cast(LinearProbe, probe) for probe in contest.fit(contest.model, targets)]
    plain, odd, even = (probes[i * len(sites) : (i + 1) * len(sites)] for i in range(3))
    rows: list[dict[str, object]] = []
    for site, probe, one, other in zip(sites, plain, odd, even, strict=True):
        shown = {key.replace("_", ", "): value for key, value in asdict(geometry(probe)).items()}
        turned = paired(one.directions("colour"), other.directions("colour")).mean()
        blank = paired(one.directions("empty"), other.directions("empty")).mean()
        rows.append(
            {
                "site": str(site),
                **shown,
                "colour, odd and even": float(turned),
                "empty, odd and even": float(blank),
            }
        )
    head = "cosines between directions of linear probes, and axes with 90 % of their length:"
    return f"{head}\n{table(rows)}"


def _fact_rows(contest: _Contest, families: tuple[str, ...]) -> list[dict[str, object]]:
    plain = [ProbeTarget(s, back=contest.back, families=families) for s in contest.sites]
    mixed = [
        ProbeTarget(s, labels="shuffled", back=contest.back, families=families)
        for s in contest.sites
    ]

    def scores(model: GPT, targets: list[ProbeTarget]) -> list[FactAccuracy]:
        probes = contest.fit(model, targets)
        pairs = [(t.site, cast(FactProbe, p)) for t, p in zip(targets, probes, strict=True)]
        return fact_accuracies(pairs, model, contest.test, back=contest.back)

    found, blank = scores(contest.model, plain + mixed), scores(contest.blank, plain)
    return [
        _facts(str(site), name, found[i], blank[i], found[len(plain) + i])
        for i, site in enumerate(contest.sites)
        for name in families
    ]


def _facts(
    site: str,
    family: str,
    scores: FactAccuracy,
    blank: FactAccuracy | None,
    shuffled: FactAccuracy | None,
) -> dict[str, object]:
    """Mean F1 of a family, and what calling every fact everywhere would reach."""
    shown: dict[str, object] = {
        "site": site,
        "family": family,
        "facts": sum(fact.family == family for fact in scores.concepts.concepts),
        "mean F1": scores.mean(family),
        "called always": scores.mean(family, always=True),
    }
    if blank is not None and shuffled is not None:
        shown |= {"untrained": blank.mean(family), "shuffled": shuffled.mean(family)}
    return shown
