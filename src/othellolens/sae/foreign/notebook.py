"""The 2023 notebook and the code that it came from: `N.pt`, a state dict, beside `N_cfg.json`.

f = relu((x - b_dec) W_enc + b_enc). On the hub they lie in `NeelNanda/sparse_autoencoder`; "run1"
is the last of the first training there, version 25, "run2" that of the second, version 47.
"""

import re
from pathlib import Path

from ...artifact import read_json
from ...download import hub_file
from ...errors import InputError
from ...gpt.checkpoints.weights import read_weights
from ...gpt.sites import SITES, Site
from ..autoencoder import SparseAutoencoder
from ..files import load_tensors
from ..relu import Relu

REPO = "NeelNanda/sparse_autoencoder"
RUNS = {"run1": 25, "run2": 47}


def fits(path: Path) -> bool:
    """Whether this is such a file, or a folder with just one."""
    return _file(path) is not None


def read(path: Path) -> SparseAutoencoder:
    """An SAE in eval mode, from the file or a folder that holds one version.

    Raises:
        InputError: a file is damaged, or tensors do not fit (all listed).
    """
    file = _file(path)
    if file is None:
        raise InputError(f"{path} is no N.pt beside its N_cfg.json")
    config, tensors = read_json(_config(file)), read_weights(file)
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    if "W_enc" not in weights or weights["W_enc"].dim() != 2:
        raise InputError(f"{file} has no W_enc [d_in, feature]: it is not of the notebook")
    d_in, width = weights["W_enc"].shape
    sae = Relu(width).build(d_in)
    load_tensors(sae, str(file), weights)
    kind, layer = str(config.get("site")), config.get("layer")
    known = kind in SITES and isinstance(layer, int)
    told = {"hook_name": Site(kind, int(str(layer))).hook_name} if known else {}
    sae.metadata = {"read_from": f"the notebook's {file.name}", **told, "config": config}
    return sae.eval()


def from_hub(version: str | int) -> Path:
    """The file of a version, "run1", "run2" or a number, fetched if need be.

    Raises:
        InputError: no such version, or it cannot be fetched.
    """
    number = RUNS.get(str(version), version)
    if not str(number).isdecimal():
        raise InputError(f"no version {version!r}: say {', '.join(RUNS)} or a number")
    hub_file(REPO, f"{number}_cfg.json")
    return hub_file(REPO, f"{number}.pt")


def versions(path: Path) -> list[str]:
    """The versions that lie in a folder."""
    return sorted(file.stem for file in path.glob("*.pt") if _is_version(file))


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if _is_version(path) else None
    found = versions(path) if path.is_dir() else []
    return path / f"{found[0]}.pt" if len(found) == 1 else None


def _is_version(file: Path) -> bool:
    return bool(re.fullmatch(r"\d+\.pt", file.name)) and _config(file).is_file()


def _config(file: Path) -> Path:
    return file.with_name(f"{file.stem}_cfg.json")
