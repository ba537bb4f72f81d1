"""Neurons: weights as boards, top boards, spectra and rules, against loops and planted truth."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import pytest
import torch
from reference.othello_by_lists import replay
from reference.tiny import tiny_model

from othellolens.circuits.neurons import (
    input_weights,
    neuron_boards,
    neurons_of,
    output_weights,
    span_share,
    top_boards,
    unembedding,
)
from othellolens.circuits.rules import Condition, Search, screened, search_rules, spectrum
from othellolens.concepts import Concept, ConceptSet, everything, family, standard
from othellolens.encoder import Neurons
from othellolens.errors import InputError
from othellolens.evaluation.edits import Reading
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import SQUARE_OF_TOKEN, tokens
from othellolens.lens import Lens, Read
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import CENTRE


def reading(kind: str, layer: int, width: int = 32, states: int = 3) -> Reading:
    drawn = torch.Generator().manual_seed(layer + len(kind))
    weight = torch.randn(states, 64, width, generator=drawn)
    return Reading(Site(kind, layer), weight, torch.zeros(states, 64))


def readings(layer: int) -> tuple[Reading, Reading]:
    return reading("resid_mid", layer), reading("resid_post", layer)


def cosine(one: list[float], other: list[float]) -> float:
    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    return dot(one, other) / (dot(one, one) * dot(other, other)) ** 0.5


@dataclass(frozen=True)
class Planted:
    """Neurons that are on where a condition holds, more or less strongly, and the last where none
    does."""

    conditions: tuple[Condition, ...]

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        drawn = torch.Generator().manual_seed(3)
        for first in range(0, len(games), batch):
            boards = games[first : first + batch].replay()
            boards.at[:, 0] += first
            on = torch.stack([one.holds(boards) for one in self.conditions], 1)
            x = torch.where(on, 1 + torch.rand(on.shape, generator=drawn), -0.1)
            x = torch.cat([x, torch.full((len(x), 1), -0.1)], 1)
            yield Read(boards, x, x)


def truth(games: Games) -> list[tuple[int, int, set[int], set[int]]]:
    """Game, ply, mine, theirs of every row, by the slow rules."""
    rows = []
    for game, moves in enumerate(games.moves.tolist()):
        for ply, after in enumerate(replay([m for m in moves if m >= 0])[:59]):
            rows.append((game, ply, set(after.mine), set(after.theirs)))
    return rows


def activations(model: GPT, games: Games, layer: int) -> torch.Tensor:
    """[row, neuron], rows in the order of `truth`."""
    _, cache = model.run_with_cache(tokens(games)[:, :59])
    post = cache["mlp_post", layer]
    return torch.stack([post[game, ply] for game, ply, _, _ in truth(games)]).detach()


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_boards_are_cosines_and_logits_by_loops(normalization: str) -> None:
    model = tiny_model(normalization)  # pyright: ignore
    before, behind = readings(1)
    found = neuron_boards(model, 1, before, behind)
    block, last = model.blocks[1], model.ln_final
    W_in = block.mlp.W_in.tolist()
    gain = block.ln2.w.tolist() if normalization == "LN" else [1.0] * 32
    final = last.w.tolist() if normalization == "LN" else [1.0] * 32
    moves = [[final[d] * w for d, w in enumerate(c)] for c in model.unembed.W_U.T[1:].tolist()]
    for n in (0, 17, 63):
        w = [gain[d] * W_in[d][n] for d in range(32)]
        w = [x - sum(w) / 32 for x in w]
        out = block.mlp.W_out[n].tolist()
        for one, seen, colour, empty in (
            (before, w, found.in_colour, found.in_empty),
            (behind, out, found.out_colour, found.out_empty),
        ):
            for s in range(64):
                mine, theirs, none = one.weight[:, s].tolist()
                across = [a - b for a, b in zip(mine, theirs, strict=True)]
                gone = [c - (a + b) / 2 for a, b, c in zip(mine, theirs, none, strict=True)]
                assert float(colour[n, s]) == pytest.approx(cosine(seen, across), abs=1e-5)
                if s in CENTRE:
                    assert bool(empty[n, s].isnan())
                else:
                    assert float(empty[n, s]) == pytest.approx(cosine(seen, gone), abs=1e-5)
        centred = [x - sum(out) / 32 for x in out]
        adds = [sum(a * b for a, b in zip(centred, move, strict=True)) for move in moves]
        for square, value in zip(SQUARE_OF_TOKEN[1:].tolist(), adds, strict=True):
            expected = value - sum(adds) / 60
            assert float(found.logits[n, square]) == pytest.approx(expected, abs=1e-4)
        assert [s for s in range(64) if found.logits[n, s].isnan()] == list(CENTRE)


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_input_weights_are_what_moves_the_neuron(games: Games, normalization: str) -> None:
    model = tiny_model(normalization)  # pyright: ignore
    _, cache = model.run_with_cache(tokens(games[:2])[:, :59])
    x, pre = cache["resid_mid", 0].flatten(0, 1), cache["mlp_pre", 0].flatten(0, 1)
    scale = (x.var(1, correction=0, keepdim=True) + model.cfg.eps).sqrt()
    left = pre - (x / scale) @ input_weights(model, 0).T
    torch.testing.assert_close(left, left[:1].expand_as(left), atol=1e-4, rtol=1e-4)


def test_the_share_in_a_span_is_one_inside_and_zero_across() -> None:
    axes = torch.eye(6)
    span = torch.stack([axes[0], axes[0] + 2 * axes[1], axes[1] * 5])
    vectors = torch.stack([axes[0] - axes[1], axes[3], 3 * axes[0] + 4 * axes[2], 0 * axes[0]])
    found = span_share(vectors, span)
    torch.testing.assert_close(found.values, torch.tensor([1.0, 0.0, 9 / 25, 0.0]))
    assert (found.rank, found.chance) == (2, 2 / 6)
    drawn = torch.Generator().manual_seed(0)
    many = span_share(torch.randn(4000, 32, generator=drawn), torch.randn(8, 32, generator=drawn))
    assert float(many.values.mean()) == pytest.approx(many.chance, abs=0.01)


def test_shares_of_a_layer_are_in_the_span_of_what_is_read(model: GPT) -> None:
    before, behind = readings(0)
    some = replace(before, weight=before.weight.clone())
    some.weight[:, 2:] = 0
    found = neuron_boards(model, 0, some, behind)
    assert found.in_share.rank == 4
    span = torch.cat([some.weight[0] - some.weight[1], some.weight[2] - some.weight[:2].mean(0)])
    inside = torch.linalg.lstsq(span[[0, 1, 64, 65]].T, found.w_in.T).solution
    left = found.w_in - inside.T @ span[[0, 1, 64, 65]]
    expected = 1 - left.pow(2).sum(1) / found.w_in.pow(2).sum(1)
    torch.testing.assert_close(found.in_share.values, expected, atol=1e-4, rtol=1e-4)
    # 124 directions fill a stream of 32, the unembedding all of it but its mean.
    assert (found.out_share.rank, found.out_share.chance) == (32, 1.0)
    assert found.logit_share.rank == 31 and unembedding(model).shape == (60, 32)


def test_top_boards_are_those_of_a_full_sort(model: GPT) -> None:
    once = random_games(45, seed=5)
    twice = Games(torch.cat([once.moves, once.moves]), "twice")
    rows, x = truth(twice), activations(model, twice, 1)
    found = top_boards(neurons_of(model, 1), (3, 40), twice, 7)
    for n, top in zip((3, 40), found, strict=True):
        best: dict[int, int] = {}
        for row, (game, *_) in enumerate(rows):
            if game not in best or float(x[row, n]) > float(x[best[game], n]):
                best[game] = row
        expected, seen = [], []
        for row in sorted(best.values(), key=lambda r: -round(float(x[r, n]), 4)):
            if rows[row][2:] not in seen:
                seen.append(rows[row][2:])
                expected.append(row)
        expected = expected[:7]
        values = torch.stack([x[row, n] for row in expected])
        torch.testing.assert_close(top.values, values, atol=1e-4, rtol=1e-4)
        boards = list(zip(top.boards.mine.tolist(), top.boards.theirs.tolist(), strict=True))
        assert len(set(boards)) == 7 and len(set(top.boards.at[:, 0].tolist())) == 7
        for i, row in enumerate(expected):
            assert tuple(top.boards.at[i].tolist()) == rows[row][:2]
            mine = {s for s in range(64) if (int(top.boards.mine[i]) >> s) & 1}
            assert mine == rows[row][2]


def test_a_neuron_that_is_seldom_on_has_few_top_boards() -> None:
    rare, games = Condition.parse("a1 played & phase plies 30-39"), random_games(40, seed=1)
    (one, never) = top_boards(Planted((rare,)), (0, 1), games, 50)
    boards = games.replay()
    expected = sorted(set(boards.at[rare.holds(boards), 0].tolist()))
    assert sorted(one.boards.at[:, 0].tolist()) == expected and 0 < len(expected) < 40
    assert len(never.values) == len(never.boards) == 0


def test_conditions_are_read_as_they_are_written() -> None:
    concepts = everything().concepts
    for i in range(0, len(concepts) - 2, 3):
        signs = ((concepts[i], True), (concepts[i + 1], i % 2 == 0), (concepts[i + 2], False))
        assert Condition.parse(str(Condition(signs))) == Condition(signs)
    loose = Condition.parse("  c3   mine&! d3 empty ")
    assert str(loose) == "c3 mine & !d3 empty"
    assert loose.literals == ((Concept("mine", 18), True), (Concept("empty", 26), False))


def test_a_condition_holds_where_all_its_facts_do(games: Games) -> None:
    boards = games[:3].replay()
    found = Condition.parse("c3 theirs & !d3 empty & !e6 mine").holds(boards)
    rows = [after for moves in games.moves[:3].tolist() for after in replay(moves)]
    expected = [18 in a.theirs and 26 in a.mine | a.theirs and 37 not in a.mine for a in rows]
    assert found.tolist() == expected and 0 < sum(expected) < len(expected)


def test_a_spectrum_is_counted_by_loops(model: GPT, games: Games) -> None:
    condition = Condition.parse("c4 mine & !d3 empty")
    few = games[:6]
    rows, x = truth(few), activations(model, few, 0)
    holds = [19 in mine and 26 in mine | theirs for _, _, mine, theirs in rows]
    spectra = spectrum(neurons_of(model, 0), (2, 9), few, condition, bins=7)
    for n, found in zip((2, 9), spectra, strict=True):
        column = x[:, n].tolist()
        ins = [v for v, there in zip(column, holds, strict=True) if there]
        outs = [v for v, there in zip(column, holds, strict=True) if not there]
        above = sum((a > b) + (a == b) / 2 for a in ins for b in outs)
        assert found.auroc == pytest.approx(above / len(ins) / len(outs), abs=1e-3)
        assert found.mean_holds == pytest.approx(sum(ins) / len(ins), abs=1e-4)
        assert found.mean_others == pytest.approx(sum(outs) / len(outs), abs=1e-4)
        pair = torch.tensor([column, [float(there) for there in holds]])
        assert found.explained == pytest.approx(float(torch.corrcoef(pair)[0, 1] ** 2), abs=1e-4)
        assert float(found.edges[0]) == pytest.approx(min(column), abs=1e-4)
        assert float(found.edges[-1]) == pytest.approx(max(column), abs=1e-4)
        low, width = min(column), (max(column) - min(column)) / 7
        for counts, values in ((found.holds, ins), (found.others, outs)):
            bins = [min(6, int((v - low) / width)) for v in values]
            assert counts.tolist() == [bins.count(b) for b in range(7)]


def test_a_planted_rule_is_found_and_shuffled_truth_finds_none() -> None:
    texts = ("c3 mine", "!c5 empty & !f4 theirs", "c4 empty & d6 mine & !e3 empty", "d3 legal")
    source = Planted(tuple(Condition.parse(text) for text in texts))
    games = random_games(64, seed=2)
    found = search_rules(source, games)
    for number, text in enumerate(texts):
        rule = found[number]
        assert set(rule.condition.literals) == set(Condition.parse(text).literals)  # pyright: ignore
        assert (rule.neuron, rule.f1, rule.auroc, rule.chosen) == (number, 1, 1, 1)
        assert rule.always < 1
    assert found[4].condition is None and found[4].f1 == found[4].on == 0
    control = search_rules(source, games, shuffled=True)
    for rule, floor in zip(found[:4], control[:4], strict=True):
        assert floor.f1 < 0.9 and floor.chosen < 0.95 and floor.condition != rule.condition


def test_a_search_that_leaves_nothing_out_finds_the_best_rule(model: GPT, games: Games) -> None:
    facts = ConceptSet(tuple(Concept(kind, s) for s in (18, 37) for kind in ("mine", "theirs")))
    grid, gain = (0.0, 0.3, 0.6), 0.01
    how = Search(depth=2, width=99, thresholds=grid, gain=gain, least=5)
    found = search_rules(neurons_of(model, 0), games, facts, neurons=(1, 30), how=how)
    rows, x = truth(games), activations(model, games, 0)
    sets = [
        {r for r, row in enumerate(rows) if c.square in row[2 if c.family == "mine" else 3]}
        for c in facts.concepts
    ]
    literals = [(i, True) for i in range(4)] + [(i, False) for i in range(4)]
    every = set(range(len(rows)))
    halves = [{r for r in every if rows[r][0] % 2 == half} for half in (0, 1)]

    def f1(rule: tuple[tuple[int, bool], ...], on: set[int], half: int) -> float:
        held = halves[half].copy()
        for i, wanted in rule:
            held &= sets[i] if wanted else every - sets[i]
        return 2 * len(held & on & halves[half]) / (len(held) + len(on & halves[half]))

    for n, rule in zip((1, 30), found, strict=True):
        peak = max(float(x[r, n]) for r in halves[0])
        best = (0.0, 0.0, 0.0)
        for t in grid:
            on = {r for r in every if float(x[r, n]) > t * peak}
            if len(on & halves[0]) < 5:
                continue
            for size in (1, 2):
                for some in combinations(literals, size):
                    if size == 2 and some[0][0] == some[1][0]:
                        continue
                    value = f1(some, on, 0)
                    if value - gain * size > best[0]:
                        best = (value - gain * size, value, f1(some, on, 1))
        assert rule.chosen == pytest.approx(best[1], abs=1e-5)
        assert rule.f1 == pytest.approx(best[2], abs=1e-5)


def test_screening_orders_neurons_as_a_search_of_single_facts(model: GPT, games: Games) -> None:
    reads, how = neurons_of(model, 1), Search(depth=1)
    found = search_rules(reads, games, family("mine") + family("empty"), how=how)
    first = screened(reads, games, family("mine") + family("empty"), most=12, how=how)
    by_value = sorted(found, key=lambda rule: -rule.chosen)[:12]
    assert [found[n].chosen for n in first] == pytest.approx([r.chosen for r in by_value])


def test_any_lens_has_rules_and_fast_paths_leave_the_model_alone(games: Games) -> None:
    model = tiny_model("LN")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    neuron_boards(model, 1, *readings(1))
    top_boards(neurons_of(model, 1), (0,), games, 2)
    spectrum(neurons_of(model, 1), (0,), games, Condition.parse("c3 mine"))
    search_rules(neurons_of(model, 1), games, neurons=(0,))
    output_weights(model, 1).zero_()
    input_weights(model, 1).zero_()
    unembedding(model).zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    lens = Lens(model, Site("resid_post", 0), Neurons())
    assert [r.neuron for r in search_rules(lens, games, neurons=(60, 3))] == [60, 3]


def test_bad_input(model: GPT, games: Games) -> None:
    with pytest.raises(InputError, match="this model has 2 layers"):
        neurons_of(model, 2)
    before, behind = readings(1)
    with pytest.raises(InputError, match="this model has 2 layers"):
        neuron_boards(model, 2, before, behind)
    with pytest.raises(InputError, match=r"reading is of resid_mid.1: take one of resid_post.1"):
        neuron_boards(model, 1, before, before)
    with pytest.raises(InputError, match="1 states and reads vectors of 32"):
        neuron_boards(model, 1, reading("resid_mid", 1, states=1), behind)
    with pytest.raises(InputError, match="reads vectors of 48: take one"):
        neuron_boards(model, 1, before, reading("resid_post", 1, width=48))
    with pytest.raises(InputError, match="not finite"):
        span_share(torch.ones(1, 3), torch.full((2, 3), torch.nan))
    reads, early = neurons_of(model, 1), Games(games.moves[:10, :20].contiguous(), "early")
    with pytest.raises(InputError, match="no neuron 64: this layer has 64, 0 to 63"):
        top_boards(reads, (64,), games)
    with pytest.raises(InputError, match="no neuron -1"):
        search_rules(reads, games, neurons=(-1,))
    with pytest.raises(InputError, match="0 boards: ask for 1 or more"):
        top_boards(reads, (0,), games, 0)
    with pytest.raises(InputError, match="no games to look at"):
        top_boards(reads, (0,), games[:0])
    with pytest.raises(InputError, match="'d4 mine & d4 theirs' never holds at the 1,"):
        spectrum(reads, (0,), games, Condition.parse("d4 mine & d4 theirs"))
    with pytest.raises(InputError, match="'!phase plies 50-59' always holds at the 200 positions"):
        spectrum(reads, (0,), early, Condition.parse("!phase plies 50-59"))
    with pytest.raises(InputError, match="no games to look at"):
        spectrum(reads, (0,), games[:0], Condition.parse("c3 mine"))
    with pytest.raises(InputError, match="3 games: half choose"):
        search_rules(reads, games[:3])
    with pytest.raises(InputError, match="no measure 'f2'"):
        search_rules(reads, games, standard(), how=Search(by="f2"))
    for wrong in ({"depth": 0}, {"width": 0}, {"thresholds": (0.5, 0.1)}, {"thresholds": ()}):
        with pytest.raises(InputError, match="depth and width are 1 or more"):
            Search(**wrong)  # pyright: ignore


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c3 mien", "no fact 'c3 mien' in .*: did you mean 'c3 mine'"),
        ("c3 mine & ", "no fact ''"),
        ("d4 empty", "no fact 'd4 empty'"),
        ("c3! mine", "no fact"),
        ("!!c3 mine", "no fact '!c3 mine'"),
        ("c3 mine & !c3 mine", "each named once: not 'c3 mine & !c3 mine'"),
    ],
)
def test_a_condition_that_cannot_be_read_says_why(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Condition.parse(text)
