"""Token tensors in safetensors: one integer tensor [game, ply], ids 1..60, 0 after the end."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...errors import InputError
from ..games import Games
from ..squares import MAX_PLIES
from .record import Raw
from .tokens import from_tokens, to_tokens

KEY = "tokens"
_MOST_HEADER = 100_000_000


def knows(head: bytes) -> bool:
    """Whether a file begins as safetensors: with the length of a JSON object."""
    return (
        len(head) > 8 and int.from_bytes(head[:8], "little") <= _MOST_HEADER and head[8:9] == b"{"
    )


def read_safetensors(path: Path) -> Raw:
    """Token ids in integers of any width."""
    tensor = _only_tensor(path)
    whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    if not whole or tensor.ndim != 2 or not 0 < tensor.shape[1] <= MAX_PLIES:
        raise InputError(
            f"{path} holds {str(tensor.dtype)[6:]} {list(tensor.shape)};"
            " token ids are integers [game, up to 60 plies]"
        )
    return from_tokens(tensor.numpy())


def write_safetensors(path: Path, games: Games) -> None:
    """One tensor "tokens", uint8 [game, ply]; names and scores are not kept."""
    save_file({KEY: torch.from_numpy(to_tokens(games))}, path)


def _only_tensor(path: Path) -> Tensor:
    try:
        with safe_open(path, "pt") as file:
            keys = list(file.keys())
            if len(keys) != 1:
                raise InputError(
                    f"{path} holds {len(keys)} tensors ({', '.join(keys[:5])[:80]}):"
                    " games are one tensor of token ids [game, ply]"
                )
            return file.get_tensor(keys[0])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} is truncated or no safetensors file ({error})") from None
