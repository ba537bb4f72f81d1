"""The models that are compared, and the table that is printed at the end."""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[2] / "tests")]

from peers import KINDS, VERSION, peer
from reference.tiny import tiny_model

import othellolens as ol

MOST = 1e-4
torch.set_num_threads(1)  # small matrices: threads only wait for each other


class Row(NamedTuple):
    """What is known of a hook point, layers and models merged."""

    shape: str
    difference: float
    relative: float


ROWS: dict[str, Row] = {}


def note(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, over the largest number there if that is above 1; kept for the table.

    A float32 of 500 has no digits at 1e-5, and the stream of `mini` grows to that. What is masked
    must be masked in both: -inf with us and in HookedTransformer, the least float in
    TransformerBridge.
    """
    ours, theirs = ours.detach(), theirs.detach()
    seen = ours.isfinite()
    masked = theirs == -torch.inf if VERSION.startswith("3.") else theirs <= -3e38
    assert torch.equal(masked, ~seen), name
    difference = float((ours - theirs)[seen].abs().max())
    relative = difference / max(1.0, float(ours[seen].abs().max()))
    merged = re.sub(r"blocks\.\d+", "blocks.*", name)
    shape = f"[{' '.join(str(n) for n in ours.shape)}]"
    before = ROWS.get(merged, Row(shape, 0.0, 0.0))
    ROWS[merged] = Row(
        before.shape, max(before.difference, difference), max(before.relative, relative)
    )
    return relative


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    width = max(map(len, ROWS), default=0)
    out = terminalreporter
    out.write_sep("=", f"largest differences, transformer-lens {VERSION}: {', '.join(KINDS)}")
    out.write_line(f"{'':{width}}  {'shape, small model':18}  absolute  relative")
    for name, row in ROWS.items():
        out.write_line(
            f"{name:{width}}  {row.shape:18}  {row.difference:8.1e}  {row.relative:8.1e}"
        )


def published() -> ol.GPT:
    """The published shape with weights drawn so that the stream grows to the size it has there."""
    model = ol.GPT(ol.GPTConfig(), seed=5)
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.03 * torch.randn(weight.shape, generator=chance))
    return model.eval()


class Pair(NamedTuple):
    """The same weights in both, in float32."""

    model: ol.GPT
    theirs: Any
    kind: str


@pytest.fixture(scope="session", params=["small LN", "small LNPre", "mini", "published shape"])
def which(request: pytest.FixtureRequest) -> str:
    """Which model."""
    return request.param


@pytest.fixture(scope="session", params=KINDS)
def pair(which: str, request: pytest.FixtureRequest, tmp_path_factory: Any) -> Pair:
    """One of our models, and theirs."""
    if which.startswith("small"):
        model = tiny_model("LN" if which.endswith("LN") else "LNPre")
    else:
        model = ol.load_gpt("mini") if which == "mini" else published()
    if request.param == "GPT-2 bridge":
        model.unembed.b_U.data.zero_()
    return Pair(model, peer(request.param, model, tmp_path_factory.mktemp("peer")), request.param)


@pytest.fixture(scope="session")
def ids() -> torch.Tensor:
    """Five games, one of which ends early and is filled up with padding."""
    games = ol.random_games(20_000, seed=7)
    short = (games.lengths() < 59).nonzero()[0]
    moves = torch.cat([games.moves[:4], games.moves[short]])
    return ol.tokens(ol.Games(moves, "some"))[:, :59]
