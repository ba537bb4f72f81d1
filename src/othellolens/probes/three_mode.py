"""The published probe, `main_linear_probe.pth`: a linear probe for each of three sets of plies.

A float32 tensor [3, 512, 8, 8, 3]: mode, d_in, row, column, class. The classes are absolute: empty,
white, black. Mode 0 was fitted where Black is to move (odd plies, counted from 0, if nobody
passes), mode 1 where White is, mode 2 on both. For mode 0 that reads empty, theirs, mine; for mode
1 empty, mine, theirs; the notebook takes the mean of both (Nanda et al. 2023).
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..artifact import write_file
from ..errors import InputError
from ..gpt.sites import Site
from .linear import LinearProbe

PUBLISHED_SITE = Site("resid_post", 6)
"""Where `main_linear_probe.pth` was fitted."""
EMPTY, WHITE, BLACK = range(3)


@dataclass(frozen=True)
class ThreeModeProbe:
    """Weights of the three modes; there are no biases."""

    weight: Float[Tensor, "mode d_in 64 colour"]
    """Modes black to move, white to move, both; colours empty, white, black."""

    @property
    def d_in(self) -> int:
        """Length of the vectors that it reads."""
        return self.weight.shape[1]

    def colour(self, mode: int) -> Float[Tensor, "64 d_in"]:
        """Black less white in one mode."""
        return (self.weight[mode, :, :, BLACK] - self.weight[mode, :, :, WHITE]).T

    def blank(self, mode: int) -> Float[Tensor, "64 d_in"]:
        """Empty less the mean of the colours in one mode."""
        w = self.weight[mode]
        return (w[:, :, EMPTY] - (w[:, :, WHITE] + w[:, :, BLACK]) / 2).T

    def relative(self) -> LinearProbe:
        """The probe for mine, theirs, empty: the mean of modes 0 and 1, colours as they are seen.

        Its labels go by the parity of the ply, as the published ones do.
        """
        black, white = self.weight[0], self.weight[1]
        mine = (black[:, :, BLACK] + white[:, :, WHITE]) / 2
        theirs = (black[:, :, WHITE] + white[:, :, BLACK]) / 2
        empty = (black[:, :, EMPTY] + white[:, :, EMPTY]) / 2
        probe = LinearProbe(self.d_in)
        with torch.no_grad():
            probe.W.copy_(torch.stack([mine, theirs, empty], 1))
        probe.metadata = {"site": str(PUBLISHED_SITE), "labels": "parity"}
        probe.metadata["hook_name"] = PUBLISHED_SITE.hook_name
        return probe.eval()

    @staticmethod
    def of(probe: LinearProbe) -> "ThreeModeProbe":
        """The weights of a probe for mine, theirs, empty in all three modes.

        Mode 2, of both, cannot tell colours apart and has their mean. Centre and biases have no
        place in this form: what they add to the logits, the same for all positions, is lost.
        """
        mine, theirs, empty = (probe.W * probe.scale).detach().unbind(1)
        grey = (mine + theirs) / 2
        modes = [(empty, theirs, mine), (empty, mine, theirs), (empty, grey, grey)]
        return ThreeModeProbe(torch.stack([torch.stack(mode, -1) for mode in modes]))

    def save(self, path: str | Path) -> None:
        """Write the published form, which `torch.load(path, weights_only=True)` reads.

        Raises:
            InputError: the path exists.
        """
        if Path(path).exists():
            raise InputError(f"{path} exists: remove it or choose another name")
        published = self.weight.unflatten(2, (8, 8)).contiguous()
        write_file(Path(path), lambda to: torch.save(published, to))

    @staticmethod
    def load(path: str | Path) -> "ThreeModeProbe":
        """Read the published form; nothing in it is run.

        Raises:
            InputError: no such file, a pickle with anything but tensors in it, a tensor of another
                shape, or one with NaN.
        """
        found = _tensor(Path(path))
        if found.ndim != 5 or found.shape[2:4] != (8, 8):
            raise InputError(
                f"{path} has the shape {list(found.shape)}, no probe of [3, d_in, 8, 8, 3]"
            )
        if found.shape[0] != 3 or found.shape[4] != 3:
            raise InputError(
                f"{path} has {found.shape[0]} modes and {found.shape[4]} classes; a probe of three"
                " modes has 3 and 3: empty, white, black. For one of empty, theirs, mine use"
                " load_relative_probe"
            )
        return ThreeModeProbe(found.flatten(2, 3))


def load_relative_probe(path: str | Path, *, site: Site | None = None) -> LinearProbe:
    """A probe of one mode and the classes empty, theirs, mine, as [1, d_in, 8, 8, 3].

    The form of `resid_{layer}_linear.pth` (ajyl/othello_world). Labels go by the parity of the ply.

    Args:
        path: the file.
        site: where it was fitted; the file does not say.

    Raises:
        InputError: no such file, or one of another shape, or one with more in it than a tensor.
    """
    found = _tensor(Path(path))
    if found.ndim != 5 or found.shape[0] != 1 or found.shape[2:] != (8, 8, 3):
        raise InputError(f"{path} has the shape {list(found.shape)}, not [1, d_in, 8, 8, 3]")
    empty, theirs, mine = found[0].flatten(1, 2).unbind(-1)
    probe = LinearProbe(found.shape[1])
    with torch.no_grad():
        probe.W.copy_(torch.stack([mine, theirs, empty], 1))
    probe.metadata = {"labels": "parity", **({"site": str(site)} if site else {})}
    return probe.eval()


def _tensor(path: Path) -> Tensor:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is damaged, or holds more than tensors; nothing in it was run"
        ) from error
    if isinstance(found, Mapping) or not isinstance(found, Tensor):
        raise InputError(f"{path} holds a {type(found).__name__}, not a tensor")
    found = found.detach().float()
    if not bool(found.isfinite().all()):
        raise InputError(f"{path} has weights that are NaN or infinite")
    return found
