"""The verb `patch`: which activations carry the difference that one move makes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro

from .circuits.pairs import Pairs, find_pairs, pair_of
from .circuits.patching import (
    Ablation,
    Patched,
    Place,
    ablate,
    attribution_patch,
    attribution_patch_features,
    correlation,
    patch,
    patch_features,
)
from .errors import InputError
from .gpt.model import GPT
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .lens import Lens
from .othello.games import random_games
from .othello.records import typed_games
from .othello.squares import name
from .runs import games_of, load_lens
from .terminal import Progress, say, table, write_result

_SEED = 1_000_003
ABLATIONS: tuple[Ablation, ...] = ("zero", "mean", "resample")
COMPONENTS = ("attn_out", "mlp_out", "resid_post")


Three: TypeAlias = tuple[Patched, Patched, Patched]
"""Exact; by the gradient of the corrupted run; by gradients in between."""


def patch_verb(
    model: Annotated[str, tyro.conf.Positional] = "mini",
    *,
    clean: str | None = None,
    corrupted: str | None = None,
    games: str | None = None,
    count: int = 100,
    plies: tuple[int, int] = (5, 30),
    back: tuple[int, ...] = (0, 1),
    between: int = 8,
    neurons: int = 10,
    features: Path | None = None,
    ablated: int = 100,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Find what carries the difference that a move makes: patch, and take out, part by part.

    Pairs of histories differ in their last move, and each allows a move that the other does not.
    Into the run of the one the activations of the other are put, place by place: 0 leaves the
    difference of the two moves' logits as it was, 1 restores it. Attribution patching estimates the
    same from gradients, all places at once, and stands beside it with its correlation.

    Args:
        model: mini, a published model's name, or the folder of a trained model.
        clean: a history of your own, as players write it ("f5d6c3d3"), instead of many that are
            found.
        corrupted: another of the same length that differs from it.
        games: a file of games to make pairs from; by default random ones.
        count: of pairs.
        plies: shortest and longest history.
        back: plies before the last at which layers are patched.
        between: points between the two runs at which gradients are averaged.
        neurons: of all layers, those to patch exactly that attribution patching ranks highest.
        features: folder of an SAE, or user/repo:folder for one on the hub: its features are patched
            likewise.
        ablated: random games on which components are taken out; 0: none.
        seed: of pairs and resampling.
        json: file for the result ("-": standard output).
    """
    player, progress = load_gpt(model), Progress()
    lens = None if features is None else load_lens(features)
    pairs = _pairs(clean, corrupted, games, count, plies, seed)
    bench = Bench(player, pairs, between, progress)
    layers = range(player.cfg.n_layers)
    parts = [Place(Site(kind, x), b) for x in layers for kind in COMPONENTS for b in back]
    by_layer = bench.both(parts, "layers")
    heads = [Place(Site("z", x, h)) for x in layers for h in range(player.cfg.n_heads)]
    by_head = bench.both(heads, "heads")
    top = bench.best_neurons(neurons)
    found = {"layers": by_layer, "heads": by_head, "neurons": bench.both(top, "neurons")}
    if lens is not None:
        found["features"] = bench.features(Lens(player, lens.site, lens.encoder), neurons)
    progress.close()
    moves = "" if clean is None else f" ({name(int(pairs.answer))} less {name(int(pairs.against))})"
    say(f"{len(pairs)} {pairs.clean.origin}; logit of one move less another's{moves}, nats:")
    right, wrong = (float(x.mean()) for x in (by_layer[0].clean, by_layer[0].corrupted))
    say(f"clean {right:.3f}, corrupted {wrong:.3f}; 1 restores the clean run, 0 is as corrupted\n")
    for what, (exact, plain, smooth) in found.items():
        say(table(_rows(what, exact, plain, smooth, between)) + "\n")
    correlations = _correlations(found, between)
    say("attribution patching against the exact one: Pearson's r over places and pairs")
    say(table(correlations))
    taken = bench.ablations(ablated, seed) if ablated else []
    if taken:
        say(f"\ntaken out at every ply of {ablated} random games: KL from the model as it is, nats")
        say(table(taken))
    result = {what: _rows(what, *three, between) for what, three in found.items()}
    write_result(json, {**result, "correlations": correlations, "ablations": taken})


class Bench:
    """A model and pairs to patch."""

    def __init__(self, model: GPT, pairs: Pairs, between: int, progress: Progress) -> None:
        if between < 1:
            raise InputError(f"gradients at {between} points between the runs: take 1 or more")
        self.model, self.pairs, self.between, self.progress = model, pairs, between, progress

    def both(self, places: Sequence[Place], what: str) -> Three:
        """Patch exactly and by gradients."""
        self.progress(f"patching {what}", 0, len(places))
        exact = patch(self.model, self.pairs, places)
        return exact, *self._fast(places)

    def _fast(self, places: Sequence[Place]) -> tuple[Patched, Patched]:
        plain = attribution_patch(self.model, self.pairs, places)
        return plain, attribution_patch(self.model, self.pairs, places, between=self.between)

    def best_neurons(self, count: int) -> list[Place]:
        """The neurons that attribution patching ranks highest."""
        cfg = self.model.cfg
        if not 1 <= count <= cfg.n_layers * cfg.d_mlp:
            raise InputError(f"{count} neurons: this model has {cfg.n_layers * cfg.d_mlp}")
        places = [
            Place(Site("mlp_post", layer), 0, index)
            for layer in range(cfg.n_layers)
            for index in range(cfg.d_mlp)
        ]
        self.progress("ranking neurons", 0, 1)
        ranked = attribution_patch(self.model, self.pairs, places, between=self.between)
        order = ranked.restored().argsort(descending=True)[:count].tolist()
        return [places[i] for i in order]

    def features(self, lens: Lens, count: int) -> Three:
        """Those features of an SAE that attribution patching ranks highest."""
        fast = partial(attribution_patch_features, lens, self.pairs)
        self.progress("patching features", 0, 1)
        ranked = fast(range(lens.width), between=self.between).restored()
        order = ranked.argsort(descending=True)[:count].tolist()
        exact = patch_features(lens, self.pairs, order)
        return exact, fast(order), fast(order, between=self.between)

    def ablations(self, count: int, seed: int) -> list[dict[str, object]]:
        """What taking out each layer's components does."""
        games = random_games(count, seed=_SEED + seed + 1)
        places = [
            Place(Site(kind, layer))
            for layer in range(self.model.cfg.n_layers)
            for kind in COMPONENTS[:2]
        ]
        kinds = {how: ablate(self.model, games, places, how=how, seed=seed).kl for how in ABLATIONS}
        return [
            {"place": str(place), **{how: float(kl[i]) for how, kl in kinds.items()}}
            for i, place in enumerate(places)
        ]


def _pairs(
    clean: str | None,
    corrupted: str | None,
    games: str | None,
    count: int,
    plies: tuple[int, int],
    seed: int,
) -> Pairs:
    if (clean is None) != (corrupted is None):
        raise InputError("--clean and --corrupted belong together: give both or neither")
    if clean is not None and corrupted is not None:
        return pair_of(typed_games(clean), typed_games(corrupted))
    many = 30 * count + 100
    source = random_games(many, seed=_SEED + seed) if games is None else games_of(games, seed)
    return find_pairs(source, count, seed=seed, plies=plies)


def _rows(
    what: str, exact: Patched, plain: Patched, smooth: Patched, between: int
) -> list[dict[str, object]]:
    values = [x.restored().tolist() for x in (exact, plain, smooth)]
    titles = ("patched", "attribution", f"attribution, {between} points")
    return [
        {what: str(place), **dict(zip(titles, row, strict=True))}
        for place, *row in zip(exact.places, *values, strict=True)
    ]


def _correlations(found: dict[str, Three], between: int) -> list[dict[str, object]]:
    return [
        {
            "places": what,
            "r": _known(correlation(exact, plain)),
            f"r, {between} points": _known(correlation(exact, smooth)),
        }
        for what, (exact, plain, smooth) in found.items()
    ]


def _known(value: float) -> float | None:
    return None if value != value else value
