"""Where our SAEs and theirs are compared, and the table that is printed at the end."""

import sys
import types
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "tests"))
# dictionary_learning imports nnsight for its buffer of language models, which is not used here.
nnsight = types.ModuleType("nnsight")
nnsight.LanguageModel = object  # type: ignore[attr-defined]
sys.modules.setdefault("nnsight", nnsight)

MOST = 1e-4
torch.set_num_threads(1)

ROWS: dict[str, tuple[float, float]] = {}


def note(name: str, features: torch.Tensor, theirs: torch.Tensor, rebuilt: torch.Tensor,
         their_rebuilt: torch.Tensor) -> None:  # fmt: skip
    """Compare features and reconstructions; the largest differences are kept for the table."""
    assert features.shape == theirs.shape
    assert bool((theirs != 0).any()), "nothing is on: nothing is compared"
    of_features = float((features - theirs).abs().max())
    of_rows = float((rebuilt - their_rebuilt).abs().max())
    ROWS[name] = (of_features, of_rows)
    assert of_features <= MOST, name
    assert of_rows <= MOST, name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    peers = ("sae-lens", "dictionary-learning", "eai-sparsify")
    width = max(map(len, ROWS), default=0)
    out = terminalreporter
    out.write_sep("=", ", ".join(f"{peer} {version(peer)}" for peer in peers))
    out.write_line(f"{'':{width}}  largest difference of")
    out.write_line(f"{'':{width}}   features  reconstructions")
    for name, (features, rebuilt) in ROWS.items():
        out.write_line(f"{name:{width}}  {features:9.1e}  {rebuilt:9.1e}")
