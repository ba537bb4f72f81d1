"""Training: the losses against loops, learning, resuming to the same bits, Muon's views."""

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from reference import othello_by_lists as slow
from reference.othello_by_lists import Replayed
from torch import Tensor

from othellolens.errors import InputError
from othellolens.gpt import train as module
from othellolens.gpt.model import GPT, flat
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.tokens import PAD, SQUARE_OF_TOKEN, tokens
from othellolens.gpt.train import GPTPlan, GPTStep, Trainer, legal_loss, legal_tokens
from othellolens.othello.games import Games, random_games

SHAPE = GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64)
SMALL = GPTPlan(games=24, batch=4, warmup=0.4)


def trainer(plan: GPTPlan = SMALL, *, weights: int = 0, seed: int = 0) -> Trainer:
    return Trainer(GPT(SHAPE, seed=weights), plan, seed=seed)


def same_weights(one: GPT, other: GPT) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# The targets


def test_legal_tokens_equal_the_reference(replayed: Replayed) -> None:
    some = replayed[:20]
    moves = torch.full((len(some), 60), -1, dtype=torch.int8)
    for row, (game, _) in enumerate(some):
        moves[row, : len(game)] = torch.tensor(game, dtype=torch.int8)
    legal = legal_tokens(Games(moves, "by hand"))
    assert legal.shape == (len(some), 60, 61)
    for game, (_, after) in enumerate(some):
        for ply in range(60):
            found = set(SQUARE_OF_TOKEN[legal[game, ply]].tolist())
            assert found == (after[ply].legal if ply < len(after) else set())
    assert not legal[..., PAD].any()


def test_legal_loss_equals_the_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 7, 61, generator=generator)
    legal = torch.rand(3, 7, 61, generator=generator) < 0.1
    legal[0, 3:] = False
    each = []
    for scores, mask in zip(
        logits.flatten(0, 1).tolist(), legal.flatten(0, 1).tolist(), strict=True
    ):
        total = sum(math.exp(x) for x in scores)
        right = [-math.log(math.exp(x) / total) for x, m in zip(scores, mask, strict=True) if m]
        if right:
            each.append(sum(right) / len(right))
    assert 10 < len(each) <= 17
    assert float(legal_loss(logits, legal)) == pytest.approx(sum(each) / len(each), rel=1e-5)


def test_the_loss_of_the_oracle_is_the_entropy(games: Games) -> None:
    legal = legal_tokens(games)[:, :-1]
    number = legal.sum(-1)
    logits = torch.where(legal, 0.0, -100.0)
    entropy = number[number > 0].log().mean()
    assert float(legal_loss(logits, legal)) == pytest.approx(float(entropy), rel=1e-5)
    assert float(legal_loss(logits + 5, legal)) == pytest.approx(float(entropy), rel=1e-5)


@pytest.mark.parametrize("legality", [0.0, 0.5, 3.0])
def test_legality_weighs_the_probability_of_legal_moves(legality: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 7, 61, generator=generator)
    legal = torch.rand(3, 7, 61, generator=generator) < 0.1
    legal[0, 3:] = False
    logits.requires_grad_()
    each = []
    for shares, mask in zip(
        logits.double().softmax(-1).flatten(0, 1).tolist(),
        legal.flatten(0, 1).tolist(),
        strict=True,
    ):
        right = [x for x, m in zip(shares, mask, strict=True) if m]
        if right:
            uneven = [-math.log(x / sum(right)) for x in right]
            each.append(-legality * math.log(sum(right)) + sum(uneven) / len(uneven))
    loss = legal_loss(logits, legal, legality=legality)
    assert loss.item() == pytest.approx(sum(each) / len(each), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[0, 3:].any(), "nobody can move: nothing is asked"
    assert logits.grad[1].any()


def test_the_oracle_is_best_whatever_legality_weighs(games: Games) -> None:
    legal = legal_tokens(games)[:, :-1]
    oracle = torch.where(legal, 0.0, -30.0).requires_grad_()
    legal_loss(oracle, legal, legality=3.0).backward()
    assert oracle.grad is not None
    assert oracle.grad.abs().max() < 1e-9


def test_legality_has_no_meaning_for_the_played_move() -> None:
    with pytest.raises(InputError, match="take --target legal"):
        GPTPlan(target="played", legality=2.0)


@pytest.mark.parametrize("target", ["legal", "played"])
def test_the_loss_asks_each_ply_for_the_next_move(
    target: Literal["legal", "played"], monkeypatch: pytest.MonkeyPatch, games: Games
) -> None:
    """On logits that are given, and on games of which two end early."""
    moves = torch.full((4, 60), -1, dtype=torch.int8)
    moves[0, :9] = torch.tensor(slow.WIPE_OUT)
    moves[1, :10] = torch.tensor(slow.EARLY_PASS)
    moves[2:] = games.moves[:2]
    monkeypatch.setattr(module, "random_games", lambda *_, **__: Games(moves, "by hand"))
    said = 3 * torch.randn(4, 59, 61, generator=torch.Generator().manual_seed(0))
    shares = said.log_softmax(-1)
    each = []
    for game, played in enumerate(moves.tolist()):
        after = slow.replay([square for square in played if square != -1])
        for ply, row in enumerate(after[:59]):
            right = row.legal if target == "legal" else {played[ply + 1]} - {-1}
            chosen = [float(shares[game, ply, square == SQUARE_OF_TOKEN]) for square in right]
            each += [-sum(chosen) / len(chosen)] if chosen else []
    at_work = trainer(GPTPlan(games=4, batch=4, target=target))
    player, seen = at_work.model, []

    def forward(ids: Tensor) -> Tensor:
        seen.append(ids)
        return said + 0 * player(ids).float()

    monkeypatch.setattr(at_work, "forward", forward)
    (step,) = at_work.steps()
    assert step.loss == pytest.approx(sum(each) / len(each), rel=1e-5)
    assert torch.equal(seen[0], tokens(Games(moves, "by hand"))[:, :-1])


# Learning


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("target", ["legal", "played"])
def test_eight_games_are_learnt_by_heart(
    target: Literal["legal", "played"],
    optimizer: Literal["muon", "adamw"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eight = random_games(8, seed=3)
    monkeypatch.setattr(module, "random_games", lambda *_, **__: eight)
    plan = GPTPlan(games=8 * 120, batch=8, target=target, optimizer=optimizer, lr=1e-2)
    losses = [step.loss for step in trainer(plan).steps()]
    legal = legal_tokens(eight)[:, :-1].sum(-1)
    floor = float(legal[legal > 0].log().mean()) if target == "legal" else 0.0
    assert losses[0] - floor > 1.5
    assert losses[-1] - floor < 0.4


def test_the_plan_counts_its_steps() -> None:
    assert GPTPlan(games=24, batch=4).steps == 6
    assert GPTPlan(games=27, batch=4).steps == 6
    assert GPTPlan(games=3, batch=4).steps == 1
    steps = list(trainer().steps())
    assert [step[:2] for step in steps] == [(i, 4 * i) for i in range(1, 7)]
    assert all(isinstance(step, GPTStep) for step in steps)


def test_every_step_sees_the_next_games(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []

    def watched(count: int, *, seed: int, first: int) -> Games:
        seen.append((count, seed, first))
        return random_games(count, seed=seed, first=first)

    monkeypatch.setattr(module, "random_games", watched)
    list(trainer(seed=8).steps())
    assert seen == [(4, 8, first) for first in range(0, 24, 4)]


def test_the_learning_rate_rises_and_falls() -> None:
    plan = GPTPlan(games=40, batch=4, warmup=0.2, lr=1e-3)
    rates = [step.lr for step in trainer(plan).steps()]
    rise, fall = [0.5, 1.0], [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates == pytest.approx([1e-3 * x for x in rise + fall])


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_rate_that_is_reported_is_the_one_that_is_used(
    optimizer: Literal["muon", "adamw"],
) -> None:
    at_work = trainer(GPTPlan(games=24, batch=4, optimizer=optimizer))
    for step in at_work.steps():
        groups = [group for one in at_work.optimizers for group in one.param_groups]
        assert {group["lr"] for group in groups} == {step.lr}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_weight_is_trained(optimizer: Literal["muon", "adamw"]) -> None:
    at_work = trainer(GPTPlan(games=8, batch=4, optimizer=optimizer, lr=1e-2))
    before = {key: x.clone() for key, x in at_work.model.state_dict().items()}
    steps = at_work.steps()
    next(steps)
    assert at_work.model.training
    list(steps)
    assert not at_work.model.training
    for key, x in at_work.model.state_dict().items():
        # The bias of the keys has no effect, so that its gradient is rounding.
        assert key.endswith("b_K") or (x - before[key]).abs().max() > 1e-4, key


def test_gradients_are_clipped_to_the_norm_of_the_plan() -> None:
    """A clipped gradient, measured where the optimiser reads it."""
    norms: dict[float, float] = {}
    for clip in (1e-3, 1e9):
        at_work = trainer(GPTPlan(games=4, batch=4, optimizer="adamw", clip=clip))

        def measured(
            optimizer: torch.optim.Optimizer, args: object, kwargs: object, clip: float = clip
        ) -> None:
            grads = [x.grad for g in optimizer.param_groups for x in g["params"]]
            norms[clip] = float(torch.cat([g.flatten() for g in grads if g is not None]).norm())

        at_work.optimizers[0].register_step_pre_hook(measured)
        list(at_work.steps())
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1e9] > 1e-2


# Muon


def weights_of(model: GPT) -> dict[str, Tensor]:
    return {
        key: x for key, x in model.named_parameters() if key.startswith("blocks.") and ".W_" in key
    }


def as_matrix(key: str, x: Tensor) -> Tensor:
    """[d_model, all heads] for Q, K and V; [all heads, d_model] for O."""
    if key.endswith(("W_Q", "W_K", "W_V")):
        return torch.cat(list(x), dim=1)
    return torch.cat(list(x), dim=0) if key.endswith("W_O") else x.clone()


def test_muons_views_share_their_memory_with_the_weights() -> None:
    at_work = trainer()
    muon = at_work.optimizers[0]
    assert isinstance(muon, module._Matrices)
    named = weights_of(at_work.model)
    assert len(muon.views) == len(named) == 12
    for view, (key, weight) in zip(muon.views, named.items(), strict=True):
        assert view.data_ptr() == weight.data_ptr(), key
        assert view.dim() == 2
        assert torch.equal(view, as_matrix(key, weight.detach()))
    rest = {id(x) for group in at_work.optimizers[1].param_groups for x in group["params"]}
    others = {id(x) for x in at_work.model.parameters()} - {id(x) for x in named.values()}
    assert rest == others


def test_the_views_are_still_the_weights_after_training_and_loading(tmp_path: Path) -> None:
    at_work = trainer()
    steps = at_work.steps()
    next(steps)
    at_work.save(tmp_path / "checkpoint")
    at_work.restore(tmp_path / "checkpoint")
    list(steps)
    muon = at_work.optimizers[0]
    assert isinstance(muon, module._Matrices)
    for view, weight in zip(muon.views, weights_of(at_work.model).values(), strict=True):
        assert view.data_ptr() == weight.data_ptr()
    block = at_work.model.blocks[0]
    assert flat(block.attn.W_Q).data_ptr() == block.attn.W_Q.data_ptr()  # pyright: ignore


def test_a_step_is_torchs_muon_on_whole_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of every matrix of the blocks, beside the optimiser that PyTorch ships."""
    gradients: list[dict[str, Tensor]] = []
    original = module._Matrices.step

    def watched(self: module._Matrices, closure: object = None) -> object:
        gradients.append({k: as_matrix(k, x.grad) for k, x in named.items() if x.grad is not None})
        return original(self, closure)

    monkeypatch.setattr(module._Matrices, "step", watched)
    at_work = trainer(GPTPlan(games=8, batch=4, weight_decay=0.1, lr=1e-2))
    named = weights_of(at_work.model)
    beside = {key: torch.nn.Parameter(as_matrix(key, x.detach())) for key, x in named.items()}
    muon = torch.optim.Muon(
        list(beside.values()), lr=1.0, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for step in at_work.steps():
        for key, weight in beside.items():
            weight.grad = gradients[-1][key]
        muon.param_groups[0]["lr"] = step.lr
        muon.step()
        for key, weight in named.items():
            torch.testing.assert_close(
                as_matrix(key, weight.detach()), beside[key].detach(), msg=key
            )
    assert len(gradients) == 2
    assert set(gradients[0]) == set(named)


# Saving


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_training_that_is_resumed_ends_in_the_same_bits(
    after: int, optimizer: Literal["muon", "adamw"], tmp_path: Path
) -> None:
    plan = GPTPlan(games=24, batch=4, optimizer=optimizer, weight_decay=0.01)
    whole = trainer(plan, seed=2)
    expected = list(whole.steps())
    broken = trainer(plan, seed=2)
    steps = broken.steps()
    found = [next(steps) for _ in range(after)]
    broken.save(tmp_path / "checkpoint")
    # Going on after saving does not change what was saved.
    next(steps)
    resumed = trainer(plan, weights=5, seed=2)
    assert not same_weights(resumed.model, whole.model)
    resumed.restore(tmp_path / "checkpoint")
    found += resumed.steps()
    assert found == expected
    assert same_weights(resumed.model, whole.model)


def test_a_finished_training_has_no_steps_left(tmp_path: Path) -> None:
    done = trainer()
    list(done.steps())
    done.save(tmp_path / "checkpoint")
    again = trainer(weights=1)
    again.restore(tmp_path / "checkpoint")
    assert list(again.steps()) == []
    assert same_weights(again.model, done.model)


def test_another_seed_is_refused(tmp_path: Path) -> None:
    trainer(seed=2).save(tmp_path / "checkpoint")
    other = trainer(weights=1, seed=3)
    with pytest.raises(InputError, match="trained with seed 2, not 3"):
        other.restore(tmp_path / "checkpoint")
    assert same_weights(other.model, GPT(SHAPE, seed=1))
    assert other.done == 0


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    trainer().save(path)
    good = path.read_bytes()
    for content in (b"", b"nonsense", good[: len(good) // 2], good[:-10]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="checkpoint is no checkpoint of this training") as one:
            trainer().restore(path)
        assert "\n" not in str(one.value)
    with pytest.raises(InputError, match="nowhere is no checkpoint"):
        trainer().restore(tmp_path / "nowhere")
    torch.save({"seed": 0}, path)
    with pytest.raises(InputError, match="no checkpoint of this training"):
        trainer().restore(path)


def test_a_checkpoint_of_another_model_or_optimizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    wider = GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=128)
    Trainer(GPT(wider), SMALL, seed=0).save(path)
    with pytest.raises(InputError, match="no checkpoint of this training"):
        trainer().restore(path)
    path.unlink()
    trainer(GPTPlan(games=24, batch=4, optimizer="adamw")).save(path)
    with pytest.raises(InputError, match="no checkpoint of this training"):
        trainer().restore(path)


class Bomb:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    path, made = tmp_path / "checkpoint", tmp_path / "made"
    torch.save({"seed": 0, "model": Bomb(made)}, path)
    with pytest.raises(InputError, match="no checkpoint of this training"):
        trainer().restore(path)
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists(), "the bomb is a dud"
