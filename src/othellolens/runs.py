"""What verbs pass to each other: run folders, and games by number or file."""

import re
from pathlib import Path

from .artifact import CONFIG, read_json
from .encoder import Encoder
from .errors import InputError
from .gpt.checkpoints.forms import FINAL
from .gpt.hub import push_to_hub as push_gpt
from .gpt.published import PUBLISHED, find
from .gpt.runs import BEGUN, load_gpt
from .gpt.sites import Site
from .lens import Lens
from .othello.games import Games, random_games, share_games
from .othello.records import load_games
from .probes.files import KINDS, load_probe
from .probes.probe import warn_elsewhere
from .sae.autoencoder import SparseAutoencoder
from .sae.foreign.forms import is_sae, load_sae, nothing, read_sae
from .sae.hub import push_sae

_NUMBER = re.compile(r"-?\d+")
HELD_SEED = 1
"""Seed of the held-out games: no verb trains on it unless told to."""


def games_of(source: str, seed: int) -> Games:
    """Games from a file, or as many random ones as `source` says.

    Raises:
        InputError: no such file, a damaged one, or no games.
    """
    count = source.replace("_", "")
    games = random_games(int(count), seed=seed) if _NUMBER.fullmatch(count) else load_games(source)
    if not len(games):
        raise InputError(f"{source}: there are no games, at least one is needed")
    return games


def apart(train: Games, held: Games) -> tuple[Games, Games]:
    """Both, if none of the games that are held out is among those that were trained on.

    Raises:
        InputError: they share random games.
    """
    if share_games(train.origin, held.origin):
        raise InputError(
            f"held-out games ({held.origin}) were also trained on ({train.origin}): take others"
        )
    return train, held


def load_encoder(path: str | Path) -> Encoder:
    """An SAE or a probe, recognised by content; where it is from is in `metadata`.

    Args:
        path: a folder of ours; an SAE in any form that `load_sae` reads, on the hub too.

    Raises:
        InputError: no such folder, of no known kind, or damaged; it cannot be fetched.
    """
    if is_model(path) and not Path(path).is_file():
        raise InputError(f"{path} is a model: name the folder of an SAE or of a probe")
    path = Path(path)
    if not path.exists():
        try:
            return load_sae(str(path))
        except InputError as error:
            raise InputError(f"there is no folder {path}; {error}") from None
    if is_sae(path):
        return read_sae(path)
    if (path / CONFIG).exists() and read_json(path / CONFIG).get("kind") in KINDS:
        return load_probe(path)
    raise InputError(f"{nothing(path)}, and no probe of ours")


def is_model(path: str | Path) -> bool:
    """Whether this names a trained model rather than an encoder."""
    config, begun = Path(path) / CONFIG, Path(path) / BEGUN
    if str(path) == "mini" or begun.is_file() or (config.parent / FINAL).is_file():
        return True
    if not Path(path).exists():
        return str(path) in PUBLISHED or _is_hub_model(str(path))
    if Path(path).is_file():
        return not is_sae(Path(path))
    return config.is_file() and read_json(config).get("kind") == "gpt"


def _is_hub_model(name: str) -> bool:
    try:
        return is_model(find(name))
    except InputError:
        return False


def push_to_hub(what: SparseAutoencoder | str | Path, repo: str, *, private: bool = False) -> str:
    """Give a model or an SAE away: upload it to the Hugging Face hub with a card made from it.

    Args:
        what: the folder of a finished training, of a model or an SAE; an SAE; "mini" for ours.
        repo: "user/repo"; for an SAE also "user/repo:folder". Made if need be.
        private: if the repository is made, let nobody else see it.

    Returns:
        Its address. `load_gpt(repo)` or `load_sae(repo)` loads it.

    You are known by the token of `hf auth login`; $HF_ENDPOINT names another server.

    Raises:
        InputError: neither a finished model nor an SAE, huggingface-hub is not installed, or the
            hub refuses.
    """
    if isinstance(what, str) and what in PUBLISHED:
        raise InputError(f"{what} is published already: load_gpt({what!r}) loads it")
    if isinstance(what, SparseAutoencoder) or is_sae(Path(what)):
        return push_sae(what, repo, private=private)
    return push_gpt(what, repo, private=private)


def load_lens(path: str | Path, *, model: str | None = None, site: str | None = None) -> Lens:
    """An encoder with the model and the site that it was made for.

    Args:
        path: the encoder, as in `load_encoder`.
        model: the model to use instead of the one that it names.
        site: the site to use instead, e.g. "resid_post.3".

    Raises:
        InputError: the folder does not say, and the caller does not either; or nothing fits.
    """
    encoder = load_encoder(path)
    model = model or encoder.metadata.get("model_name")
    site = site or encoder.metadata.get("site") or encoder.metadata.get("hook_name")
    if not model or not site:
        raise InputError(f"{path} does not name its model and site: say --model and --site")
    where = Site.parse(site)
    warn_elsewhere(encoder, where)
    return Lens(load_gpt(model), where, encoder)
