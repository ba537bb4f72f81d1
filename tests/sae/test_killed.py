"""Kill -9 in the middle of a sweep, and several processes in place of one."""

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
from reference.tiny import tiny_model

from othellolens.activations.mixing import Mixer
from othellolens.activations.part import Part
from othellolens.artifact import read_tensors
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.sae.grid import ALL, grid
from othellolens.sae.plan import SAEPlan
from othellolens.sae.runs import played, train_saes
from othellolens.sae.topk import TopK
from othellolens.sae.train import SAETrainer
from othellolens.sae.training import Member

SITES = [Site("resid_post", 0), Site("mlp_out", 1)]
PLAN = SAEPlan(rows=64 * 30, batch=64, window=100, lr=3e-3, dead_after=256)
MEMBERS = grid(ALL, [24], [3], [0, 1], SITES[:1]) + [
    Member("over", TopK(24, k=3), SITES[0], target=SITES[1], skip=True)
]

forks = mp.get_context("forkserver")
forks.set_forkserver_preload(["othellolens.sae.runs"])


def trained(out: Path, resume: bool, steps: Connection) -> None:
    torch.set_num_threads(1)
    source = played(tiny_model(), MEMBERS, random_games(200, seed=3), PLAN)
    train_saes(
        MEMBERS, source, PLAN, out, resume=resume, checkpoint_every=4, log_every=5,
        watch=lambda found: steps.send(next(iter(found.values())).step),
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
    out = tmp_path_factory.mktemp("sweeps") / "whole"
    assert run(out, resume=False) == 0
    return out


@pytest.mark.parametrize("number", range(5))
def test_a_killed_sweep_ends_in_the_same_bits(number: int, whole: Path, tmp_path: Path) -> None:
    draw, out = random.Random(number), tmp_path / "run"
    # The last of them while members are being saved.
    step = draw.randrange(1, 30) if number < 4 else 30
    kill = (step, draw.uniform(0, 0.05))
    assert run(out, resume=False, kill=kill) == -signal.SIGKILL
    assert run(out, resume=True) == 0
    for member in MEMBERS:
        path = Path(member.name) / "sae_weights.safetensors"
        one, other = read_tensors(whole / path), read_tensors(out / path)
        assert one.keys() == other.keys()
        for key, weight in one.items():
            assert torch.equal(weight, other[key]), (kill, member.name, key)
    assert log(out) == log(whole)


def log(out: Path) -> list[object]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["members"]) for line in lines]


def test_two_processes_share_every_batch(tmp_path: Path) -> None:
    """Under torchrun they end where one ends that is given both halves of every batch."""
    job = tmp_path / "job.py"
    tests = Path(__file__).parent.parent
    job.write_text(
        f"import sys; sys.path.insert(0, {str(tests)!r})\n"
        "from pathlib import Path\n"
        "from reference.tiny import tiny_model\n"
        "from othellolens.activations.part import Part\n"
        "from othellolens.gpt.parallel import team\n"
        "from othellolens.gpt.sites import Site\n"
        "from othellolens.othello.games import random_games\n"
        "from othellolens.sae.plan import SAEPlan\n"
        "from othellolens.sae.runs import played, train_saes\n"
        "from othellolens.sae.topk import TopK\n"
        "from othellolens.sae.training import Member\n"
        f"plan = {PLAN!r}\n"
        "members = [Member('', TopK(24, k=3), Site('resid_post', 0))]\n"
        "source = played(tiny_model(), members, random_games(200, seed=3), plan)\n"
        "with team('cpu') as crew:\n"
        "    part = Part(source, crew.rank, crew.size)\n"
        f"    train_saes(members, part, plan, Path({str(tmp_path / 'two')!r}), team=crew)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(job)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = read_tensors(tmp_path / "two" / "sae_weights.safetensors")
    members = [Member("", TopK(24, k=3), SITES[0])]
    source = played(tiny_model(), members, random_games(200, seed=3), PLAN)
    halves = [Mixer(Part(source, r, 2), batch=32, seed=0).batches() for r in range(2)]
    alone = SAETrainer(TopK(24, k=3), 32, PLAN)
    for _ in range(PLAN.steps):
        parts = [next(half) for half in halves]
        at = torch.cat([part.at for part in parts])
        alone.update(at, torch.cat([part.x[SITES[0]] for part in parts]))
    rest = torch.cat([next(halves[0]).x[SITES[0]] for _ in range(20)])
    wanted = alone.finish(rest)[0].exported()
    for key, weight in wanted.items():
        torch.testing.assert_close(found[key], weight, rtol=1e-3, atol=1e-3)
