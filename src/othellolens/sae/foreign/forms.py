"""Which form an SAE has, told by its content, and where it is."""

import re
from pathlib import Path

from ...artifact import CONFIG as THEIR_CONFIG
from ...download import NotThereError, hub_file
from ...errors import InputError
from ..autoencoder import CONFIG, WEIGHTS, SparseAutoencoder
from ..files import load_sae as read_sae_lens
from . import dictionary_learning, notebook, sparsify

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPO = re.compile(rf"({_PART}/{_PART})(?:[:/](.+))?")
_FORMS = (
    "SAELens (cfg.json and sae_weights.safetensors), dictionary_learning (ae.pt and config.json),"
    " sparsify (cfg.json and sae.safetensors) or the notebook (N.pt and N_cfg.json)"
)


def load_sae(name: str | Path) -> SparseAutoencoder:
    """An SAE in eval mode, in any form that is known.

    Args:
        name: a folder that we, SAELens, dictionary_learning or sparsify wrote; the notebook's
            `N.pt`, or "run1" and "run2", which it fetched; "user/repo" or "user/repo:folder" on
            the hub. What exists here is a path.

    Raises:
        InputError: no such SAE, of no known form, or damaged; it cannot be fetched.
    """
    path, match = Path(name), _REPO.fullmatch(str(name))
    if path.exists():
        return read_sae(path)
    if str(name) in notebook.RUNS:
        return notebook.read(notebook.from_hub(str(name)))
    if isinstance(name, str) and match and not Path(name.partition("/")[0]).is_dir():
        return read_sae(_from_hub(match[1], match[2] or ""))
    raise InputError(
        f"no SAE {str(name)!r}: name a folder, {' or '.join(notebook.RUNS)}, or user/repo:folder on"
        " the hub"
    )


def is_sae(path: Path) -> bool:
    """Whether something here looks like an SAE of a known form."""
    others = (dictionary_learning.fits(path), sparsify.fits(path), notebook.fits(path))
    return (path / CONFIG).is_file() or any(others)


def read_sae(path: Path) -> SparseAutoencoder:
    """An SAE in eval mode from what lies here.

    Raises:
        InputError: of no known form, of several, or damaged.
    """
    forms = {
        "SAELens": (path / WEIGHTS).is_file() and (path / CONFIG).is_file(),
        "dictionary_learning": dictionary_learning.fits(path),
        "sparsify": sparsify.fits(path),
        "the notebook": notebook.fits(path),
    }
    found = [name for name, there in forms.items() if there]
    if len(found) > 1:
        raise InputError(f"{path} holds SAEs of {' and of '.join(found)}: keep them apart")
    if found == ["dictionary_learning"]:
        return dictionary_learning.read(path)
    if found == ["sparsify"]:
        return sparsify.read(path)
    if found == ["the notebook"]:
        return notebook.read(path)
    if (path / CONFIG).is_file():
        return read_sae_lens(path)
    raise InputError(nothing(path))


def nothing(path: Path) -> str:
    """What is said of a place that holds no SAE, or several."""
    several = (sparsify.among(path) or notebook.versions(path)) if path.is_dir() else []
    if several:
        return f"{path} holds several SAEs ({', '.join(several)}): name one of them"
    return f"{path} holds no SAE of {_FORMS}"


def _from_hub(repo: str, folder: str) -> Path:
    """The folder of an SAE on the hub: of each form, the files by which it is known."""
    head = f"{folder.strip('/')}/" if folder else ""
    pairs = (
        (CONFIG, WEIGHTS),
        (CONFIG, sparsify.WEIGHTS),
        (THEIR_CONFIG, dictionary_learning.WEIGHTS),
    )
    for config, weights in pairs:
        try:
            hub_file(repo, head + config)
            return hub_file(repo, head + weights).parent
        except NotThereError:
            continue
    raise NotThereError(
        f"{repo} on the hub has no SAE in {folder or 'its first folder'}: name the folder, as in"
        f" {repo}:folder; what is read is {_FORMS}"
    )
