"""Trained models on disk: a training that checkpoints and resumes, saving, and loading by name."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..artifact import CONFIG, read_json, refuse_existing, write_file, write_json
from ..errors import InputError
from ..othello.games import random_origin
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
        resume: go on with the training in `out`, to the same bits as without the break.
        compiled: use torch.compile (needs a C++ compiler; about a third faster on a CPU).
        checkpoint_every: steps between checkpoints.
        watch: called with every step.

    Raises:
        InputError: `out` exists and `resume` is not asked for, or holds another training.
    """
    asked: dict[str, object] = {"shape": shape.to_dict(), "plan": asdict(plan), "seed": seed}
    trainer = Trainer(GPT(shape, seed=seed), plan, seed=seed, compiled=compiled)
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
    games = random_origin(seed, 0, plan.steps * plan.batch)
    save_gpt(trainer.model, out, training=asked, games=games, wall_seconds=wall)
    return trainer.model.eval()


def _begin(asked: Mapping[str, object], out: Path) -> float:
    if (out / CHECKPOINT).exists():
        raise InputError(f"{out} holds a training: go on with --resume, or choose another --out")
    refuse_existing(out)
    out.mkdir(parents=True)
    write_json(out / BEGUN, asked)
    return 0.0


def _continue(trainer: Trainer, asked: Mapping[str, object], out: Path) -> float:
    found = read_json(out / BEGUN)
    for key, value in asked.items():
        if found.get(key) != value:
            raise InputError(f"{out} was begun with {key} {found.get(key)}, not {value}")
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
