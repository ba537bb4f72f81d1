"""MLP probes, probes of facts, labels of all conventions, and many probes fitted at once."""

from pathlib import Path

import pytest
import torch

from othellolens.activations.rows import Rows, read_rows
from othellolens.artifact import read_json, write_json
from othellolens.concepts import family
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import NO_MOVE
from othellolens.probes.accuracy import probe_accuracies, probe_accuracy
from othellolens.probes.board import by_parity, classes
from othellolens.probes.facts import FactProbe
from othellolens.probes.files import load_probe
from othellolens.probes.fit import ProbePlan, ProbeTarget, fit_probe, fit_probes
from othellolens.probes.labels import BoardLabels, FactLabels
from othellolens.probes.least_squares import LeastSquares, begin
from othellolens.probes.linear import LinearProbe
from othellolens.probes.mlp import MLPProbe
from othellolens.probes.probe import UNKNOWN

SITE = Site("resid_post", 1)
PLAN = ProbePlan(rows=8000, batch=500)


@pytest.fixture(scope="module")
def player() -> GPT:
    return GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=3).eval()


def test_probes_fitted_together_equal_those_fitted_alone(player: GPT) -> None:
    games = random_games(20, seed=1)
    targets = [
        ProbeTarget(SITE),
        ProbeTarget(Site("z", 1, head=2)),
        ProbeTarget(SITE, kind="mlp"),
        ProbeTarget(SITE, families=("flipped", "legal")),
    ]
    together = fit_probes(player, targets, games, plan=PLAN)
    assert [type(probe) for probe in together] == [LinearProbe, LinearProbe, MLPProbe, FactProbe]
    assert [probe.d_in for probe in together] == [32, 8, 32, 32]
    for target, probe in zip(targets, together, strict=True):
        (alone,) = fit_probes(player, [target], games, plan=PLAN)
        assert all(map(torch.equal, probe.parameters(), alone.parameters())), target
        assert probe.metadata["site"] == str(target.site)


def test_every_kind_learns(player: GPT) -> None:
    """The loss falls, for boards and for facts, by lines and by a hidden layer."""
    games = random_games(40, seed=1)
    for target in (
        ProbeTarget(SITE),
        ProbeTarget(SITE, kind="mlp"),
        ProbeTarget(SITE, families=("played",)),
    ):
        losses: list[float] = []
        plan = ProbePlan(rows=60_000, batch=500)
        fit_probes(player, [target], games, plan=plan, watch=lambda s, to=losses: to.append(s.loss))
        assert losses[-1] < 0.9 * losses[0], target


def test_least_squares_equal_numpy() -> None:
    """However the rows come, W and b are those of an ordinary fit; and a probe begins there."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=generator) + 2
    y = torch.randn(400, 192, generator=generator)
    squares = LeastSquares()
    for part in (slice(0, 7), slice(7, 300), slice(300, 400)):
        squares.add(x[part], y[part])
    weight, bias = squares.solve()
    plain = torch.linalg.lstsq(torch.cat([x, torch.ones(400, 1)], 1).double(), y.double()).solution
    torch.testing.assert_close(weight, plain[:5].float(), rtol=0, atol=0.01)
    torch.testing.assert_close(bias, plain[5].float(), rtol=0, atol=0.03)
    probe = LinearProbe(5)
    begin(probe, squares, x, torch.zeros(400, 64, dtype=torch.int64))
    line = x @ weight + bias - 1 / 3
    gains = probe.logits(x).detach().flatten(1) / line
    assert float(gains.median()) in (1, 2, 3, 4, 6, 8, 12)
    torch.testing.assert_close(probe.logits(x).flatten(1), gains.median() * line, atol=1e-3, rtol=0)


def test_a_start_is_a_lead(player: GPT) -> None:
    """After as many rows, a probe that began with least squares has the lower loss."""
    games, ends = random_games(60, seed=1), []
    for start in (0.0, 0.5):
        losses: list[float] = []
        plan = ProbePlan(rows=8000, batch=500, start=start)
        fit_probe(player, SITE, games, plan=plan, watch=lambda s, to=losses: to.append(s.loss))
        ends.append(losses[-1])
    assert ends[1] < ends[0]


def test_an_mlp_reads_what_no_line_can() -> None:
    """The sign of a product of two coordinates: at chance for a linear probe."""
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    truth = (x[:, :1] * x[:, 1:] > 0).long().expand(-1, 64)
    shares = []
    for probe in (LinearProbe(2), MLPProbe(2, hidden=32)):
        optimizer = torch.optim.Adam(probe.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            probe.loss(probe.logits(x), truth).backward()
            optimizer.step()
        shares.append(float((probe.guess(probe.logits(x)) == truth).float().mean()))
    assert shares[0] < 0.6
    assert shares[1] > 0.95


def test_labels_equal_loops() -> None:
    games = random_games(12, seed=2)
    boards = games.replay()
    where = {(g, p): row for row, (g, p) in enumerate(boards.at.tolist())}
    at = boards.at[torch.randperm(len(boards), generator=torch.Generator().manual_seed(0))]
    by_rules, by_parities = classes(boards), classes(by_parity(boards))
    flips = family("flipped").of(boards)
    for back in (0, 1, 3):
        found = BoardLabels(games, back=back).of(at)
        parity = BoardLabels(games, back=back, labels="parity").of(at)
        facts = FactLabels(games, family("flipped"), back=back).of(at)
        for row, (game, ply) in enumerate(at.tolist()):
            if ply < back:
                assert (found[row] == UNKNOWN).all() and (facts[row] == UNKNOWN).all()
                continue
            there = where[game, ply - back]
            assert torch.equal(found[row], by_rules[there])
            assert torch.equal(parity[row], by_parities[there])
            assert torch.equal(facts[row], flips[there].long())


def test_shuffled_labels_are_of_another_game_at_the_same_ply() -> None:
    moves = random_games(6, seed=2).moves.clone()
    moves[2, 20:] = NO_MOVE
    games = Games(moves, "cut")
    boards = games.replay()
    found = BoardLabels(games, labels="shuffled", seed=5).of(boards.at)
    drawn = torch.randperm(6, generator=torch.Generator().manual_seed(5))
    truth = {(g, p): b for (g, p), b in zip(boards.at.tolist(), classes(boards), strict=True)}
    for label, (game, ply) in zip(found, boards.at.tolist(), strict=True):
        other = truth.get((int(drawn[game]), ply))
        assert torch.equal(label, torch.full((64,), UNKNOWN) if other is None else other)
    assert bool((found == UNKNOWN).any())


def test_labels_by_colour_and_of_some_plies() -> None:
    boards = random_games(4, seed=2).replay()
    games = random_games(4, seed=2)
    found = BoardLabels(games, labels="colours", plies="odd").of(boards.at)
    own = classes(boards)
    for row, (label, black) in enumerate(zip(found, boards.black.tolist(), strict=True)):
        if int(boards.at[row, 1]) % 2 == 0:
            assert (label == UNKNOWN).all()
        else:
            swapped = torch.where(own[row] == 2, 2, 1 - own[row])
            assert torch.equal(label, own[row] if black else swapped)


def test_accuracy_by_square_and_ply_equals_loops(player: GPT) -> None:
    games = random_games(5, seed=4)
    probes = [
        (SITE, fit_probe(player, SITE, games, kind=kind, plan=PLAN)) for kind in ("linear", "mlp")
    ]
    for back in (0, 2):
        found = probe_accuracies(probes, player, games, back=back)
        rows = Rows.cat(list(read_rows(player, SITE, games)))
        truth = BoardLabels(games, back=back).of(rows.at)
        for (_, probe), accuracy in zip(probes, found, strict=True):
            right = (probe.guess(probe.logits(rows.x)) == truth)[truth[:, 0] != UNKNOWN]
            ply = rows.at[truth[:, 0] != UNKNOWN, 1]
            assert accuracy.cell == pytest.approx(float(right.float().mean()))
            assert accuracy.board == pytest.approx(float(right.all(1).float().mean()))
            torch.testing.assert_close(accuracy.by_square(), right.float().mean(0))
            cells, boards = accuracy.by_ply()
            assert float(cells[30]) == pytest.approx(float(right[ply == 30].float().mean()))
            assert float(boards[4]) == pytest.approx(float(right[ply == 4].all(1).float().mean()))
            low, high = accuracy.interval("cell")
            assert low < accuracy.cell < high


@pytest.mark.parametrize(
    "target",
    [ProbeTarget(SITE, kind="mlp"), ProbeTarget(SITE, families=("flipped", "legal"))],
    ids=["mlp", "facts"],
)
def test_saved_and_loaded_to_the_same_bits(
    target: ProbeTarget, player: GPT, tmp_path: Path
) -> None:
    (probe,) = fit_probes(player, [target], random_games(6, seed=1), plan=PLAN)
    probe.save(tmp_path / "probe")
    back = load_probe(tmp_path / "probe")
    x = torch.randn(7, 32)
    assert type(back) is type(probe)
    assert torch.equal(back.encode(x), probe.encode(x))
    assert back.feature_names() == probe.feature_names()


def test_a_board_of_other_classes_is_refused(player: GPT, tmp_path: Path) -> None:
    fit_probe(player, SITE, random_games(6, seed=1), plan=PLAN).save(tmp_path / "probe")
    config = read_json(tmp_path / "probe/config.json")
    write_json(tmp_path / "probe/config.json", {**config, "classes": ["empty", "white", "black"]})
    with pytest.raises(InputError, match="ours are mine, theirs, empty in this order"):
        load_probe(tmp_path / "probe")


def test_another_site_is_warned_of_by_name(player: GPT) -> None:
    games = random_games(6, seed=1)
    probe = fit_probe(player, SITE, games, plan=PLAN)
    with pytest.warns(UserWarning, match="fitted at resid_post.1 is used at resid_post.0"):
        probe_accuracy(probe, player, Site("resid_post", 0), games)
    with pytest.warns(UserWarning), pytest.raises(InputError, match="reads vectors of 32.*has 64"):
        probe_accuracy(probe, player, Site("mlp_post", 1), games)


def test_what_cannot_be_fitted_is_refused(player: GPT) -> None:
    games = random_games(6, seed=1)
    with pytest.raises(InputError, match="name at least one target"):
        fit_probes(player, [], games)
    with pytest.raises(InputError, match="probes of concepts are linear"):
        fit_probes(player, [ProbeTarget(SITE, kind="mlp", families=("legal",))], games)
    with pytest.raises(InputError, match="no concept family 'legals'"):
        fit_probes(player, [ProbeTarget(SITE, families=("legals",))], games)
    with pytest.raises(InputError, match="facts go by the rules"):
        fit_probes(player, [ProbeTarget(SITE, labels="parity", families=("legal",))], games)
    with pytest.raises(InputError, match="labels of -1 plies back"):
        fit_probe(player, SITE, games, back=-1)
    with pytest.raises(InputError, match="this model has 4 heads"):
        fit_probe(player, Site("z", 0, head=4), games)
