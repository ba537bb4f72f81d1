"""Trained models on disk: a training that checkpoints and resumes, saving, and loading by name."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from warnings import warn

import torch

from ..artifact import CONFIG, in_sole_use, read_json, refuse_existing, sweep_up, write_json
from ..download import cache_folder
from ..errors import InputError
from ..othello.games import join_origins, next_game, random_games, random_origin, share_games
from .checkpoints.forms import read_checkpoint
from .checkpoints.own import save_gpt
from .legality import legality
from .logs import BEGUN, RunLog, check_wandb
from .model import GPT
from .parallel import team
from .published import check_golden, find
from .shape import GPTConfig
from .train import GPTPlan, GPTStep, Trainer

CHECKPOINT = "checkpoint.pt"
_HELD = 500
# Games of a judgement while a training is under way.


def load_gpt(name: str | Path, *, n_heads: int | None = None) -> GPT:
    """A trained model, in eval mode on the CPU.

    Args:
        name: "mini", the model that ships with the package; "synthetic" or "championship", the
            published ones (Li et al. 2023), fetched once; the folder of a finished training; the
            file of a checkpoint in TransformerLens' or minGPT's form; or "user/repo" on the hub,
            "user/repo@revision" for a branch, tag or commit of it. What was fetched stays in the
            cache (see `cache_folder`); to have it anew, delete it there.
        n_heads: heads a block, where a minGPT file of another than the published shape does not
            say it.

    Raises:
        InputError: no such model; it cannot be fetched; a file of it is damaged or does not fit
            (all misfits listed); a published model answers otherwise than when it was published.
    """
    return load_gpt_run(name, n_heads=n_heads)[0]


def load_gpt_run(name: str | Path, *, n_heads: int | None = None) -> tuple[GPT, dict[str, Any]]:
    """A trained model and what was saved beside it (plan, games, provenance)."""
    path = find(name)
    if not (path / CONFIG).exists() and (path / BEGUN).exists():
        raise InputError(f"{path} holds a training under way: finish it with train-gpt --resume")
    try:
        model, config = read_checkpoint(path, n_heads=n_heads)
        model.name = str(name)
        check_golden(model, name)
    except InputError as error:
        if not path.is_relative_to(cache_folder()):
            raise
        raise InputError(f"{error} (delete {path}, and it is fetched anew)") from None
    return model, config


def train_gpt(
    shape: GPTConfig,
    plan: GPTPlan,
    out: Path,
    *,
    seed: int = 0,
    start: str | Path | None = None,
    resume: bool = False,
    compiled: bool = False,
    device: str | None = None,
    checkpoint_every: int = 500,
    log_every: int = 50,
    judge_every: int = 1000,
    wandb: str | None = None,
    watch: Callable[[GPTStep], object] = lambda _: None,
) -> GPT:
    """Train a model on random games, keeping checkpoints in `out`; save it there when finished.

    Under `torchrun` all processes train one model: each plays its share of every batch, so the
    losses are those of one process with the same batch. `out` must then be one folder for all.

    Args:
        shape: of the model.
        plan: how long and how.
        out: the run folder.
        seed: of the weights and of the games.
        start: a model of the same shape (as for `load_gpt`) whose weights to begin with. The
            optimiser and the learning rate begin anew; of its games none is seen again.
        resume: go on with the training in `out`; on a CPU to the same bits as without the break.
        compiled: use torch.compile (needs a C++ compiler; about a third faster on a CPU).
        device: "cpu" or "cuda"; by default a GPU if there is one.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of log.jsonl: the mean loss over them, and the last rate.
        judge_every: steps between judgements on 500 held-out games (illegal rates, KL to the
            oracle), which go to the log; 0 for none.
        wandb: a project of Weights & Biases that gets the log, too (pip install wandb).
        watch: called with every step (in the first process only).

    Raises:
        InputError: `out` exists and `resume` is not asked for, holds another training, or another
            process trains there; `start` has another shape; no such device; the loss, a gradient or
            a weight is not finite any more.
    """
    if wandb is not None:
        check_wandb()
    for name, every in (("checkpoint_every", checkpoint_every), ("log_every", log_every)):
        if every < 1:
            raise InputError(f"{name} is {every}: it is a number of steps, 1 or more")
    if judge_every < 0:
        raise InputError(f"judge_every is {judge_every}: it is a number of steps, or 0 for never")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be 0 to 2**63 - 1, not {seed}")
    asked: dict[str, Any] = {"shape": shape.to_dict(), "plan": asdict(plan), "seed": seed}
    model, before, first = GPT(shape, seed=seed), "", 0
    if start is not None:
        model, asked["start"] = _started(shape, start)
        before = str(asked["start"].get("games", ""))
        first = next_game(before, seed)
    games = random_origin(seed, first, plan.steps * plan.batch)
    games = join_origins([before, games] if before else [games])
    with team(device) as crew, ExitStack() as held:
        trainer = Trainer(model, plan, seed=seed, first=first, compiled=compiled, team=crew)
        how = {"compiled": compiled, "processes": crew.size, "threads": torch.get_num_threads()}
        if not resume:
            crew.lead(lambda: _begin({**asked, "how": how}, out))
        crew.lead(lambda: held.enter_context(in_sole_use(out)))
        if resume:
            _continue(trainer, asked, how, out)
        crew.wait()
        log = RunLog(out, wandb=wandb) if crew.leads else None
        spent = log.cut(trainer.done) if log else 0.0
        started = time.monotonic() - spent
        for step in trainer.steps():
            if log is None:
                continue
            due = partial(_due, step.step, plan.steps)
            if due(log_every) or due(judge_every):
                line = _line(step, trainer.take_mean(), time.monotonic() - started)
                log.write(line | (_judged(trainer.model, games) if due(judge_every) else {}))
            if due(checkpoint_every):
                trainer.save(out / CHECKPOINT)
            watch(step)
        trainer.check_weights()
        if log is not None:
            log.close()
            wall = round(time.monotonic() - started)
            told = {**asked, "how": how}
            save_gpt(trainer.model, out, training=told, games=games, wall_seconds=wall)
        crew.wait()
    return trainer.model.eval()


def _started(shape: GPTConfig, start: str | Path) -> tuple[GPT, dict[str, Any]]:
    model, config = load_gpt_run(start)
    if model.cfg != shape:
        raise InputError(f"{start} has shape {model.cfg}, not {shape}: name its size")
    told = ("games", "training", "wall_seconds", "machine")
    return model, {"model": str(start), **{key: config[key] for key in told if key in config}}


def _begin(asked: Mapping[str, object], out: Path) -> None:
    if (out / BEGUN).exists():
        raise InputError(f"{out} holds a training: go on with --resume, or choose another --out")
    refuse_existing(out)
    out.mkdir(parents=True)
    write_json(out / BEGUN, asked)


def _continue(
    trainer: Trainer, asked: Mapping[str, object], how: Mapping[str, object], out: Path
) -> None:
    found = read_json(out / BEGUN)
    before = found.pop("how", how)
    for key in dict.fromkeys([*asked, *found]):
        if key == "start" and found.get(key) and asked.get(key):
            # By whatever name: `./before` and `before` are one.
            asked = {**asked, key: {**asked[key], "model": found[key]["model"]}}  # pyright: ignore
        if found.get(key) != asked.get(key):
            raise InputError(f"{out} was begun with {_difference(key, found, asked)}")
    if before != how:
        told = _difference("", {"": before}, {"": how}).strip()
        warn(f"{out} was begun with {told}: the last bits will differ", stacklevel=3)
    if trainer.team.leads:
        sweep_up(out)
    if (out / CHECKPOINT).exists():
        trainer.restore(out / CHECKPOINT)


def _difference(key: str, found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Of what differs under a key, the parts that do."""
    old, new = found.get(key), asked.get(key)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return f"{key} {_short(old)}, not {_short(new)}"
    parts = [part for part in dict.fromkeys([*old, *new]) if old.get(part) != new.get(part)]
    return ", ".join(f"{key} {p} {_short(old.get(p))}, not {_short(new.get(p))}" for p in parts)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _due(step: int, steps: int, every: int) -> bool:
    return bool(every) and (step % every == 0 or step == steps)


def _line(step: GPTStep, loss: float, seconds: float) -> dict[str, Any]:
    return {
        "step": step.step,
        "games": step.games,
        "loss": round(loss, 5),
        "lr": step.lr,
        "seconds": round(seconds, 1),
    }


def _judged(model: GPT, trained: str) -> dict[str, float]:
    origins = ((seed, random_origin(seed, 0, _HELD)) for seed in count(1))
    held = next(seed for seed, origin in origins if not share_games(origin, trained))
    found = legality(model, random_games(_HELD, seed=held))
    return {
        "illegal_strict": found.strict_rate(),
        "illegal_lenient": found.lenient_rate(),
        "kl_to_oracle": found.kl(),
    }
