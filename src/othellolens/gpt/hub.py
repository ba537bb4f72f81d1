"""Giving a model away: the artifact and a page about it, put on the Hugging Face hub."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..artifact import CONFIG
from ..errors import InputError
from .checkpoints import own
from .model import GPT
from .published import find

_CARD = "README.md"


def push_to_hub(folder: str | Path, repo: str, *, private: bool = False) -> str:
    """Upload config.json, model.safetensors and a model card; nothing else of the folder.

    Args:
        folder: a finished training or what `save_as` wrote in our form; "mini" for ours.
        repo: "user/repo"; made if need be, its files of these names replaced.
        private: if the repository is made, let nobody else see it.

    Returns:
        Its address. `load_gpt(repo)` loads it.

    You are known by the token of `hf auth login`; $HF_ENDPOINT names another server.

    Raises:
        InputError: no finished model there, huggingface-hub is not installed, or the hub refuses.
    """
    path = find(folder if str(folder) == "mini" else Path(folder))
    model, config = own.read(path)
    with tempfile.TemporaryDirectory() as work:
        for name in (CONFIG, own.WEIGHTS):
            shutil.copy(path / name, work)
        (Path(work) / _CARD).write_text(model_card(model, config, repo))
        return upload(Path(work), repo, private, "Upload an Othello-GPT of OthelloLens")


def model_card(model: GPT, config: Mapping[str, Any], repo: str) -> str:
    """The page of a model, in the hub's Markdown: its shape, its making, how to load it.

    Args:
        model: whose weights are counted.
        config: what was saved beside it; see `load_gpt_run`.
        repo: "user/repo".
    """
    weights = sum(weight.numel() for weight in model.parameters())
    rows = [("parameters", f"{weights:,}"), *model.cfg.to_dict().items()]
    rows += [(key, config[key]) for key in ("games", "wall_seconds", "name") if key in config]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    parts = [
        "---\nlibrary_name: othellolens\ntags:\n- othello\n- othello-gpt\n- interpretability\n---",
        f"# {repo.rpartition('/')[2]}",
        "A GPT that reads the moves of an Othello game and predicts the next one"
        " (Li et al. 2023, https://arxiv.org/abs/2210.13382), as OthelloLens saves it.",
        f"| | |\n|---|---|\n{table}",
        f'```python\nimport othellolens as ol\n\nmodel = ol.load_gpt("{repo}")\n```',
    ]
    for key in ("training", "provenance"):
        if key in config:
            text = json.dumps(config[key], indent=2)
            parts.append(f"## {key.capitalize()}\n\n```json\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def upload(folder: Path, repo: str, private: bool, message: str, inside: str = "") -> str:
    """Put all files of a folder into a repository of the hub; its address.

    Args:
        folder: what to upload.
        repo: "user/repo"; made if need be.
        private: if the repository is made, let nobody else see it.
        message: of the commit.
        inside: the folder of the repository to put it in.

    Raises:
        InputError: huggingface-hub is not installed, or the hub refuses.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise InputError("huggingface-hub is not installed: pip install huggingface-hub") from None
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="othellolens")
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, path_in_repo=inside or None
        )
    except Exception as error:  # its own, and those of the HTTP library that it uses this year
        first = str(error).strip().split("\n")[0]
        raise InputError(
            f"the hub did not take {repo} ({first}): is the name yours, and are you"
            " logged in (hf auth login)?"
        ) from None
    return str(address)
