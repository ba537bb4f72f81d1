"""Models by name: those that are published, with the moves by which they are known, and any other
on the hub."""

import re
from pathlib import Path
from typing import NamedTuple

import torch

from ..artifact import CONFIG, read_json
from ..download import NotThereError, hub_file
from ..errors import InputError
from .checkpoints.forms import FINAL
from .checkpoints.own import WEIGHTS
from .model import GPT

_SHIPPED = Path(__file__).parent / "mini"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPO = re.compile(rf"({_PART}/{_PART})(?:@({_PART}))?((?:/{_PART})*)")


class Golden(NamedTuple):
    """A game, and the most likely next move after each of its moves, as token ids."""

    moves: tuple[int, ...]
    answers: tuple[int, ...]


class Published(NamedTuple):
    """Where a model lies on the hub, and what is known of it."""

    repo: str
    file: str
    sha256: str | None = None
    golden: Golden | None = None


# fmt: off
# The test of the conversion in the notebook that published these weights (Nanda 2022).
_SYNTHETIC = Golden(
    moves=(
        20, 19, 18, 10, 2, 1, 27, 3, 41, 42, 34, 12, 4, 40, 11, 29, 43, 13, 48, 56, 33, 39, 22, 44,
        24, 5, 46, 6, 32, 36, 51, 58, 52, 60, 21, 53, 26, 31, 37, 9, 25, 38, 23, 50, 45, 17, 47, 28,
        35, 30, 54, 16, 59, 49, 57, 14, 15, 55, 7,
    ),
    answers=(
        21, 41, 40, 34, 40, 41, 3, 11, 21, 43, 40, 21, 28, 50, 33, 50, 33, 5, 33, 5, 52, 46, 14, 46,
        14, 47, 38, 57, 36, 50, 38, 15, 28, 26, 28, 59, 50, 28, 14, 28, 28, 28, 28, 45, 28, 35, 15,
        14, 30, 59, 49, 59, 15, 15, 14, 15, 8, 7, 8,
    ),
)
# fmt: on
_NANDA = "NeelNanda/Othello-GPT-Transformer-Lens"
PUBLISHED = {
    "synthetic": Published(_NANDA, "synthetic_model.pth", golden=_SYNTHETIC),
    "championship": Published(_NANDA, "championship_model.pth"),
}


def find(name: str | Path) -> Path:
    """The file or folder of a model, fetched if need be.

    Args:
        name: "mini"; a published model; a path; "user/repo" on the hub, or a file in it,
            "user/repo/file"; with "user/repo@revision" not of its main branch. What exists here is
            a path, and so is what would lie in a folder that exists here; "./synthetic" is a path
            too.

    Raises:
        InputError: no such model, or it cannot be fetched.
    """
    if str(name) == "mini":
        return _SHIPPED
    if isinstance(name, str) and name in PUBLISHED:
        known = PUBLISHED[name]
        return hub_file(known.repo, known.file, sha256=known.sha256)
    path, match = Path(name), _REPO.fullmatch(str(name))
    if path.exists():
        return path
    if isinstance(name, str) and match and not Path(name.partition("/")[0]).is_dir():
        return _from_hub(match[1], match[3].removeprefix("/"), match[2] or "main")
    raise InputError(
        f"no model {str(name)!r}: say mini, {', '.join(PUBLISHED)}, the folder of a training that"
        " has finished, the file of a checkpoint, or user/repo on the hub"
    )


def check_golden(model: GPT, name: str | Path) -> None:
    """Compare a published model's answers with those that were published with it, if any were.

    Raises:
        InputError: it answers otherwise, so these are not its weights.
    """
    known = PUBLISHED.get(name) if isinstance(name, str) else None
    if known is None or known.golden is None:
        return
    with torch.no_grad():
        logits = model(torch.tensor([known.golden.moves], device=model.device))
    wrong = int((logits.argmax(-1)[0].cpu() != torch.tensor(known.golden.answers)).sum())
    if wrong:
        raise InputError(
            f"{name}: {wrong} of {len(known.golden.answers)} moves of the published test game are"
            f" answered otherwise than by the published model: {known.repo} has other weights now,"
            " or the file here was changed"
        )


def _from_hub(repo: str, file: str, revision: str) -> Path:
    if file:
        return hub_file(repo, file, revision=revision)
    try:
        config = hub_file(repo, CONFIG, revision=revision)
    except NotThereError:
        raise NotThereError(
            f"no model {repo!r}: nothing lies there, and {repo} on the hub has no {CONFIG}: name"
            f" the file, e.g. {repo}/synthetic_model.pth"
        ) from None
    hub_file(repo, WEIGHTS if "kind" in read_json(config) else FINAL, revision=revision)
    return config.parent
