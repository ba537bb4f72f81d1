"""Trained models on disk: a training that checkpoints and resumes, saving, and loading by name."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..artifact import CONFIG, read_json, refuse_existing, write_file, write_json
from ..errors import InputError
from ..othello.games import join_origins, next_game, random_origin
from .checkpoints.forms import read_checkpoint
from .checkpoints.own import save_gpt
from .model import GPT
from .published import check_golden, find
from .shape import GPTConfig
from .train import GPTPlan, GPTStep, Trainer

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
BEGUN = "training.json"
_LOG_EVERY = 50


def load_gpt(name: str | Path, *, n_heads: int | None = None) -> GPT:
    """A trained model, in eval mode on the CPU.

    Args:
        name: "mini", the model that ships with the package; "synthetic" or "championship", the
            published ones (Li et al. 2023), fetched once; the folder of a finished training; the
            file of a checkpoint in TransformerLens' or minGPT's form; or "user/repo" on the hub.
        n_heads: heads a block, where a minGPT file of another width than 512 does not say it.

    Raises:
        InputError: no such model; it cannot be fetched; a file of it is damaged or does not fit
            (all misfits listed); a published model answers otherwise than when it was published.
    """
    return load_gpt_run(name, n_heads=n_heads)[0]


def load_gpt_run(name: str | Path, *, n_heads: int | None = None) -> tuple[GPT, dict[str, Any]]:
    """A trained model and what was saved beside it (plan, games, provenance)."""
    path = find(name)
    if not (path / CONFIG).exists() and (path / CHECKPOINT).exists():
        raise InputError(f"{path} holds a training under way: finish it with train-gpt --resume")
    model, config = read_checkpoint(path, n_heads=n_heads)
    model.name = str(name)
    check_golden(model, name)
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
    checkpoint_every: int = 500,
    watch: Callable[[GPTStep], object] = lambda _: None,
) -> GPT:
    """Train a model on random games, keeping checkpoints in `out`; save it there when finished.

    Args:
        shape: of the model.
        plan: how long and how.
        out: the run folder.
        seed: of the weights and of the games.
        start: a model of the same shape (as for `load_gpt`) whose weights to begin with. The
            optimiser and the learning rate begin anew; of its games none is seen again.
        resume: go on with the training in `out`, to the same bits as without the break.
        compiled: use torch.compile (needs a C++ compiler; about a third faster on a CPU).
        checkpoint_every: steps between checkpoints.
        watch: called with every step.

    Raises:
        InputError: `out` exists and `resume` is not asked for, or holds another training; `start`
            has another shape.
    """
    asked: dict[str, Any] = {"shape": shape.to_dict(), "plan": asdict(plan), "seed": seed}
    model, before, first = GPT(shape, seed=seed), "", 0
    if start is not None:
        model, asked["start"] = _started(shape, start)
        before = str(asked["start"].get("games", ""))
        first = next_game(before, seed)
    trainer = Trainer(model, plan, seed=seed, first=first, compiled=compiled)
    spent = _continue(trainer, asked, out) if resume else _begin(asked, out)
    started = time.monotonic() - spent
    losses: list[float] = []
    for step in trainer.steps():
        losses.append(step.loss)
        last = step.step == plan.steps
        if step.step % _LOG_EVERY == 0 or last:
            seconds = time.monotonic() - started
            _log(out, step, sum(losses) / len(losses), seconds)
            losses.clear()
        if step.step % checkpoint_every == 0 or last:
            trainer.save(out / CHECKPOINT)
        watch(step)
    wall = round(time.monotonic() - started)
    games = random_origin(seed, first, plan.steps * plan.batch)
    games = join_origins([before, games] if before else [games])
    save_gpt(trainer.model, out, training=asked, games=games, wall_seconds=wall)
    return trainer.model.eval()


def _started(shape: GPTConfig, start: str | Path) -> tuple[GPT, dict[str, Any]]:
    model, config = load_gpt_run(start)
    if model.cfg != shape:
        raise InputError(f"{start} has shape {model.cfg}, not {shape}: name its size")
    told = ("games", "training", "wall_seconds", "machine")
    return model, {"model": str(start), **{key: config[key] for key in told if key in config}}


def _begin(asked: Mapping[str, object], out: Path) -> float:
    if (out / CHECKPOINT).exists():
        raise InputError(f"{out} holds a training: go on with --resume, or choose another --out")
    refuse_existing(out)
    out.mkdir(parents=True)
    write_json(out / BEGUN, asked)
    return 0.0


def _continue(trainer: Trainer, asked: Mapping[str, object], out: Path) -> float:
    found = read_json(out / BEGUN)
    for key in dict.fromkeys([*asked, *found]):
        if found.get(key) != asked.get(key):
            raise InputError(f"{out} was begun with {key} {found.get(key)}, not {asked.get(key)}")
    if not (out / CHECKPOINT).exists():
        return 0.0
    trainer.restore(out / CHECKPOINT)
    text = (out / LOG).read_text() if (out / LOG).exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    kept = [line for line in lines if line["step"] <= trainer.done]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    write_file(out / LOG, lambda work: work.write_text(text))
    return float(kept[-1]["seconds"]) if kept else 0.0


def _log(out: Path, step: GPTStep, loss: float, seconds: float) -> None:
    line = {
        "step": step.step,
        "games": step.games,
        "loss": round(loss, 5),
        "lr": step.lr,
        "seconds": round(seconds, 1),
    }
    with (out / LOG).open("a") as file:
        file.write(json.dumps(line) + "\n")
