"""The verb `sweep`: many SAEs over one stream of activations, judged on equal terms."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from .activations.harvest import Harvest
from .activations.sources import Source
from .activations.stored import Stored
from .artifact import read_json, write_file, write_json
from .errors import InputError
from .evaluation.fidelity import Fidelity, fidelity
from .evaluation.undisturbed import undisturbed
from .gpt.model import GPT
from .gpt.parallel import Team, team
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .lens import Lens
from .othello.games import Games
from .report.pareto import Point, pareto_svg
from .runs import HELD_SEED, apart, games_of
from .sae.files import load_sae
from .sae.grid import ALL, grid
from .sae.needs import Needs, gib, needs
from .sae.plan import SAEPlan
from .sae.runs import BEGUN, check_new, played, train_saes
from .sae.training import Member
from .terminal import Progress, say, table, write_result

RESULTS = "results.json"
_PLOTS = {
    "fvu": "fraction of variance unexplained",
    "kl": "KL of the spliced model from the clean one, nats",
}


def sweep(
    out: Path,
    *,
    model: str = "mini",
    site: tuple[str, ...] = ("resid_post.3",),
    target: str | None = None,
    skip: bool = False,
    architectures: tuple[str, ...] = ("all",),
    width: tuple[int, ...] = (1024,),
    l0: tuple[float, ...] = (16.0, 32.0, 64.0),
    seeds: tuple[int, ...] = (0, 1, 2),
    games: str = "50000",
    stored: Path | None = None,
    held: str = "300",
    plan: SAEPlan = SAEPlan(rows=1_000_000),  # noqa: B008
    harvest: Harvest = Harvest(),  # noqa: B008
    mixing_seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    memory: float | None = None,
    checkpoint_every: int | None = None,
    wandb: str | None = None,
    json: Path | None = None,
) -> None:
    """Train a grid of SAEs over one stream, then judge all: a table and Pareto plots.

    The model runs once however many SAEs learn. Each gets a folder of its own in OUT. Under
    torchrun every process takes its share of the grid.

    Args:
        out: the folder to write.
        model: mini, or the folder of a trained model.
        site: where to read, e.g. resid_post.3; several are read in one pass.
        target: a kind of site, e.g. mlp_out: makes transcoders, which rebuild what is there in the
            layer that they read.
        skip: give the transcoders a linear path beside their features.
        architectures: names, or all.
        width: numbers of features.
        l0: mean numbers of active features; architectures without a k are steered to them.
        seeds: of the weights.
        games: a file of games to train on, or how many random ones to make.
        stored: a folder of stored activations to read instead of playing games.
        held: a file of games to judge on, or how many random ones to make.
        plan: how long and how, for all.
        harvest: how the model is read.
        mixing_seed: of the mixing of rows, and of the random games.
        resume: go on with the sweep in OUT.
        device: cpu or cuda; by default a GPU if there is one.
        memory: GiB that the training may take; by default what is free.
        checkpoint_every: steps between checkpoints; by default a twentieth of the training.
        wandb: a project of Weights & Biases that gets the log, too.
        json: file for the results ("-": standard output); they are in OUT/results.json anyway.
    """
    if memory is not None and not memory > 0:
        raise InputError(f"memory is {memory:g} GiB: it must be above 0")
    sites = [Site.parse(name) for name in site]
    names = ALL if architectures == ("all",) else architectures
    members = grid(
        names, width, [_number(value) for value in l0], seeds, sites, target=target, skip=skip
    )
    with team(device) as crew:
        if crew.leads and not resume:
            check_new(out)
        crew.wait()
        player, test = load_gpt(model), games_of(held, HELD_SEED)
        mine = members[crew.rank :: crew.size]
        if not mine:
            raise InputError(f"{len(members)} SAEs cannot be shared by {crew.size} processes")
        alone = Team(crew.device)
        on = player.to(crew.device)
        source = source_for(on, mine, games, stored, plan, harvest, mixing_seed)
        apart(Games(test.moves[:0], source.origin), test)
        folder = out if crew.size == 1 else out / f"process-{crew.rank}"
        _state(needs(mine, source, plan, alone, harvest), mine, plan, crew, memory)
        progress = Progress()
        train_saes(
            mine,
            source,
            plan,
            folder,
            seed=mixing_seed,
            resume=resume,
            team=alone,
            harvest=harvest,
            checkpoint_every=checkpoint_every,
            wandb=wandb,
            watch=lambda steps: progress("sweep", next(iter(steps.values())).step, plan.steps),
        )
        progress.close()
        crew.wait()
        if crew.leads:
            _gather(out, crew.size)
            _judge(player.cpu(), members, test, out, json)
        crew.wait()


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def source_for(
    model: GPT,
    members: Sequence[Member],
    games: str,
    stored: Path | None,
    plan: SAEPlan,
    harvest: Harvest,
    seed: int,
) -> Source:
    """The rows that members learn from: stored ones, or those of games that are played.

    Raises:
        InputError: no games, or the stored rows are of another model or other sites.
    """
    if stored is None:
        return played(model, members, games_of(games, seed), plan, harvest)
    harvest.check_stored()
    sites = dict.fromkeys(site for member in members for site in member.sites)
    return Stored(stored, model, tuple(sites))


def _state(
    needed: Needs, members: Sequence[Member], plan: SAEPlan, crew: Team, allowed: float | None
) -> None:
    """Say what is about to happen; refuse what does not fit into memory."""
    free = crew.free if allowed is None else int(allowed * 2**30)
    if crew.leads:
        say(
            f"{len(members)} SAEs in {needed.stacks} stacks, {plan.steps:,} steps of"
            f" {plan.batch:,} rows; about {gib(needed.bytes)} of {gib(free)}"
        )
    needed.check(free)


def _gather(out: Path, processes: int) -> None:
    """What each process made, side by side in one folder."""
    for rank in range(processes if processes > 1 else 0):
        part = out / f"process-{rank}"
        for folder in [path for path in part.iterdir() if path.is_dir()]:
            target = out / folder.name
            if not target.exists():
                shutil.copytree(folder, target)


def _judge(
    model: GPT, members: Sequence[Member], held: Games, out: Path, json: Path | None
) -> None:
    progress, rows, alone = Progress(), list[dict[str, Any]](), None
    for number, member in enumerate(members):
        lens = Lens(model, member.site, load_sae(out / member.name))
        alone = undisturbed(lens, held, alone)
        found = fidelity(lens, held, last=alone)
        rows.append(_row(member, found))
        progress("judging", number + 1, len(members))
    progress.close()
    result = {"asked": read_json(_begun(out)), "held": held.origin, "saes": rows}
    write_json(out / RESULTS, result)
    for key, title in _PLOTS.items():
        text = pareto_svg(_lines(rows, key), title, "L0, active features a position", title)
        write_file(out / f"{key}.svg", lambda work, text=text: work.write_text(text))
    say(table(summary(rows)))
    say(unspliced(rows[0]))
    say(f"plots: {', '.join(str(out / f'{key}.svg') for key in _PLOTS)}")
    write_result(json, result)


def _begun(out: Path) -> Path:
    return out / BEGUN if (out / BEGUN).exists() else out / "process-0" / BEGUN


def _row(member: Member, found: Fidelity) -> dict[str, Any]:
    return {
        "name": member.name,
        "site": str(member.site),
        "architecture": member.form,
        "width": member.recipe.width,
        "target": member.recipe.sparsity_target,
        "seed": member.seed,
        "l0": found.l0,
        "fvu": found.fvu,
        "cross_entropy": found.spliced.cross_entropy,
        "cross_entropy_clean": found.clean.cross_entropy,
        "recovered": found.recovered,
        "kl": found.spliced.kl,
        "illegal": found.spliced.illegal,
        "illegal_clean": found.clean.illegal,
        "dead": found.dead,
    }


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """One row for each kind of SAE: means over seeds, and the standard deviation of the FVU."""
    kinds: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("site", "architecture", "width", "target"))
        kinds.setdefault(key, []).append(row)
    several = len({row["site"] for row in rows}) > 1
    return [_mean_row(alike, several) for alike in kinds.values()]


def unspliced(row: dict[str, Any]) -> str:
    """What the model does with nothing put in, which is the same for all encoders of a sweep."""
    loss, illegal = row["cross_entropy_clean"], row["illegal_clean"]
    return f"the model as it is, nothing spliced in: CE {loss:.4f}, illegal {illegal:.4f}"


def _mean_row(alike: Sequence[dict[str, Any]], several: bool) -> dict[str, object]:
    def middle(key: str) -> float:
        return mean(row[key] for row in alike)

    first = alike[0]
    fvu = [row["fvu"] for row in alike]
    return {
        **({"site": first["site"]} if several else {}),
        "architecture": first["architecture"],
        "width": first["width"],
        "asked": f"{first['target']:g}",
        "L0": middle("l0"),
        "FVU": middle("fvu"),
        "+-": stdev(fvu) if len(fvu) > 1 else None,
        "CE": middle("cross_entropy"),
        "CE kept": middle("recovered"),
        "KL": middle("kl"),
        "illegal": middle("illegal"),
        "dead": middle("dead"),
    }


def _lines(rows: Sequence[dict[str, Any]], key: str) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    kinds: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kind = tuple(row[name] for name in ("site", "architecture", "width"))
        kinds.setdefault((*kind, row["target"]), []).append(row)
    several = {name for name in ("site", "width") if len({row[name] for row in rows}) > 1}
    for (site, name, width, _), alike in kinds.items():
        title = str(name) + (f" {width}" if "width" in several else "")
        title = f"{site} {title}" if "site" in several else title
        x, y = mean(row["l0"] for row in alike), mean(row[key] for row in alike)
        lines.setdefault(title, []).append(Point(x, y, f"{title}: L0 {x:.1f}, {key} {y:.4f}"))
    return lines
