"""Training SAEs in a folder, with checkpoints, or just in memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..activations.crowding import mixable
from ..activations.harvest import Harvest
from ..activations.sources import Played, Source
from ..artifact import (
    disk_that_may_fill_up,
    in_sole_use,
    read_json,
    refuse_existing,
    sweep_up,
    write_json,
)
from ..errors import InputError
from ..gpt.logs import RunLog, check_wandb
from ..gpt.model import GPT
from ..gpt.parallel import Team
from ..gpt.sites import Site
from ..othello.games import Games
from .architectures import name_of
from .autoencoder import CONFIG, Recipe, SparseAutoencoder
from .plan import SAEPlan, SAEStep
from .training import Member, Training

BEGUN = "saes.json"
"""What was asked for, written when a training of SAEs begins."""
CHECKPOINT = "checkpoint.pt"

Watch = Callable[[dict[str, SAEStep]], object]


def train_sae(
    recipe: Recipe,
    model: GPT,
    site: Site,
    games: Games,
    *,
    target: Site | None = None,
    skip: bool = False,
    plan: SAEPlan | None = None,
    harvest: Harvest = Harvest(),  # noqa: B008
    seed: int = 0,
    watch: Callable[[SAEStep], object] = lambda _: None,
) -> SparseAutoencoder:
    """Train an SAE on what passes a site of a model, without ever looking at a board.

    Args:
        recipe: the architecture with its hyper-parameters, e.g. `BatchTopK(width=1024, k=32)`.
        model: the player.
        site: where to read it.
        games: what to play through it.
        target: where what it is to rebuild is read; it is then a transcoder.
        skip: give the transcoder a linear path beside its features.
        plan: how long and how.
        harvest: how the model is read.
        seed: of the weights and of the mixing.
        watch: called with every step.

    Returns:
        The SAE in eval mode, for raw activations: their scale is folded into its weights.

    Raises:
        InputError: no games, a site that the model does not have, or activations that are not
            finite.
    """
    plan = plan or SAEPlan()
    member = Member("sae", recipe, site, seed, target, skip)
    source = played(model, [member], games, plan, harvest)
    training = Training([member], source, plan, seed=seed, harvest=harvest)
    for steps in training.steps():
        watch(steps["sae"])
    return next(training.finish())[1]


def played(
    model: GPT,
    members: Sequence[Member],
    games: Games,
    plan: SAEPlan,
    harvest: Harvest = Harvest(),  # noqa: B008
) -> Played:
    """The source that these members need: every site that one of them reads, in one pass.

    Raises:
        InputError: no games, or a site that the model does not have.
    """
    if not len(games):
        raise InputError("there are no games to train on")
    sites = tuple(dict.fromkeys(site for member in members for site in member.sites))
    return Played(
        model,
        sites,
        games,
        window=mixable(plan.window, plan.batch),
        precision=harvest.harvest_precision,
        compiled=harvest.harvest_compiled,
    )


def train_saes(
    members: Sequence[Member],
    source: Source,
    plan: SAEPlan,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    team: Team = Team(),  # noqa: B008
    harvest: Harvest = Harvest(),  # noqa: B008
    checkpoint_every: int | None = None,
    log_every: int = 50,
    wandb: str | None = None,
    watch: Watch = lambda _: None,
) -> list[Path]:
    """Train SAEs from one stream, keeping checkpoints in `out`; each gets a folder there.

    A single member named "" is saved in `out` itself.

    Args:
        members: what learns.
        source: of the rows.
        plan: how long and how, for all.
        out: the run folder.
        seed: of the mixing.
        resume: go on with the training in `out`; on a CPU to the same bits as without the break.
        team: the processes that share every batch.
        harvest: how the source reads, and how far ahead it is to.
        checkpoint_every: steps between checkpoints; by default a twentieth of the training.
        log_every: steps between lines of log.jsonl.
        wandb: a project of Weights & Biases that gets the log, too (pip install wandb).
        watch: called with every step (in the first process only).

    Returns:
        The folder of each member, in order.

    Raises:
        InputError: `out` exists and `resume` is not asked for, holds another training, or
            another process trains there; an interval below 1; activations that are not finite; the
            disk fills up.
    """
    _check_intervals(checkpoint_every=checkpoint_every, log_every=log_every)
    if wandb is not None:
        check_wandb()
    training = Training(members, source, plan, seed=seed, team=team, harvest=harvest)
    folders = [out / member.name for member in members]
    finished = all((folder / CONFIG).exists() for folder in folders)
    with disk_that_may_fill_up(lambda: _kept(out, folders)), ExitStack() as held:
        _begin(training, members, source, out, resume=resume, team=team)
        team.lead(lambda: held.enter_context(in_sole_use(out)))
        if team.leads:
            sweep_up(out)  # only now: another process might have been writing there
        if resume and finished and not (out / CHECKPOINT).exists():
            return folders
        every = checkpoint_every or max(1, plan.steps // 20)
        log = RunLog(out, wandb=wandb, begun=BEGUN) if team.leads else None
        _run(training, out, log, watch, every=every, log_every=log_every)
    team.wait()
    return folders


def _run(
    training: Training, out: Path, log: RunLog | None, watch: Watch, *, every: int, log_every: int
) -> None:
    """Train and save; only the process that leads has a log, and writes."""
    last = training.plan.steps
    started = time.monotonic() - (log.cut(training.done) if log else 0.0)
    for steps in training.steps():
        if log is None:
            continue
        if training.done % log_every == 0 or training.done == last:
            log.write(_line(steps, time.monotonic() - started))
        if training.done % every == 0 or training.done == last:
            training.save(out / CHECKPOINT)
        watch(steps)
    if log is not None:
        log.close()
        _save(training, out)


def _kept(out: Path, folders: Sequence[Path]) -> str:
    """What a full disk leaves, and what to do."""
    if not (out / BEGUN).exists():
        return f"nothing was begun; remove {out}, make room and begin again"
    whole = sum((folder / CONFIG).exists() for folder in folders)
    where = "its last checkpoint" if (out / CHECKPOINT).exists() else "the first step"
    return (
        f"{whole} of {len(folders)} SAEs in {out} are whole; make room and go on from {where} with"
        " --resume"
    )


def _check_intervals(**steps: int | None) -> None:
    for name, value in steps.items():
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}: it is a number of steps, 1 or more")


def _begin(
    training: Training,
    members: Sequence[Member],
    source: Source,
    out: Path,
    *,
    resume: bool,
    team: Team,
) -> None:
    asked = {
        "members": [_told(member) for member in members],
        "plan": asdict(training.plan),
        "seed": training.seed,
        "model": source.model_name,
        "games": source.origin,
        **({} if training.harvest.plain else {"harvest": training.harvest.told()}),
    }
    if resume:
        _check_same(read_json(out / BEGUN), asked, out)
        if (out / CHECKPOINT).exists():
            training.restore(out / CHECKPOINT)
    else:
        team.lead(lambda: _make(out, asked))


def _make(out: Path, asked: Mapping[str, object]) -> None:
    check_new(out)
    out.mkdir(parents=True)
    write_json(out / BEGUN, asked)


def check_new(out: Path) -> None:
    """Refuse a folder in which no training can begin.

    Raises:
        InputError: it exists.
    """
    if (out / BEGUN).exists():
        raise InputError(
            f"{out} exists and holds a training: go on with --resume, or choose another --out"
        )
    refuse_existing(out)


def _told(member: Member) -> dict[str, Any]:
    return {
        "name": member.name,
        "architecture": name_of(member.recipe),
        "recipe": {key: _plain(value) for key, value in asdict(member.recipe).items()},
        "site": str(member.site),
        "target": None if member.target is None else str(member.target),
        "skip": member.skip,
        "seed": member.seed,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_same(found: dict[str, Any], asked: dict[str, Any], out: Path) -> None:
    for key in dict.fromkeys([*asked, *found]):
        if found.get(key) != asked.get(key):
            what = "other SAEs" if key == "members" else f"{key} {found.get(key)}"
            raise InputError(f"{out} was begun with {what}: repeat what it was begun with")


def _line(steps: dict[str, SAEStep], seconds: float) -> dict[str, Any]:
    first = next(iter(steps.values()))
    head = {"step": first.step, "rows": first.rows, "seconds": round(seconds, 1)}
    told = {name: _numbers(step) for name, step in steps.items()}
    return {**head, **told[""]} if list(told) == [""] else {**head, "members": told}


def _numbers(step: SAEStep) -> dict[str, float]:
    shown = ("reconstruction", "sparsity", "revival", "fvu", "l0", "dead", "strength")
    return {key: float(f"{getattr(step, key):.6g}") for key in shown}


def _save(training: Training, out: Path) -> None:
    """One member after the other; the checkpoint goes when all are there."""
    for member, sae in training.finish():
        folder = out / member.name
        if not (folder / CONFIG).exists():
            folder.mkdir(exist_ok=True)
            sae.write(folder)
    with suppress(FileNotFoundError):
        (out / CHECKPOINT).unlink()
