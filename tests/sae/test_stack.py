"""What SAEs of a stack share and what each has of its own, and processes that share a batch."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference.planted import D_IN, NO_PLACE, WIDTH, planted

from othellolens.errors import InputError
from othellolens.sae.autoencoder import Recipe
from othellolens.sae.gated_p_anneal import GatedPAnneal
from othellolens.sae.p_anneal import PAnneal, Power
from othellolens.sae.plan import SAEPlan
from othellolens.sae.relu import Relu
from othellolens.sae.stack import member
from othellolens.sae.train import SAETrainer

PLAN = SAEPlan(rows=200 * 256, batch=256, lr=3e-3, dead_after=256 * 10)
both = pytest.mark.parametrize("recipe", [PAnneal(WIDTH, l0=3), GatedPAnneal(WIDTH, l0=3)], ids=str)


def learned(trainer: SAETrainer, steps: int) -> SAETrainer:
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        trainer.update(NO_PLACE.expand(PLAN.batch, 2), planted(PLAN.batch, generator))
    return trainer


def same_as_alone(recipes: list[Recipe], prepare: Callable[[SAETrainer], object]) -> SAETrainer:
    """A stack after a third of its training, each member as it would be by itself."""
    seeds = [1, 2]
    whole = SAETrainer(recipes, D_IN, PLAN, seed=seeds)
    prepare(whole)
    learned(whole, PLAN.steps // 3)
    for number, (one, seed) in enumerate(zip(recipes, seeds, strict=True)):
        alone = SAETrainer(one, D_IN, PLAN, seed=seed)
        prepare(alone)
        found = member(whole.sae, number).state_dict()
        for key, tensor in learned(alone, PLAN.steps // 3).sae.state_dict().items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-4, msg=key)
    return whole


@both
def test_members_share_p_and_each_keeps_a_penalty_of_its_own(recipe: PAnneal) -> None:
    """p is a matter of the step alone; what holds the penalty steady is of each member's features.

    Later, where f^p has a slope of thousands, the last bit of a product decides what is learned.
    """
    whole = same_as_alone([recipe, replace(recipe, penalty=0.1, l0=6)], lambda _: None)
    power: Power = whole.sae.power  # pyright: ignore
    assert 0.7 < float(power.p) < 0.8
    assert power.scale.shape == (2,)
    assert float((power.scale[0] - power.scale[1]).abs()) > 1e-3


def test_what_a_member_is_resampled_at_does_not_depend_on_its_stack() -> None:
    def born_dead(trainer: SAETrainer) -> None:
        with torch.no_grad():
            trainer.sae.W_enc[..., 8:] *= 0.05
            trainer.sae.b_enc[..., 8:] = -0.8  # pyright: ignore

    whole = same_as_alone([Relu(WIDTH, l0=3), Relu(WIDTH, l0=6)], born_dead)
    assert int((whole.silence.rows < PLAN.patience).sum()) > 2 * 20


@both
@pytest.mark.parametrize("change", [{"p_end": 0.5}, {"anneal_from": 0.3}], ids=str)
def test_members_whose_p_falls_otherwise_are_not_stacked(
    recipe: PAnneal, change: dict[str, float]
) -> None:
    with pytest.raises(InputError, match="cannot be trained as one stack"):
        SAETrainer([recipe, replace(recipe, **change)], D_IN, PLAN)


def test_processes_keep_one_penalty(tmp_path: Path) -> None:
    """Each sees other rows; what they settle must not drift apart, or no resume would be exact."""
    job, tests = tmp_path / "job.py", Path(__file__).parent.parent
    job.write_text(
        f"import sys; sys.path.insert(0, {str(tests)!r})\n"
        "import torch\n"
        "from reference.planted import D_IN, NO_PLACE, WIDTH, planted\n"
        "from othellolens.gpt.parallel import team\n"
        "from othellolens.sae.p_anneal import PAnneal\n"
        "from othellolens.sae.plan import SAEPlan\n"
        "from othellolens.sae.train import SAETrainer\n"
        "plan = SAEPlan(rows=80 * 64, batch=64, lr=3e-3)\n"
        "with team('cpu') as crew:\n"
        "    trainer = SAETrainer(PAnneal(WIDTH, l0=3), D_IN, plan, team=crew)\n"
        "    rows = torch.Generator().manual_seed(crew.rank)\n"
        "    for _ in range(plan.steps):\n"
        "        trainer.update(NO_PLACE.expand(32, 2), planted(32, rows))\n"
        f"    torch.save(trainer.sae.state_dict(), {str(tmp_path)!r} + f'/{{crew.rank}}.pt')\n"
        "    crew.wait()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", str(job)],
        check=False, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert float(first["power.scale"]) != 1.0
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key
