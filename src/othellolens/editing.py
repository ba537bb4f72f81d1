"""The verb `intervene`: change the board inside the model, and see whether its moves follow."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .artifact import refuse_existing
from .errors import InputError
from .evaluation.cases import Cases, Edit, flipped_cases, natural_cases, unnatural_cases
from .evaluation.counterfactuals import Counterfactual
from .evaluation.edits import How, by_gradient, linear, unset
from .evaluation.interventions import Intervention, Outcome, intervene, oracle_null
from .evaluation.persistence import persistence
from .evaluation.sham import another_layer, another_square, random_direction
from .gpt.model import GPT
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .probes.fit import ProbePlan
from .readings import Probes, fact_reading, fit_all
from .runs import games_of
from .terminal import Progress, say, table, write_result

_SEED = 1_000_003
# Far from the seeds of games that anybody trains on; those to choose settings on lie behind.
SCALES: dict[How, tuple[float, ...]] = {
    "set": (2.0, 4.0, 8.0, 16.0),
    "reflect": (1.0, 2.0, 4.0, 8.0),
    "add": (4.0, 8.0, 16.0, 32.0),
}
MOVES = (0, 1, 2, 4, 8)


def intervene_verb(
    model: Annotated[str, tyro.conf.Positional] = "mini",
    *,
    cases: Path | None = None,
    kind: Literal["natural", "unnatural"] = "natural",
    count: int = 1000,
    edits: tuple[Edit, ...] = ("flip", "erase"),
    probes: Path | None = None,
    keep: Path | None = None,
    write: Path | None = None,
    sweep: bool = False,
    tuned_on: int = 200,
    games: str = "20000",
    plan: ProbePlan = ProbePlan(rows=300_000),  # noqa: B008
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Change discs inside the model: do its moves become those of the changed board?

    The published benchmark: of each case the N likeliest moves count, N the number of moves that
    are legal on the wanted board; error = false positives + false negatives. Linear edits by
    probes, at one layer or several, and edits down the gradient of MLP probes stand beside the
    rules without an edit (oracle null), the model without one (null), the same edit of another
    square (sham), in a random direction, and at another layer. Layers and scales are chosen on
    other cases than those that are scored. Then the games go on, to see what persists.

    Args:
        model: mini, a published model's name, or the folder of a trained model.
        cases: a file of cases: the published intervention_benchmark.pkl, or one that --write made.
        kind: of cases to make otherwise: natural as the published ones, or boards that no game
            leads to.
        count: of cases to make.
        edits: flip discs, erase them.
        probes: a folder of probes to edit by; otherwise they are fitted first.
        keep: a folder to keep the probes in that are fitted.
        write: a file for the cases that are made, with their seed.
        sweep: print the error for every choice of layers and scale.
        tuned_on: cases to choose layers and scale on.
        games: a file of games to fit probes on, or how many random ones to make.
        plan: how they are fitted.
        seed: of cases, fitting and controls.
        json: file for the result ("-": standard output).
    """
    for kept in (keep, write):
        if kept is not None:
            refuse_existing(kept)
    if write is not None and cases is not None:
        raise InputError("--write is for cases that are made: leave it or --cases out")
    player, progress = load_gpt(model), Progress()
    made = _cases(cases, kind, count, seed)
    if write is not None:
        made.save(write)
    found = Probes.load(probes, player) if probes else None
    if found is None:
        found = fit_all(
            player,
            _streams(player),
            games_of(games, seed),
            plan=plan,
            seed=seed,
            watch=lambda step: progress("fitting probes", step.step, plan.steps),
        )
        progress.close()
    if keep is not None:
        found.save(keep)
    bench = Bench(player, found, natural_cases(tuned_on, seed=_SEED + seed + 1), seed)
    result: dict[str, Any] = {"cases": made.histories.origin}
    for edit in edits:
        wanted = Counterfactual.of(made, edit)
        best = bench.tuned(edit, progress)
        steep = bench.tuned_gradient(edit, progress)
        if sweep:
            say(f"error of {edit}s by layers and scale, on {tuned_on} other cases")
            say(table(_grid(best)) + "\n")
        rows = _scored(bench, wanted, best, steep, progress)
        say(f"{made.histories.origin}: {edit} one disc; errors are false positives and negatives")
        say(table(rows) + "\n")
        lasting = _lasting(bench, wanted, best)
        say(f"{edit}: moves after the edit, when the game goes on from the wanted board")
        say(table(lasting) + "\n")
        result[edit] = {"sweep": _grid(best), "scores": rows, "persistence": lasting}
    if found.flipped and cases is None:
        result["subtract flipped"] = _unflipped(bench, count, seed, progress)
    progress.close()
    write_result(json, result)


@dataclass(frozen=True)
class Choice:
    """A linear edit, and its error on the cases that settings are chosen on."""

    how: How
    layers: tuple[int, int]
    scale: float
    error: float

    def __str__(self) -> str:
        first, last = self.layers
        return f"linear, {self.how} {self.scale:g} at layers {first}-{last}"


class Bench:
    """A model, its probes, and cases to choose settings on."""

    def __init__(self, model: GPT, probes: Probes, tuning: Cases, seed: int) -> None:
        self.model, self.probes, self.tuning, self.seed = model, probes, tuning, seed
        if not probes.linear:
            raise InputError("linear probes are needed to edit by: there are none")

    def sites(self, layers: tuple[int, int], among: Iterable[Site] | None = None) -> list[Site]:
        """The sites of some layers that have a probe, in the order in which they are run."""
        known = self.probes.linear if among is None else among
        return sorted((s for s in known if layers[0] <= s.layer <= layers[1]), key=_order)

    def windows(self) -> list[tuple[int, int]]:
        """First and last layers to try: from each layer on, to the last and to the one before."""
        at = sorted({site.layer for site in self.probes.linear})
        ends = at[-2:]
        return [(first, last) for last in ends for first in at if first <= last]

    def edit(self, choice: Choice, positions: Literal["last", "all"] = "last") -> Intervention:
        """The linear intervention of a choice."""
        readings = self.probes.readings(self.sites(choice.layers))
        return linear(readings, how=choice.how, scale=choice.scale, positions=positions)

    def gradient(self, layers: tuple[int, int], margin: float) -> Intervention:
        """The intervention by the MLP probes of some layers."""
        sites = self.sites(layers, self.probes.mlp)
        return by_gradient({s: self.probes.mlp[s].logits for s in sites}, margin=margin)

    def tuned_gradient(
        self, edit: Edit, progress: Progress
    ) -> tuple[tuple[int, int], float] | None:
        """Layers and margin with the least error on the tuning cases; None without MLP probes."""
        wanted = Counterfactual.of(self.tuning, edit)
        grid = [(w, margin) for w in self.windows() for margin in (8.0, 16.0)]
        errors: dict[tuple[tuple[int, int], float], float] = {}
        for number, (window, margin) in enumerate(grid if self.probes.mlp else []):
            progress(f"choosing how to {edit} by gradient", number + 1, len(grid))
            if self.sites(window, self.probes.mlp):
                method = self.gradient(window, margin)
                errors[window, margin] = intervene(self.model, wanted, method).mean("error")
        progress.close()
        return min(errors, key=lambda choice: errors[choice]) if errors else None

    def tuned(self, edit: Edit, progress: Progress) -> list[Choice]:
        """Every linear edit with its error on the tuning cases, best first."""
        wanted = Counterfactual.of(self.tuning, edit)
        grid: list[tuple[How, tuple[int, int], float]] = [
            (how, w, x) for how in SCALES for w in self.windows() for x in SCALES[how]
        ]
        found: list[Choice] = []
        for number, (how, layers, scale) in enumerate(grid):
            progress(f"choosing how to {edit}", number + 1, len(grid))
            choice = Choice(how, layers, scale, 0.0)
            error = intervene(self.model, wanted, self.edit(choice)).mean("error")
            found.append(Choice(how, layers, scale, error))
        progress.close()
        return sorted(found, key=lambda choice: choice.error)


def _scored(
    bench: Bench,
    wanted: Counterfactual,
    choices: list[Choice],
    steep: tuple[tuple[int, int], float] | None,
    progress: Progress,
) -> list[dict[str, object]]:
    best = {how: next(c for c in choices if c.how == how) for how in SCALES}
    top = choices[0]
    run = partial(intervene, bench.model, wanted)
    method = bench.edit(top)
    jobs: dict[str, Any] = {
        "the rules, not edited (oracle null)": lambda: oracle_null(wanted),
        "nothing (null)": run,
    }
    for choice in sorted(best.values(), key=lambda one: one.error):
        jobs[str(choice)] = partial(run, bench.edit(choice))
    jobs["best linear, at all moves"] = partial(run, bench.edit(top, "all"))
    if steep is not None:
        (first, last), margin = steep
        name = f"MLP gradient to {margin:g} at layers {first}-{last}"
        jobs[name] = partial(run, bench.gradient(*steep))
    jobs["sham: best linear, another square"] = partial(
        run, another_square(method, seed=bench.seed)
    )
    jobs["best linear, a random direction"] = partial(
        run, random_direction(method, seed=bench.seed)
    )
    jobs["best linear, another layer"] = partial(run, another_layer(method, bench.model))
    found: dict[str, Outcome] = {}
    for number, (name, job) in enumerate(jobs.items()):
        progress("editing", number, len(jobs))
        found[name] = job()
    progress.close()
    null = found["nothing (null)"].mean("error")
    return [outcome_row(name, one, null) for name, one in found.items()]


def outcome_row(name: str, one: Outcome, null: float) -> dict[str, object]:
    """One line of the table of an intervention benchmark."""
    return {
        "edited": name,
        "error": str(one.interval()),
        "of null": one.mean("error") / null,
        "followed": one.mean("followed"),
        "F1": one.mean("f1"),
        "KL": one.mean("kl"),
        "cases": int(one.counted.sum()),
        "no move left": one.left_out,
    }


def _lasting(
    bench: Bench, wanted: Counterfactual, choices: list[Choice]
) -> list[dict[str, object]]:
    """Error and illegal moves some moves after the edit."""
    same = Counterfactual(wanted.histories, wanted.before, wanted.before)
    rows: list[dict[str, object]] = []
    for name, asked, method in (
        ("best linear", wanted, bench.edit(choices[0])),
        ("best linear, at all moves", wanted, bench.edit(choices[0], "all")),
        ("nothing", wanted, None),
        ("nothing, and nothing wanted", same, None),
    ):
        found = persistence(bench.model, asked, method, moves=max(MOVES), seed=bench.seed)
        shown: dict[str, object] = {"edited": name}
        shown |= {f"error +{k}": found.mean("error", k) for k in MOVES}
        shown |= {f"illegal +{k}": found.mean("illegal", k) for k in MOVES}
        rows.append(shown)
    return rows


def _unflipped(bench: Bench, count: int, seed: int, progress: Progress) -> list[dict[str, object]]:
    """Take the FLIPPED directions off, where the last move turned the disc over."""
    known = bench.probes.flipped
    tuning = Counterfactual.of(flipped_cases(len(bench.tuning), seed=_SEED + seed + 1), "flip")
    wanted = Counterfactual.of(flipped_cases(count, seed=_SEED + seed), "flip")

    def method(window: tuple[int, int], scale: float) -> Intervention:
        sites = bench.sites(window, known)
        return unset([fact_reading(site, known[site]) for site in sites], scale=scale)

    grid = list(product(bench.windows(), SCALES["set"]))
    errors: dict[tuple[tuple[int, int], float], float] = {}
    for number, choice in enumerate(grid):
        progress("choosing how to undo flips", number + 1, len(grid))
        errors[choice] = intervene(bench.model, tuning, method(*choice)).mean("error")
    progress.close()
    window, scale = min(errors, key=lambda choice: errors[choice])
    undo = method(window, scale)
    run = partial(intervene, bench.model, wanted)
    null = run()
    found = {
        "the rules, not edited (oracle null)": oracle_null(wanted),
        "nothing (null)": null,
        f"flipped set to -{scale:g} at layers {window[0]}-{window[1]}": run(undo),
        "a random direction": run(random_direction(undo, seed=seed)),
    }
    rows = [outcome_row(name, one, null.mean("error")) for name, one in found.items()]
    say(f"{wanted.histories.origin}: undo what the last move did to one disc")
    say(table(rows))
    return rows


def _grid(choices: list[Choice]) -> list[dict[str, object]]:
    """A line for each method and layers, a column for each scale."""
    rows: list[dict[str, object]] = []
    for how, layers in dict.fromkeys((c.how, c.layers) for c in choices):
        here = sorted((c for c in choices if (c.how, c.layers) == (how, layers)), key=_scale)
        row: dict[str, object] = {"edit": how, "layers": f"{layers[0]}-{layers[1]}"}
        row |= {f"scale {i + 1}": f"{c.scale:g}: {c.error:.3f}" for i, c in enumerate(here)}
        rows.append(row)
    return sorted(rows, key=lambda row: (str(row["edit"]), str(row["layers"])))


def _scale(choice: Choice) -> float:
    return choice.scale


def _cases(path: Path | None, kind: str, count: int, seed: int) -> Cases:
    if path is not None:
        return Cases.load(path)
    make = natural_cases if kind == "natural" else unnatural_cases
    return make(count, seed=_SEED + seed)


def _streams(model: GPT) -> list[Site]:
    """The residual stream in the middle and at the end of every block."""
    layers = range(model.cfg.n_layers)
    return [Site(kind, layer) for layer in layers for kind in ("resid_mid", "resid_post")]


_RUN = ("resid_pre", "ln1", "z", "attn_out", "resid_mid", "ln2", "mlp_pre", "mlp_post", "mlp_out")


def _order(site: Site) -> tuple[int, int]:
    return site.layer, _RUN.index(site.kind) if site.kind in _RUN else len(_RUN)
