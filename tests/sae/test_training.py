"""Many SAEs over one stream: what is shared, what is saved, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference.planted import NO_PLACE
from reference.tiny import tiny_model

from othellolens.activations.mixing import Mixer
from othellolens.activations.rows import Rows, SiteRows
from othellolens.activations.sources import Played
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.othello.games import Games, random_games
from othellolens.sae.autoencoder import Recipe
from othellolens.sae.batch_topk import BatchTopK
from othellolens.sae.files import load_sae
from othellolens.sae.gated import Gated
from othellolens.sae.grid import ALL, grid
from othellolens.sae.plan import SAEPlan, SAEStep
from othellolens.sae.relu import Relu
from othellolens.sae.runs import played, train_sae, train_saes
from othellolens.sae.topk import TopK
from othellolens.sae.train import SAETrainer
from othellolens.sae.training import Member, Training

SITE, LATER = Site("resid_post", 0), Site("mlp_out", 1)
PLAN = SAEPlan(rows=64 * 40, batch=64, window=128, lr=3e-3, dead_after=512)


@pytest.fixture(scope="module")
def player() -> GPT:
    return tiny_model()


@pytest.fixture(scope="module")
def played_games() -> Games:
    return random_games(256, seed=3)


def members() -> list[Member]:
    return [
        Member("a", TopK(16, k=3), SITE, seed=0),
        Member("b", TopK(16, k=5), SITE, seed=1),
        Member("c", Relu(16, l0=4), LATER, seed=2),
        Member("d", TopK(16, k=3), SITE, seed=7),
        Member("e", BatchTopK(16, k=3), SITE, target=LATER, skip=True, seed=0),
    ]


def source(player: GPT, games: Games) -> Played:
    return played(player, members(), games, PLAN)


def test_the_model_runs_once_for_all(player: GPT, played_games: Games) -> None:
    """As many forward passes as there are parts of games, however many SAEs learn."""
    asked: list[int] = []
    rows = source(player, played_games)
    read = rows.window

    def counted(number: int) -> object:
        asked.append(number)
        return read(number)

    rows.window = counted  # pyright: ignore
    training = Training(members(), rows, PLAN)
    assert [len(group.members) for group in training.groups] == [3, 1, 1]
    assert len(list(training.steps())) == 40
    assert len(asked) == 1
    assert rows.sites == (SITE, LATER)


def test_a_member_learns_as_it_would_alone(player: GPT, played_games: Games) -> None:
    rows = source(player, played_games)
    training = Training(members(), rows, PLAN, seed=5)
    together = list(training.steps())[-1]
    saes = {member.name: sae for member, sae in training.finish()}
    for member in members():
        alone = Training([member], rows, PLAN, seed=5)
        steps = list(alone.steps())
        found, wanted = torch.tensor(together[member.name]), torch.tensor(steps[-1][member.name])
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
        sae = next(alone.finish())[1]
        torch.testing.assert_close(saes[member.name].W_dec, sae.W_dec, rtol=1e-3, atol=1e-3)
        assert saes[member.name].recipe == member.recipe


def test_what_is_saved(player: GPT, played_games: Games, tmp_path: Path) -> None:
    out = tmp_path / "run"
    rows = source(player, played_games)
    folders = train_saes(members(), rows, PLAN, out, log_every=10)
    assert folders == [out / name for name in "abcde"]
    x = rows.window(0).x
    for member in members():
        sae = load_sae(out / member.name)
        assert sae.recipe == member.recipe
        assert sae.metadata["hook_name"] == member.site.hook_name
        assert sae.metadata["seed"] == member.seed
        number = float((sae.encode(x[member.site]) > 0).sum(1).float().mean())
        assert sae.metadata["l0"] == pytest.approx(number, rel=0.1)
    assert load_sae(out / "e").metadata["hook_name_out"] == LATER.hook_name
    assert load_sae(out / "e").reconstruct(x[SITE]).shape == x[LATER].shape
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [10, 20, 30, 40]
    assert set(log[0]["members"]) == set("abcde")
    assert log[-1]["members"]["a"]["fvu"] < log[0]["members"]["a"]["fvu"]
    assert not (out / "checkpoint.pt").exists()


def test_resuming_what_is_finished_does_nothing(
    player: GPT, played_games: Games, tmp_path: Path
) -> None:
    out, rows = tmp_path / "run", source(player, played_games)
    train_saes(members(), rows, PLAN, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    train_saes(members(), rows, PLAN, out, resume=True, watch=lambda steps: pytest.fail("trained"))
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before


def test_train_sae_is_a_training_of_one(player: GPT, played_games: Games, tmp_path: Path) -> None:
    seen: list[SAEStep] = []
    recipe = Gated(16, l0=3)
    sae = train_sae(recipe, player, SITE, played_games, plan=PLAN, seed=4, watch=seen.append)
    assert [step.step for step in seen] == list(range(1, 41))
    member = Member("", recipe, SITE, seed=4)
    train_saes([member], source(player, played_games), PLAN, tmp_path / "one", seed=4)
    saved = load_sae(tmp_path / "one")
    assert torch.equal(saved.W_enc, sae.W_enc)
    assert torch.equal(saved.b_gate, sae.b_gate)


def test_features_and_reconstruction_are_of_raw_rows(player: GPT, played_games: Games) -> None:
    """The scale that was trained with is folded in: twice the vectors, twice everything."""
    sae = train_sae(TopK(16, k=4), player, SITE, played_games, plan=PLAN)
    x = source(player, played_games).window(0).x[SITE][:2000]
    with torch.no_grad():
        error = (sae.reconstruct(x) - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
    assert float(error) < 0.6


def test_the_same_from_rows_on_disk(player: GPT, played_games: Games, tmp_path: Path) -> None:
    from othellolens.activations.stored import store_rows

    rows = source(player, played_games)
    stored = store_rows(rows, tmp_path / "rows", dtype="float32")
    train_saes(members(), rows, PLAN, tmp_path / "played")
    train_saes(members(), stored, PLAN, tmp_path / "stored")
    for name in "abcde":
        one, other = (load_sae(tmp_path / kind / name) for kind in ("played", "stored"))
        for key, tensor in one.exported().items():
            assert torch.equal(tensor, other.exported()[key]), (name, key)


def test_a_foreign_folder_or_other_members_are_refused(
    player: GPT, played_games: Games, tmp_path: Path
) -> None:
    out, rows = tmp_path / "run", source(player, played_games)
    train_saes(members()[:2], rows, PLAN, out)
    with pytest.raises(InputError, match="go on with --resume"):
        train_saes(members()[:2], rows, PLAN, out)
    with pytest.raises(InputError, match="begun with other SAEs"):
        train_saes(members()[:1], rows, PLAN, out, resume=True)
    with pytest.raises(InputError, match="begun with seed 0"):
        train_saes(members()[:2], rows, PLAN, out, resume=True, seed=1)
    (tmp_path / "full").mkdir()
    with pytest.raises(InputError, match="exists"):
        train_saes(members()[:2], rows, PLAN, tmp_path / "full")
    with pytest.raises(InputError, match="missing"):
        train_saes(members()[:2], rows, PLAN, tmp_path / "nowhere", resume=True)


def test_one_process_at_a_time(player: GPT, played_games: Games, tmp_path: Path) -> None:
    out, rows, told = tmp_path / "run", source(player, played_games), list[str]()

    def again(_: object) -> None:
        half = out / ".checkpoint.pt.77.tmp"
        half.write_bytes(b"what the first process is writing")
        with pytest.raises(InputError) as caught:
            train_saes(members()[:1], rows, PLAN, out, resume=True)
        told.append(str(caught.value))
        assert half.exists()

    train_saes(members()[:1], source(player, played_games), PLAN, out, watch=again)
    assert told
    assert all("is being trained by another process: wait for it" in line for line in told)
    assert not (out / ".lock").exists()
    train_saes(members()[:1], rows, PLAN, out, resume=True)
    assert not list(out.glob(".*.tmp"))


def test_what_cannot_be_trained_is_refused(player: GPT, played_games: Games) -> None:
    rows = source(player, played_games)
    with pytest.raises(InputError, match="nothing to train"):
        Training([], rows, PLAN)
    twice = [Member("x", TopK(16, k=3), SITE), Member("x", TopK(16, k=3), SITE, seed=1)]
    with pytest.raises(InputError, match="two members have the name x"):
        Training(twice, rows, PLAN)
    with pytest.raises(InputError, match=r"x reads resid_mid.1, but the rows are of resid_post.0"):
        Training([Member("x", TopK(16, k=3), Site("resid_mid", 1))], rows, PLAN)
    with pytest.raises(InputError, match="no games"):
        train_sae(TopK(16, k=3), player, SITE, played_games[:0])
    with pytest.raises(InputError, match="their shapes differ"):
        SAETrainer([TopK(16, k=3), TopK(8, k=3)], 32, PLAN)


def test_a_damaged_checkpoint_is_refused(player: GPT, played_games: Games, tmp_path: Path) -> None:
    training = Training(members(), source(player, played_games), PLAN)
    next(iter(training.steps()))
    path = tmp_path / "checkpoint.pt"
    training.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no checkpoint of SAEs"):
        training.restore(path)
    path.write_bytes(whole)
    other = Training(members()[:1], source(player, played_games), PLAN)
    with pytest.raises(InputError, match="other members"):
        other.restore(path)


def trainer() -> SAETrainer:
    return SAETrainer(TopK(8, k=2), 4, SAEPlan(rows=64, batch=16))


def test_rows_that_are_not_finite_stop_the_training() -> None:
    at = torch.tensor([[5, ply] for ply in range(16)], dtype=torch.int32)
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    learning = trainer()
    learning.update(at, x)
    x[3:5] = float("nan")
    x[9, 1] = float("inf")
    places = "game 5 ply 3, game 5 ply 4, game 5 ply 9; mend"
    with pytest.raises(InputError, match=f"step 2: 3 of 16 rows are NaN or infinite: {places}"):
        learning.update(at, x)
    assert learning.done == 1
    x[:] = float("-inf")
    with pytest.raises(InputError, match="16 of 16 rows .* game 5 ply 4 and 11 more; mend"):
        learning.update(at, x)


def spoilt(player: GPT, games: Games, after: int) -> Played:
    """A source that leaves out to say that its rows are bad, from the window of `after` on."""
    rows = source(player, games)
    read, asked = rows.window, list[int]()

    def window(number: int) -> SiteRows:
        asked.append(number)
        found = read(number)
        if len(asked) > after:
            found.x[SITE][7] = float("nan")
        return found

    rows.window = window  # pyright: ignore
    return rows


def test_a_bad_row_is_told_with_its_step_wherever_it_comes_from(
    player: GPT, played_games: Games, tmp_path: Path
) -> None:
    bad, plan = spoilt(player, played_games, 0), replace(PLAN, rows=64 * 250)
    with pytest.raises(InputError, match=r"step \d+: 1 of 64 rows .* game 0 ply 7; mend"):
        train_saes(members(), bad, plan, tmp_path / "run", checkpoint_every=1)
    model = tiny_model()
    with torch.no_grad():
        model.pos_embed.W_pos[57] = float("inf")
    first = Site("resid_pre", 0)
    with pytest.raises(InputError, match=r"^step 1: resid_pre\.0: \d+ of .* game \d+ ply 57, game"):
        train_sae(TopK(16, k=3), model, first, played_games, plan=PLAN)


def test_bad_rows_settle_no_threshold(player: GPT, played_games: Games) -> None:
    """The rows after the last step, on which thresholds are settled, are looked at too."""
    rows = source(player, played_games)
    training = Training(members(), rows, PLAN)
    list(training.steps())
    training._batches = None  # pyright: ignore
    rows.window = spoilt(player, played_games, 0).window  # pyright: ignore
    with pytest.raises(InputError, match="after step 40: resid_post.0: .*game 0 ply 7"):
        list(training.finish())


@pytest.mark.parametrize("recipe", [TopK(8, k=2), Relu(8), Gated(8, l0=3)], ids=str)
def test_a_training_that_runs_away_is_stopped(recipe: Recipe) -> None:
    plan = SAEPlan(rows=64 * 16, batch=16, lr=1e38, warmup=0.0, dead_after=16)
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    stream = [Rows(NO_PLACE.expand(16, 2), x)] * plan.steps
    with pytest.raises(InputError, match=r"step \d+: the loss is (nan|inf): take a smaller lr"):
        list(SAETrainer(recipe, 4, plan).steps(stream))


def test_of_a_stack_the_one_that_runs_away_is_named(player: GPT, played_games: Games) -> None:
    training = Training(members(), source(player, played_games), PLAN)
    steps = training.steps()
    next(steps)
    with torch.no_grad():
        training.groups[0].trainer.sae.W_dec[2] = float("nan")
    with pytest.raises(InputError, match="^d: step 2: the loss is nan"):
        next(steps)


def test_a_stream_that_ends_early_is_told() -> None:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    stream = [Rows(NO_PLACE.expand(16, 2), x)] * 3
    with pytest.raises(InputError, match=r"ended after 3 of 4 steps \(48 rows\)"):
        list(trainer().steps(stream))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows must be"),
        ({"batch": 0}, "batch must be"),
        ({"decay": 1.5}, "decay is"),
        ({"dead_after": 0}, "dead_after is 0: it is a number of rows, 1 or more"),
        ({"dead_after": -1}, "dead_after is -1"),
        ({"lr": float("inf")}, "lr not below"),
        ({"lr": -1.0}, "lr not below"),
        ({"clip": 0.0}, "clip must be above 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SAEPlan(**change)


@pytest.mark.parametrize("interval", [{"log_every": 0}, {"checkpoint_every": -1}], ids=str)
def test_an_interval_of_no_steps_is_refused(
    interval: dict[str, int], player: GPT, played_games: Games, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="it is a number of steps, 1 or more"):
        train_saes(members(), source(player, played_games), PLAN, tmp_path / "run", **interval)
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_rises_stays_and_falls() -> None:
    plan = SAEPlan(rows=1000, batch=1, lr=1.0, warmup=0.1, decay=0.2)
    rates = [plan.rate(step, 16) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == 1.0 == rates[500]
    assert rates[-1] == pytest.approx(1 / 200)
    assert SAEPlan(rows=1000, batch=1).rate(500, 2**14) == pytest.approx(7e-4)


def test_a_grid_names_every_combination() -> None:
    found = grid(ALL, [32, 64], [4, 8], [0, 1], [SITE])
    assert len({member.name for member in found}) == len(found) == len(ALL) * 8
    assert {member.recipe.width for member in found} == {32, 64}


def test_a_grid_asks_every_architecture_for_its_number() -> None:
    found = grid(ALL, [64], [4, 40], [3], [SITE, LATER])
    assert [member.recipe.sparsity_target for member in found[:2]] == [4, 40]
    assert {member.seed for member in found} == {3}
    assert found[0].name == "resid_post.0-relu-w64-l4-s3"
    with pytest.raises(InputError, match="no architecture 'transformer'"):
        grid(["transformer"], [64], [4], [0], [SITE])
    with pytest.raises(InputError, match="at least one of seeds"):
        grid(["topk"], [64], [4], [], [SITE])
    with pytest.raises(InputError, match="at most the width, 64"):
        grid(["relu"], [64], [65], [0], [SITE])


def test_a_grid_of_transcoders_writes_in_the_layer_that_it_reads() -> None:
    sites = [Site("ln2", 0), Site("ln2", 1)]
    found = grid(["topk", "relu"], [64], [4], [0], sites, target="mlp_out", skip=True)
    assert {(str(m.site), str(m.target), m.skip) for m in found} == {
        ("ln2.0", "mlp_out.0", True),
        ("ln2.1", "mlp_out.1", True),
    }
    with pytest.raises(InputError, match="no site 'mlp_in'"):
        grid(["topk"], [64], [4], [0], sites, target="mlp_in")
    with pytest.raises(InputError, match="give them a target"):
        grid(["topk"], [64], [4], [0], sites, skip=True)


def test_the_stream_is_mixed(player: GPT, played_games: Games) -> None:
    rows = next(Mixer(source(player, played_games), batch=64, seed=0).batches())
    assert len(rows.at[:, 0].unique()) > 40
