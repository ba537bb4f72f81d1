"""The memory that a training is said to need, beside what it takes."""

import subprocess
import sys
from pathlib import Path

import pytest
from reference.tiny import tiny_model

from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.sae.grid import ALL, recipe_of
from othellolens.sae.needs import Needs, needs
from othellolens.sae.plan import SAEPlan
from othellolens.sae.runs import played
from othellolens.sae.training import Member, Training

SITES = Site("resid_post", 0), Site("mlp_post", 1)
MEASURE = """
from pathlib import Path
from reference.tiny import tiny_model
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.sae.grid import recipe_of
from othellolens.sae.needs import needs
from othellolens.sae.plan import SAEPlan
from othellolens.sae.runs import played
from othellolens.sae.training import Member, Training

def peak():
    # Not getrusage: its peak is inherited from the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    (most,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(most) * 1024

def train(members, plan):
    training = Training(members, source, plan)
    list(training.steps())
    list(training.finish())

site, plan = Site("resid_post", 0), SAEPlan(rows=2048, batch=1024)
members = [Member(str(seed), recipe_of(NAME, 512, 8), site, seed) for seed in range(2)]
source = played(tiny_model(), members, random_games(200, seed=0), plan)
train([Member("warm", recipe_of(NAME, 16, 2), site)], SAEPlan(rows=128, batch=64))
before = peak()
train(members, plan)
print(needs(members, source, plan).bytes, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
@pytest.mark.parametrize("name", ["gated", "jumprelu", "batchtopk"])
def test_a_training_takes_what_was_said(name: str) -> None:
    tests = Path(__file__).parent.parent
    code = f"import sys; sys.path.insert(0, {str(tests)!r})\nNAME = {name!r}\n{MEASURE}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    said, taken = map(int, done.stdout.split())
    assert 0.2 * said < taken < said


@pytest.mark.parametrize("name", ALL)
def test_weights_are_counted_before_they_are_made(name: str) -> None:
    plan, games = SAEPlan(rows=640, batch=64), random_games(30, seed=0)
    target = None if name == "relu_tied" else SITES[1]
    found: list[tuple[Needs, int]] = []
    for width in (16, 256):
        member = Member("a", recipe_of(name, width, 4), SITES[0], target=target)
        source = played(tiny_model(), [member], games, plan)
        sae = Training([member], source, plan).groups[0].trainer.sae
        weights = sum(weight.numel() for weight in sae.parameters())
        found.append((needs([member], source, plan), weights))
    more = found[1][0].bytes - found[0][0].bytes
    features = 4 * 6 * 65_536 * (256 - 16)
    assert (more - features) / 16 == pytest.approx(found[1][1] - found[0][1], rel=0.05)
