"""Giving an SAE away: SAELens' folder and a page about it, put on the Hugging Face hub."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..artifact import read_json
from ..gpt.hub import upload
from .autoencoder import CONFIG, SparseAutoencoder
from .foreign.forms import load_sae

_CARD = "README.md"


def push_sae(what: SparseAutoencoder | str | Path, repo: str, *, private: bool = False) -> str:
    """Upload cfg.json, sae_weights.safetensors and a card; nothing else of a folder.

    Args:
        what: an SAE, or its folder in any form that `load_sae` reads.
        repo: "user/repo", or "user/repo:folder" for one SAE of several; made if need be.
        private: if the repository is made, let nobody else see it.

    Returns:
        The repository's address. `load_sae(repo)` loads it, and so does SAELens.

    You are known by the token of `hf auth login`; $HF_ENDPOINT names another server.

    Raises:
        InputError: no SAE there, huggingface-hub is not installed, or the hub refuses.
    """
    sae = what if isinstance(what, SparseAutoencoder) else load_sae(what)
    name, _, inside = repo.partition(":")
    with tempfile.TemporaryDirectory() as work:
        sae.write(Path(work))
        (Path(work) / _CARD).write_text(sae_card(read_json(Path(work) / CONFIG), repo))
        return upload(Path(work), name, private, "Upload an SAE of OthelloLens", inside)


def sae_card(config: Mapping[str, Any], repo: str) -> str:
    """The page of an SAE, in the hub's Markdown: what it is, how it was made, how to load it.

    Args:
        config: its cfg.json.
        repo: "user/repo" or "user/repo:folder".
    """
    told: Mapping[str, Any] = config["metadata"]
    rows = [
        (key, config[key]) for key in ("architecture", "d_in", "d_sae", "d_out") if key in config
    ]
    rows += [(key, told[key]) for key in told if isinstance(told[key], (str, int, float, bool))]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    name, _, inside = repo.partition(":")
    parts = [
        "---\nlibrary_name: saelens\ntags:\n- othello\n- othello-gpt\n- sparse-autoencoder\n"
        "- interpretability\n---",
        f"# {(inside or name).rpartition('/')[2]}",
        "A sparse autoencoder of Othello-GPT's activations, as OthelloLens and SAELens save it.",
        f"| | |\n|---|---|\n{table}",
        f'```python\nimport othellolens as ol\n\nsae = ol.load_sae("{repo}")\n```',
    ]
    for key in ("training_architecture_details", "plan", "provenance"):
        if key in told:
            text = json.dumps(told[key], indent=2)
            parts.append(f"## {key.replace('_', ' ').capitalize()}\n\n```json\n{text}\n```")
    return "\n\n".join(parts) + "\n"
