"""Attribution graphs: every edge against an intervention by hand, and what is known of all."""

from typing import Any

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.circuits.faithfulness import Faithfulness, faithfulness, pooled
from othellolens.circuits.graph import Node, trace
from othellolens.circuits.mlp_neurons import of_neurons
from othellolens.circuits.paths import Paths
from othellolens.circuits.replacement import Kept, Replacement, observed, run_with_kept, usual
from othellolens.encoder import RandomDirections
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import PAD, token_of, tokens
from othellolens.lens import Lens
from othellolens.othello.boards import unpack
from othellolens.othello.games import Games, random_games
from othellolens.sae.gated import Gated
from othellolens.sae.topk import TopK

PLIES = 9
KINDS = ("transcoders", "skips", "from resid_mid", "LN", "saes")


def made(kind: str, *, exact: bool = False) -> Replacement:
    """Two layers of fresh encoders, in double precision."""
    model = tiny_model("LN" if kind == "LN" else "LNPre")
    lenses = []
    for layer in range(2):
        if kind == "saes":
            encoder = TopK(40, k=6).build(32, seed=layer)
            site = Site("resid_post", layer)
        else:
            recipe = Gated(40) if kind == "LN" else TopK(40, k=6)
            encoder = recipe.build(32, d_out=32, skip=kind == "skips", seed=layer)
            site = Site("resid_mid" if kind == "from resid_mid" else "ln2", layer)
            encoder.metadata["hook_name_out"] = f"blocks.{layer}.hook_mlp_out"
        with torch.no_grad():
            drawn = torch.Generator().manual_seed(layer)
            for weight in encoder.parameters():
                weight.add_(0.2 * torch.randn(weight.shape, generator=drawn))
        lenses.append(Lens(model.double(), site, encoder.double().eval()))
    return Replacement.of(lenses[::-1])


def history(plies: int = PLIES, seed: int = 2) -> Games:
    moves = random_games(1, seed=seed).moves.clone()
    moves[:, plies:] = -1
    return Games(moves, "one")


def legal(games: Games) -> int:
    return int(unpack(games.replay()[-1:].legal())[0].nonzero()[0])


def sources(paths: Paths) -> list[tuple[str, int, int, int]]:
    """(kind, layer, ply, feature) in the order of the columns of a row."""
    found = [
        ("feature", layer, int(p), int(f))
        for layer, (ply, feature) in enumerate(paths.active)
        for p, f in zip(ply, feature, strict=True)
    ]
    found += [("error", layer, p, -1) for layer in range(2) for p in range(paths.plies)]
    return found + [("move", -1, p, -1) for p in range(paths.plies)]


class Held:
    """The model with attention patterns, layer norms' scales and all features and errors held."""

    def __init__(self, replacement: Replacement, ids: torch.Tensor) -> None:
        self.replacement, self.model, self.ids = replacement, replacement.model, ids
        with torch.no_grad():
            _, self.cache = self.model.run_with_cache(ids)

    def run(self, changes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Activations when vectors are added at the embeddings or behind an MLP."""
        seen: dict[str, torch.Tensor] = {}

        def hold(x: torch.Tensor, hook: Any) -> torch.Tensor:
            return self.cache[hook.name]

        def put(x: torch.Tensor, hook: Any) -> torch.Tensor:
            out = self.cache[hook.name] + changes.get(hook.name, 0)
            layer = int(hook.name.split(".")[1])
            lens = self.replacement.lenses[layer]
            if lens.encoder.W_skip is not None:
                moved = seen[lens.site.hook_name] - self.cache[lens.site.hook_name]
                out = out + moved @ lens.encoder.W_skip.mT
            return out

        def add(x: torch.Tensor, hook: Any) -> torch.Tensor:
            return x + changes.get(hook.name, 0)

        def note(x: torch.Tensor, hook: Any) -> None:
            seen[hook.name] = x

        hooks = [
            (lambda n: n.endswith(("hook_scale", "hook_pattern")), hold),
            (lambda n: n.endswith("hook_mlp_out"), put),
            ("hook_embed", add),
            (lambda n: True, note),
        ]
        with torch.no_grad():
            seen["logits"] = self.model.run_with_hooks(self.ids, hooks)
        return seen


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "saes"])
def test_an_edge_is_what_its_target_loses_without_its_source(kind: str) -> None:
    replacement, games = made(kind), history()
    ids = tokens(games)[:, :PLIES]
    paths, held = Paths(replacement, ids), Held(replacement, ids)
    token = token_of(legal(games))
    layer, target = 1, 3
    site, encoder = replacement.lenses[layer].site.hook_name, replacement.encoder(layer)
    ply, feature = (x[:target] for x in paths.active[layer])
    rows = torch.cat([paths.from_logit(token), paths.from_features(layer, ply, feature)])
    slope = torch.autograd.functional.jacobian(encoder.encode, held.cache[site][0])

    def values(seen: dict[str, torch.Tensor]) -> torch.Tensor:
        last = seen["logits"][0, -1]
        moved = seen[site][0] - held.cache[site][0]
        on = [(slope[p, f, p] * moved[p]).sum() for p, f in zip(ply, feature, strict=True)]
        return torch.stack([last[token] - last[PAD + 1 :].mean(), *on])

    clean = values(held.run({}))
    checked = 0
    for column, (what, where, at, number) in enumerate(sources(paths)):
        if what == "feature" and column % 3:
            continue  # a third of them will do
        change = torch.zeros(1, PLIES, 32, dtype=torch.float64)
        if what == "feature":
            value = paths.features[where][at, number]
            change[0, at] = -value * replacement.directions(where)[number]
            name = f"blocks.{where}.hook_mlp_out"
        elif what == "error":
            change[0, at] = -paths.errors[where][at]
            name = f"blocks.{where}.hook_mlp_out"
        else:
            whole = held.cache["hook_embed"] + held.cache["hook_pos_embed"]
            change[0, at] = -whole[0, at]
            name = "hook_embed"
        lost = clean - values(held.run({name: change}))
        torch.testing.assert_close(rows[:, column].double(), lost, atol=1e-5, rtol=1e-4)
        checked += int(lost.abs().max() > 1e-6)
    assert checked > 20


def test_with_saes_an_edge_is_a_slope_through_the_block() -> None:
    replacement, games = made("saes"), history()
    ids = tokens(games)[:, :PLIES]
    paths = Paths(replacement, ids)
    ply, feature = (x[:4] for x in paths.active[1])
    rows = paths.from_features(1, ply, feature)
    encoder, block = replacement.encoder(1), replacement.model.blocks[1]
    x = paths.cache["resid_pre", 1]
    tiny = 1e-6
    for column, (what, where, at, number) in enumerate(sources(paths)):
        if where != 0:
            assert not rows[:, column].any()  # edges go from one layer to the next
            continue
        value = paths.features[0][at, number] if what == "feature" else 1.0
        vector = replacement.directions(0)[number] if what == "feature" else paths.errors[0][at]
        moved = x.clone()
        moved[0, at] += tiny * value * vector
        with torch.no_grad():
            rise = encoder.encode(block(moved)[0]) - encoder.encode(block(x)[0])
        slope = rise[ply, feature] / tiny
        torch.testing.assert_close(rows[:, column].double(), slope, atol=1e-4, rtol=1e-3)
    # The first layer's features hang on the moves alone.
    first = paths.from_features(0, *(x[:2] for x in paths.active[0]))
    assert not first[:, : -paths.plies].any() and first[:, -paths.plies :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_influence_is_what_passes_by_a_node(kind: str) -> None:
    """Against a walk over all edges, one target after the other."""
    found = trace(made(kind), history(), legal(history()), widest=1000)
    assert all(node.kind != "logit" for node in found.nodes[:-1])
    influence = {len(found.nodes) - 1: 1.0}
    order = sorted(range(len(found.nodes)), key=lambda i: -found.nodes[i].layer)
    for target in order:
        into = (found.target == target).nonzero()[:, 0].tolist()
        whole = sum(abs(float(found.weight[e])) for e in into)
        if into:
            assert whole == pytest.approx(float(found.incoming[target]), rel=1e-4)
        for e in into:
            source = int(found.source[e])
            share = abs(float(found.weight[e])) / whole
            influence[source] = influence.get(source, 0) + influence.get(target, 0) * share
    for number, node in enumerate(found.nodes):
        assert influence[number] == pytest.approx(node.influence, rel=1e-3, abs=1e-6)
    began = sum(node.influence for node in found.nodes if node.kind in ("move", "error"))
    assert began == pytest.approx(1.0, rel=1e-3)  # all that reaches the logit began somewhere


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_neurons_leave_nothing_unexplained(normalization: str) -> None:
    replacement = of_neurons(tiny_model(normalization))  # pyright: ignore
    _, cache = replacement.model.run_with_cache(tokens(history())[:, :PLIES])
    for layer, (features, error) in enumerate(observed(replacement, tokens(history())[:, :PLIES])):
        above, below = features.chunk(2, -1)
        torch.testing.assert_close(above - below, cache["post", layer], atol=1e-5, rtol=1e-5)
        assert float(error.abs().max()) < 1e-4
    found = trace(replacement, history(), legal(history()), widest=1000)
    assert found.completeness == pytest.approx(1.0, abs=1e-4)
    assert found.replacement == pytest.approx(1.0, abs=1e-4)
    how = faithfulness(replacement, found)
    assert how.share("features") == pytest.approx(1.0, abs=1e-3)
    assert how.share("without") == pytest.approx(0.0, abs=1e-3)
    assert not list(replacement.lenses[0].encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_keeping_everything_is_the_model_and_nothing_is_the_means(kind: str) -> None:
    replacement, games = made(kind), history()
    means = usual(replacement, random_games(20, seed=9))
    ids = tokens(games)[:, :PLIES]
    seen = observed(replacement, ids)
    errors = [error[0] for _, error in seen]
    everything = Kept(
        tuple(torch.ones(PLIES, 40, dtype=torch.bool) for _ in range(2)),
        tuple(torch.ones(PLIES, dtype=torch.bool) for _ in range(2)),
    )
    with torch.no_grad():
        clean = replacement.model(ids)[0]
    whole = run_with_kept(replacement, ids, everything, means, errors)
    torch.testing.assert_close(whole, clean)
    empty = Kept(
        *(
            tuple(torch.zeros_like(x) for x in part)
            for part in (everything.features, everything.errors)
        )
    )
    nothing = run_with_kept(replacement, ids, empty, means, errors)

    def put(y: torch.Tensor, hook: Any) -> torch.Tensor:
        layer = int(hook.name.split(".")[1])
        features = means.features[layer][:PLIES].double()
        out = features @ replacement.directions(layer)
        return (out + replacement.encoder(layer).decode(torch.zeros_like(features[:1])) + means.errors[layer][:PLIES])[None]  # fmt: skip # noqa: E501

    if kind != "skips":
        hooks = [(lens.target.hook_name, put) for lens in replacement.lenses]
        with torch.no_grad():
            by_hand = replacement.model.run_with_hooks(ids, hooks)[0]
        torch.testing.assert_close(nothing, by_hand, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_graph_is_faithful_and_an_empty_one_is_nothing(kind: str) -> None:
    replacement, games = made(kind), history()
    whole = trace(replacement, games, legal(games), widest=1000)
    how = faithfulness(replacement, whole)
    assert how.circuit == pytest.approx(how.model) and how.share() == pytest.approx(1.0)
    assert how.without == pytest.approx(how.nothing) and how.random == pytest.approx(how.model)
    empty = whole.pruned(0.0)
    assert len(empty.nodes) == 1
    how = faithfulness(replacement, empty)
    assert how.circuit == how.features == how.random == how.nothing != how.model
    assert how.without == pytest.approx(how.model)
    part = faithfulness(
        replacement, whole.pruned(0.95), usual(replacement, random_games(20, seed=9))
    )
    assert part.circuit not in (part.model, part.nothing)


def test_shares_over_several_predictions_are_of_what_is_lost_together() -> None:
    one = Faithfulness(5.0, 1.0, 3.0, 2.0, 1.0, 1.0)
    two = Faithfulness(2.0, 1.9, 5.0, 2.0, 1.0, 1.0)  # hardly anything is lost: a share of 31
    assert pooled([one, two]) == pytest.approx((2.0 + 3.1) / 4.1)
    assert pooled([one], "features") == one.share("features") == 0.25


def test_a_random_circuit_has_as_many_features_of_each_layer() -> None:
    replacement, games = made("transcoders"), history()
    part = trace(replacement, games, legal(games)).pruned(0.9)
    one, again, other = (faithfulness(replacement, part, seed=s).random for s in (1, 1, 2))
    assert one == again != other


def test_means_are_over_the_games_that_reach_a_ply(model: GPT) -> None:
    replacement = made("transcoders")
    games = random_games(3000, seed=5)
    short = games.lengths() < 59
    games = Games(torch.cat([games.moves[short][:2], games.moves[:4]]), "short and long")
    means = usual(replacement, games, batch=2)
    ids = tokens(games)[:, :59]
    seen = observed(replacement, ids)
    for layer in range(2):
        for ply in (0, 30, 57, 58):
            there = ids[:, ply] != PAD
            expected = seen[layer][0][there, ply].mean(0).float()
            torch.testing.assert_close(means.features[layer][ply], expected, atol=1e-5, rtol=1e-4)
            wrong = seen[layer][1][there, ply].mean(0).float()
            torch.testing.assert_close(means.errors[layer][ply], wrong, atol=1e-5, rtol=1e-4)


def test_pruning_keeps_what_counts_most() -> None:
    whole = trace(made("transcoders"), history(), legal(history()))
    assert whole.pruned(1.0, 1.0).nodes == whole.nodes
    part = whole.pruned(0.5, 0.9)
    assert 1 < len(part.nodes) < len(whole.nodes) and len(part.source) < len(whole.source)
    least = min(node.influence for node in part.nodes)
    left = [node for node in whole.nodes if node not in part.nodes]
    assert max(node.influence for node in left) <= least
    total = sum(node.influence for node in whole.nodes[:-1])
    assert sum(node.influence for node in part.nodes[:-1]) >= 0.5 * total
    assert part.nodes[-1].kind == "logit"
    # An edge that is left joins the same nodes with the same weight.
    known = {
        (whole.nodes[s], whole.nodes[t]): w
        for s, t, w in zip(whole.source, whole.target, whole.weight.tolist(), strict=True)
    }
    for s, t, w in zip(part.source, part.target, part.weight.tolist(), strict=True):
        assert known[part.nodes[s], part.nodes[t]] == w


def test_nodes_say_what_they_are() -> None:
    found = trace(made("transcoders"), history(), legal(history()), widest=3)
    assert sum(node.kind == "feature" for node in found.nodes) <= 6
    assert str(found.nodes[-1]).startswith("logit of ")
    assert str(found.moves()[0]).startswith("move ")
    assert str(Node("feature", 1, 4, 17, 0.5, 0.1)) == "L1 feature 17 at ply 4"
    assert str(Node("error", 0, 4, -1, 0.0, 0.1)) == "L0 error at ply 4"
    played = history().moves[0].tolist()
    for node in found.moves():
        assert played[node.ply] == node.index


def test_bad_input(model: GPT) -> None:
    replacement = made("transcoders")
    with pytest.raises(InputError, match="2 histories: a graph is of one position"):
        trace(replacement, random_games(2, seed=0), 0)
    with pytest.raises(InputError, match="a history of 0 moves"):
        trace(replacement, history(0), 0)
    with pytest.raises(InputError, match="d4 is of the centre"):
        trace(replacement, history(), 27)
    with pytest.raises(InputError, match="trace at least one"):
        trace(replacement, history(), 0, widest=0)
    with pytest.raises(InputError, match="from 0 to 1, not 1.5"):
        trace(replacement, history(), 0).pruned(1.5)
    with pytest.raises(InputError, match="there is none"):
        Replacement(())
    with pytest.raises(InputError, match="one encoder for each layer, 0 to 1"):
        Replacement(replacement.lenses[:1])
    saes, others = made("saes"), made("transcoders")
    mixed = [saes.lenses[0], Lens(saes.model, others.lenses[1].site, others.lenses[1].encoder)]
    with pytest.raises(InputError, match="is none of saes"):
        Replacement.of(mixed)
    with pytest.raises(InputError, match="must be of one model"):
        Replacement.of([saes.lenses[0], made("saes").lenses[1]])
    deaf = RandomDirections(torch.randn(50, 32), features=4, seed=0)
    lenses = [Lens(model, Site("resid_post", layer), deaf) for layer in range(2)]
    with pytest.raises(InputError, match="has no decode"):
        Replacement.of(lenses)
