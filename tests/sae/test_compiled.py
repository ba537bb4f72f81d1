"""A compiled loss learns what the plain one learns."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

LEARN = """
import json
from dataclasses import replace
from reference.planted import WIDTH, learn
from othellolens.sae.gated_p_anneal import GatedPAnneal
from othellolens.sae.jump_relu import JumpRelu
from othellolens.sae.plan import SAEPlan
from othellolens.sae.topk import TopK

plan = SAEPlan(rows=128 * 24, batch=128, lr=3e-3, dead_after=128 * 4)
recipes = [GatedPAnneal(WIDTH, l0=3), JumpRelu(WIDTH, form="target", l0=3), TopK(WIDTH, k=2)]
for recipe in recipes:
    print(json.dumps([learn(recipe, replace(plan, compiled=on))[1][-1] for on in (False, True)]))
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="compiling needs a C++ compiler")
def test_a_compiled_loss_learns_the_same() -> None:
    """In a process of its own: what checks shapes in the tests cannot be compiled."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n{LEARN}"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = list(map(json.loads, done.stdout.splitlines()))
    assert len(found) == 3
    assert found[0][0] != found[0][1]
    assert found[2][0] == found[2][1]
    for plain, compiled in found:
        torch.testing.assert_close(
            torch.tensor(compiled), torch.tensor(plain), rtol=0.02, atol=0.02
        )
