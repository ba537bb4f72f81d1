"""Doctor: does this installation play Othello right, and what does it run on?"""

import importlib.metadata
import platform
from collections.abc import Iterator
from typing import NamedTuple

import torch

from .gpt.tokens import SQUARE_OF_TOKEN, squares, tokens
from .othello.bitboards import perft
from .othello.games import Games
from .othello.squares import PLAYABLE, SQUARES, name, parse

PERFT = (4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288, 24571284, 212258800)
"""Move sequences of 1..11 plies (https://www.aartbik.com/strategy.php)."""
_PACKAGES = ("othellolens", "torch", "numpy", "numba", "safetensors", "jaxtyping", "tyro")


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    found: str
    good: bool


def examine() -> Iterator[Finding]:
    """Look at everything: rules, notations, versions, device."""
    for depth, expected in enumerate(PERFT, 1):
        found = perft(depth)
        yield Finding(f"perft {depth}", str(found), found == expected)
    yield _golden()
    yield _round_trips()
    for package in _PACKAGES:
        yield Finding(package, importlib.metadata.version(package), True)
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}", True)
    yield Finding("device", _device(), True)


def _golden() -> Finding:
    f5 = parse("f5")
    token = int(tokens(Games(torch.tensor([[f5]], dtype=torch.int8), "golden"))[0, 0])
    good = (
        f5 == 44 and token == 41 and name(44, "notebook") == "F4" and parse("F4", "notebook") == 44
    )
    return Finding("f5 = square 44 = token 41 = notebook F4", f"{f5}, {token}", good)


def _round_trips() -> Finding:
    both = all(
        parse(name(s, notation), notation) == s
        for s in SQUARES
        for notation in ("standard", "notebook")
    )
    played = torch.tensor([PLAYABLE], dtype=torch.int8)
    back = torch.equal(squares(tokens(Games(played, "all squares"))), played)
    good = both and back and len(SQUARE_OF_TOKEN) == 61
    return Finding("64 squares, 60 tokens, there and back", "equal" if good else "differ", good)


def _device() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
    return f"CPU, {torch.get_num_threads()} threads"
