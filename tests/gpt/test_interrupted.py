"""Kill -9 in the middle of a training, and several processes in place of one."""

import json
import multiprocessing as mp
import os
import random
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from time import sleep

import pytest
import torch

from othellolens.artifact import read_tensors
from othellolens.gpt import train
from othellolens.gpt.runs import train_gpt
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.train import GPTPlan
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import NO_MOVE

SHAPE = GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64)
PLAN = GPTPlan(games=4 * 30, batch=4)

# A server that has everything imported, and from which every process is forked in milliseconds.
forks = mp.get_context("forkserver")
forks.set_forkserver_preload(["othellolens.gpt.runs"])


def trained(out: Path, resume: bool, steps: Connection) -> None:
    torch.set_num_threads(1)
    train_gpt(
        SHAPE, PLAN, out, resume=resume, checkpoint_every=3, log_every=4, judge_every=10,
        watch=lambda step: steps.send(step.step),
    )  # fmt: skip


def run(out: Path, *, resume: bool, kill: tuple[int, float] | None = None) -> int | None:
    """Train in a process of its own; kill it `kill[1]` seconds after step `kill[0]`."""
    ours, theirs = forks.Pipe()
    child = forks.Process(target=trained, args=(out, resume, theirs))
    child.start()
    theirs.close()
    while kill is not None:
        if ours.recv() == kill[0]:
            sleep(kill[1])
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            break
    child.join()
    return child.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run(out, resume=False) == 0
    return out


@pytest.mark.parametrize("number", range(10))
def test_a_killed_training_ends_in_the_same_bits(number: int, whole: Path, tmp_path: Path) -> None:
    draw, out = random.Random(number), tmp_path / "run"
    kill = (draw.randrange(1, 30), draw.uniform(0, 0.02))
    assert run(out, resume=False, kill=kill) == -signal.SIGKILL
    assert not (out / "config.json").exists(), "it was killed too late"
    assert run(out, resume=True) == 0
    one, other = (read_tensors(at / "model.safetensors") for at in (whole, out))
    assert one.keys() == other.keys()
    for key, weight in one.items():
        assert torch.equal(weight, other[key]), (kill, key)
    assert log(out, "loss", "kl_to_oracle") == log(whole, "loss", "kl_to_oracle")


def log(out: Path, *keys: str) -> list[list[object]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [[line["step"], *(line.get(key) for key in keys)] for line in lines]


def losses(out: Path) -> torch.Tensor:
    return torch.tensor([line[1] for line in log(out, "loss")], dtype=torch.float64)


def cut_half(count: int, *, seed: int, first: int) -> Games:
    """Of every 16 random games the first 8 end after 6 moves: one process has few positions."""
    games = random_games(count, seed=seed, first=first)
    moves = games.moves.clone()
    moves[(torch.arange(first, first + count) % 16) < 8, 6:] = NO_MOVE
    return Games(moves, games.origin)


def job(out: Path, plan: GPTPlan, uneven: bool) -> None:
    """What each process does."""
    if uneven:
        train.random_games = cut_half  # pyright: ignore
    train_gpt(SHAPE, plan, out, device="cpu", log_every=1, judge_every=0)


def together(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Two processes that run it."""
    (tmp_path / "job.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(tmp_path / "job.py")]
    places = [*sys.path, str(Path(__file__).parent)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("uneven", [False, True])
def test_two_processes_learn_as_one(
    uneven: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 steps under torchrun, and the same batches in one process."""
    plan = GPTPlan(games=50 * 16, batch=16, precision="fp32", warmup=0.2)
    monkeypatch.setattr(train, "random_games", train.random_games)
    job(tmp_path / "one", plan, uneven)
    done = together(
        "from pathlib import Path; from othellolens.gpt.train import GPTPlan;"
        "from test_interrupted import job;"
        f"job(Path({str(tmp_path / 'two')!r}), {plan!r}, {uneven})",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 50
    assert float(one[0] - one[-1]) > 0.2, "it learns"
    assert float((one - two).abs().max()) <= 1e-4


def test_two_processes_are_refused_as_one(tmp_path: Path) -> None:
    """Each says why; none is left to find out that the other is gone."""
    (tmp_path / "run").mkdir()
    done = together(
        "from pathlib import Path; from othellolens.errors import InputError\n"
        "from othellolens.gpt.train import GPTPlan; from test_interrupted import job\n"
        f"try: job(Path({str(tmp_path / 'run')!r}), GPTPlan(games=16, batch=16), False)\n"
        "except InputError as error: print(error)\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run exists: choose another name") == 2
