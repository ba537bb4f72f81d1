"""The command line: one function a verb; options are made from their signatures."""

import ctypes
import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm.auto import tqdm

from .errors import InputError
from .gpt.model import PRESETS
from .gpt.runs import train_gpt
from .gpt.train import GPTPlan
from .othello.games import random_games
from .othello.records import save_games


@contextmanager
def progress(what: str, total: int) -> Generator[Callable[..., None]]:
    """A progress bar on standard error; call what it yields with an advance and what to show."""
    with tqdm(total=total, desc=what, unit_scale=True, file=sys.stderr) as bar:

        def advance(by: int, **show: object) -> None:
            bar.update(by)
            bar.set_postfix({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in show.items()})

        yield advance


def write_result(json_path: Path | None, result: object) -> None:
    """Write a verb's result where `--json` says."""
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(result, indent=2) + "\n")


def games(count: int, out: Path, *, seed: int = 0) -> None:
    """Make random games.

    Args:
        count: how many.
        out: the file to write: .npy (int8 [game, ply]) or .txt (one game a line).
        seed: which games.
    """
    save_games(random_games(count, seed=seed), out)


def verb_train_gpt(
    out: Path,
    *,
    size: Literal["mini", "published"] = "mini",
    plan: GPTPlan = GPTPlan(),  # noqa: B008
    seed: int = 0,
    resume: bool = False,
    compiled: bool = False,
) -> None:
    """Train Othello-GPT on random games; checkpoints as it goes.

    Args:
        out: the run folder.
        size: shape of the model.
        plan: how long and how.
        seed: of the weights and of the games.
        resume: go on with the training in the run folder.
        compiled: use torch.compile (needs a C++ compiler).
    """
    with progress("train-gpt", plan.steps * plan.batch) as advance:
        seen = 0

        def watch(step: Any) -> None:
            nonlocal seen
            advance(step.games - seen, loss=step.loss)
            seen = step.games

        train_gpt(
            PRESETS[size], plan, out, seed=seed, resume=resume, compiled=compiled, watch=watch
        )


VERBS: dict[str, Callable[..., None]] = {"games": games, "train-gpt": verb_train_gpt}


def keep_memory() -> None:
    """Tell glibc to keep large freed buffers instead of handing them back to the kernel.

    Page-faulting them in again costs a small model's training step much of its time. A library must
    not do this behind a user's back, so it happens here, where a command starts.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        for option, value in ((-3, 1 << 25), (-1, (1 << 31) - 1), (-2, 1 << 26)):
            if mallopt is not None:
                mallopt(option, value)


def main(args: list[str] | None = None) -> None:
    """Run a verb. Exit status 0: done; 2: bad input, one line on standard error; 1: our failure."""
    keep_memory()
    try:
        tyro.extras.subcommand_cli_from_dict(VERBS, prog="othellolens", args=args)
    except InputError as error:
        sys.stderr.write(f"othellolens: {error}\n")
        raise SystemExit(2) from None
