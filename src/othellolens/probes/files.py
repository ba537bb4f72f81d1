"""Probes from the folders that they were saved to."""

from pathlib import Path
from typing import Any

from ..artifact import CONFIG, check_tensors, read_json, read_tensors
from ..errors import InputError
from .facts import FactProbe
from .linear import LinearProbe
from .mlp import MLPProbe
from .probe import WEIGHTS, Probe

KINDS = (LinearProbe.kind, MLPProbe.kind, FactProbe.kind)


def load_probe(path: Path) -> Probe:
    """A probe in eval mode with its metadata, of the kind that its config.json says.

    Raises:
        InputError: a file is missing or damaged, or keys or shapes do not fit.
    """
    config = read_json(path / CONFIG)
    if config.get("kind") not in KINDS or not isinstance(config.get("d_in"), int):
        raise InputError(f"{path / CONFIG} is of kind {config.get('kind')!r}, no probe of ours")
    probe = _blank(path, config)
    tensors = read_tensors(path / WEIGHTS)
    check_tensors(str(path / WEIGHTS), tensors, probe.state_dict())
    probe.load_state_dict(tensors)
    probe.metadata = config
    return probe.eval()


def _blank(path: Path, config: dict[str, Any]) -> Probe:
    if config["kind"] == FactProbe.kind:
        return FactProbe.of_shape(config)
    if tuple(config.get("classes", ("mine", "theirs", "empty"))) != ("mine", "theirs", "empty"):
        raise InputError(
            f"{path / CONFIG}: classes {config['classes']}; ours are mine, theirs, empty in this"
            " order: reorder W and b"
        )
    if config["kind"] == LinearProbe.kind:
        return LinearProbe(config["d_in"])
    if not isinstance(config.get("hidden"), int):
        raise InputError(f"{path / CONFIG} does not say how wide the hidden layer is")
    return MLPProbe(config["d_in"], config["hidden"])
