"""Models on disk: a training that is broken off goes on; what does not fit is refused."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.artifact import read_json, read_tensors, write_json, write_tensors
from othellolens.errors import InputError
from othellolens.gpt.legality import legality
from othellolens.gpt.model import GPT
from othellolens.gpt.runs import load_gpt, load_gpt_run, save_gpt, train_gpt
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.train import GPTPlan, GPTStep, Trainer
from othellolens.othello.games import random_games, random_origin

SHAPE = GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64)
PLAN = GPTPlan(games=24, batch=4, warmup=0.2)


def same_weights(one: GPT, other: GPT) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Broken(Exception):
    pass


def break_off(at: int) -> object:
    def watch(step: GPTStep) -> None:
        if step.step == at:
            raise Broken

    return watch


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_a_model_comes_back(normalization: str, tmp_path: Path) -> None:
    model = tiny_model(normalization)  # pyright: ignore
    folder = tmp_path / "run"
    save_gpt(model, folder, note="here")
    read, config = load_gpt_run(folder)
    assert same_weights(read, model)
    assert read.cfg == model.cfg
    assert read.name == str(folder)
    assert not read.training
    assert (config["kind"], config["note"]) == ("gpt", "here")
    assert config["provenance"]["torch"] == torch.__version__


def test_half_precision_rounds_and_loads_as_single(model: GPT, tmp_path: Path) -> None:
    save_gpt(model, tmp_path, half=True)
    read = load_gpt(tmp_path)
    for key, value in read.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[key].half().float())


def test_a_training_ends_in_a_model(tmp_path: Path) -> None:
    steps: list[GPTStep] = []
    trained = train_gpt(SHAPE, PLAN, tmp_path / "run", seed=3, watch=steps.append)
    assert [step.step for step in steps] == list(range(1, 7))
    read, config = load_gpt_run(tmp_path / "run")
    assert same_weights(read, trained)
    assert not trained.training
    assert config["games"] == random_origin(3, 0, 24)
    assert config["training"]["seed"] == 3
    lines = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [6]
    mean = sum(step.loss for step in steps) / 6
    assert lines[0]["loss"] == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize(("broken", "every"), [(5, 2), (4, 2), (1, 2), (6, 2), (3, 100)])
def test_a_training_that_is_broken_off_goes_on_to_the_same_bits(
    broken: int, every: int, tmp_path: Path
) -> None:
    whole = train_gpt(SHAPE, PLAN, tmp_path / "whole", seed=3)
    out = tmp_path / "run"
    with pytest.raises(Broken):
        train_gpt(SHAPE, PLAN, out, seed=3, checkpoint_every=every, watch=break_off(broken))  # pyright: ignore
    with pytest.raises(InputError, match=r"no model|under way|missing"):
        load_gpt(out)
    steps: list[GPTStep] = []
    resumed = train_gpt(
        SHAPE, PLAN, out, seed=3, resume=True, checkpoint_every=every, watch=steps.append
    )
    saved = broken // every * every
    assert [step.step for step in steps] == list(range(saved + 1, 7))
    assert same_weights(resumed, whole)
    assert same_weights(load_gpt(out), whole)


def test_another_training_is_neither_overwritten_nor_continued(tmp_path: Path) -> None:
    out = tmp_path / "run"
    trained = train_gpt(SHAPE, PLAN, out, seed=3)
    with pytest.raises(InputError, match="holds a training: go on with --resume"):
        train_gpt(SHAPE, PLAN, out, seed=3)
    other_plan = GPTPlan(games=24, batch=4, warmup=0.3)
    other_shape = GPTConfig(n_layers=1, d_model=32, n_heads=4, d_mlp=64)
    for shape, plan, seed, what in (
        (SHAPE, PLAN, 4, "seed 3, not 4"),
        (SHAPE, other_plan, 3, "plan warmup 0.2, not 0.3"),
        (other_shape, PLAN, 3, "shape n_layers 2, not 1"),
    ):
        with pytest.raises(InputError, match=f"was begun with {what}$"):
            train_gpt(shape, plan, out, seed=seed, resume=True)
    assert same_weights(load_gpt(out), trained)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="mine exists"):
        train_gpt(SHAPE, PLAN, tmp_path / "mine", seed=3)
    with pytest.raises(InputError, match=r"training\.json is missing"):
        train_gpt(SHAPE, PLAN, tmp_path / "mine", seed=3, resume=True)


def test_a_training_that_begins_with_a_trained_model(tmp_path: Path) -> None:
    before, out = tmp_path / "before", tmp_path / "run"
    train_gpt(SHAPE, PLAN, before, seed=3)
    steps: list[GPTStep] = []
    plan = GPTPlan(games=8, batch=4, lr=0.0)
    model = train_gpt(SHAPE, plan, out, seed=3, start=before, watch=steps.append)
    assert same_weights(model, load_gpt(before)), "the learning rate is 0"
    read, config = load_gpt_run(out)
    trainer = Trainer(read, plan, seed=3, first=24)
    assert [step.loss for step in trainer.steps()] == [step.loss for step in steps], "new games"
    assert config["games"] == random_origin(3, 0, 32)
    assert config["training"]["start"]["training"]["plan"]["games"] == 24
    other = train_gpt(SHAPE, plan, tmp_path / "other", seed=4, start=before)
    _, config = load_gpt_run(tmp_path / "other")
    assert config["games"] == f"{random_origin(3, 0, 24)} + {random_origin(4, 0, 8)}"
    assert same_weights(other, model)
    with pytest.raises(InputError, match=r"was begun with start .*, not None"):
        train_gpt(SHAPE, plan, out, seed=3, resume=True)
    small = GPTConfig(n_layers=1, d_model=32, n_heads=4, d_mlp=64)
    with pytest.raises(InputError, match=r"before has shape .*n_layers=2.*, not .*n_layers=1"):
        train_gpt(small, plan, tmp_path / "small", seed=3, start=before)
    assert not (tmp_path / "small").exists()


def test_what_is_no_model_is_refused(model: GPT, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model 'maxi': say mini, synthetic, .*or user/repo"):
        load_gpt("maxi")
    folder = tmp_path / "run"
    save_gpt(model, folder)
    config, weights = read_json(folder / "config.json"), read_tensors(folder / "model.safetensors")

    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            load_gpt(folder)

    write_json(folder / "config.json", config | {"kind": "sae"})
    refused(r"config\.json is of kind 'sae', no GPT")
    write_json(folder / "config.json", config | {"shape": {"n_layers": 2}})
    refused("does not give the model's shape")
    write_json(folder / "config.json", config | {"shape": None})
    refused("does not give the model's shape")
    write_json(folder / "config.json", config)
    wrong = {key: value for key, value in weights.items() if key != "embed.W_E"}
    wrong["unembed.b_U"] = torch.ones(3)
    write_tensors(folder / "model.safetensors", wrong | {"extra": torch.ones(1)})
    refused(r"embed\.W_E is missing; extra is unknown; unembed\.b_U is \[3\], not \[61\]")
    (folder / "model.safetensors").write_bytes(b"short")
    refused(r"model\.safetensors is truncated")
    (folder / "model.safetensors").unlink()
    refused(r"model\.safetensors is missing")


@pytest.mark.parametrize(
    "damage", [{"n_layers": "two"}, {"n_heads": 0}, {"normalization": "RMS"}, {"d_model": -32}]
)
def test_a_shape_that_cannot_be_is_refused(
    damage: dict[str, object], model: GPT, tmp_path: Path
) -> None:
    save_gpt(model, tmp_path)
    config = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", config | {"shape": config["shape"] | damage})
    with pytest.raises(InputError, match=next(iter(damage))):
        load_gpt(tmp_path)


def test_a_training_is_judged_on_games_that_it_never_sees(tmp_path: Path) -> None:
    """Also where it trains on the seed that is otherwise held out."""
    for seed, held in ((3, 1), (1, 2)):
        out = tmp_path / str(seed)
        model = train_gpt(SHAPE, PLAN, out, seed=seed, log_every=4, judge_every=3)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        judged = ["kl_to_oracle" in line for line in lines]
        assert [line["step"] for line in lines] == [3, 4, 6]
        assert judged == [True, False, True]
        found = legality(model, random_games(500, seed=held))
        assert lines[-1]["illegal_strict"] == found.strict_rate()
        assert lines[-1]["illegal_lenient"] == found.lenient_rate()
        assert lines[-1]["kl_to_oracle"] == found.kl()


def test_what_cannot_be_trained_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"

    def refused(message: str, plan: GPTPlan = PLAN, **settings: Any) -> None:
        with pytest.raises(InputError, match=message):
            train_gpt(SHAPE, plan, out, **settings)

    refused("no device 'gpu'", device="gpu")
    refused("no training on 'meta'", device="meta")
    refused("no GPU 99: this machine has", device="cuda:99")
    monkeypatch.setitem(sys.modules, "wandb", None)
    refused("wandb is not installed", wandb="othello")
    assert not out.exists()
    for wrong, message in (
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"games": -5}, "games must be at least 1, not -5"),
        ({"lr": float("nan")}, "lr must be at least 0, not nan"),
        ({"warmup": 1.5}, "warmup must be a share"),
        ({"clip": 0.0}, "clip above 0"),
    ):
        with pytest.raises(InputError, match=message):
            GPTPlan(**wrong)  # pyright: ignore
    refused(r"seed must be 0 to 2\*\*63 - 1, not", seed=2**64)
    for name, value, message in (
        ("WORLD_SIZE", "many", "WORLD_SIZE is 'many', no number: torchrun sets it"),
        ("WORLD_SIZE", "2", "WORLD_SIZE is 2, but RANK is not set: start .* with torchrun"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            refused(message, device="cpu")
    assert not out.exists()
    wild = GPTPlan(games=4 * 60, batch=4, optimizer="adamw", lr=1e12, clip=1e12, precision="fp32")
    refused(r"the loss is (nan|inf) at step \d+: take a smaller learning rate than 1e\+12", wild)
    with pytest.raises(InputError, match="under way"):
        load_gpt(out)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """The loss of the only step is finite: it is that before the update."""
    wild = GPTPlan(games=4, batch=4, lr=1e38, warmup=0.0, precision="fp32")
    for every in (1, 100):
        out = tmp_path / str(every)
        with pytest.raises(InputError, match="the weights are not finite at step 1: take a small"):
            train_gpt(SHAPE, wild, out, checkpoint_every=every)
        assert not (out / "checkpoint.pt").exists()
        assert not (out / "config.json").exists()
        log = (out / "log.jsonl").read_text().replace("NaN", "not JSON")
        assert json.loads(log)["kl_to_oracle"] is None


def test_gradients_that_are_not_finite_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.nn.utils.clip_grad_norm_

    def spoilt(weights: Any, most: float) -> torch.Tensor:
        return plain(weights, most) * float("inf")

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoilt)
    with pytest.raises(InputError, match="the norm of the gradient is inf at step 1"):
        train_gpt(SHAPE, PLAN, tmp_path / "run")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "run"
    seen: list[str] = []

    def again(step: GPTStep) -> None:
        with pytest.raises(InputError) as caught:
            train_gpt(SHAPE, PLAN, out, resume=True)
        seen.append(str(caught.value))

    train_gpt(SHAPE, PLAN, out, watch=again)
    assert len(seen) == 6
    assert all("is being trained by another process: wait for it" in line for line in seen)
    assert len((out / "log.jsonl").read_text().splitlines()) == 1
    assert not (out / ".lock").exists()
    train_gpt(SHAPE, PLAN, out, resume=True)


def test_what_a_killed_process_leaves(tmp_path: Path) -> None:
    """Half a checkpoint; a log that somebody spoilt; other settings that change the bits."""
    out = tmp_path / "run"
    with pytest.raises(Broken):
        train_gpt(SHAPE, PLAN, out, log_every=1, watch=break_off(3))  # pyright: ignore
    (out / ".checkpoint.pt.77.tmp").write_bytes(b"half")
    log = (out / "log.jsonl").read_text()
    (out / "log.jsonl").write_text(f"spoilt\n{log}")
    with pytest.raises(InputError, match=r"log\.jsonl, line 1 is no entry of a log: mend or del"):
        train_gpt(SHAPE, PLAN, out, resume=True)
    assert not list(out.glob(".*.tmp"))
    (out / "log.jsonl").write_text(log)
    begun = read_json(out / "training.json")
    begun["how"]["processes"] = 3
    write_json(out / "training.json", begun)
    with pytest.warns(UserWarning, match="begun with processes 3, not 1: the last bits will diff"):
        train_gpt(SHAPE, PLAN, out, resume=True, log_every=1)
    lines = (out / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_the_start_of_a_training_by_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train_gpt(SHAPE, PLAN, Path("before"), seed=3)
    with pytest.raises(Broken):
        train_gpt(SHAPE, PLAN, Path("run"), start="before", watch=break_off(2))  # pyright: ignore
    train_gpt(SHAPE, PLAN, Path("run"), start="./before", resume=True)


class FakeRun:
    """What of a run of Weights & Biases is used."""

    def __init__(self, **asked: Any) -> None:
        self.asked, self.id = asked, asked["id"] or "abc"
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = False

    def log(self, line: dict[str, Any], step: int) -> None:
        self.logged.append((step, line))

    def finish(self) -> None:
        self.finished = True


def test_wandb_gets_the_same_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[FakeRun] = []

    def init(**asked: Any) -> FakeRun:
        runs.append(FakeRun(**asked))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    out = tmp_path / "run"
    settings: dict[str, Any] = {"wandb": "othello", "log_every": 1, "checkpoint_every": 2}
    with pytest.raises(Broken):
        train_gpt(SHAPE, PLAN, out, **settings, watch=break_off(3))  # pyright: ignore
    train_gpt(SHAPE, PLAN, out, **settings, resume=True)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [run.asked["id"] for run in runs] == [None, "abc"], "the same run goes on"
    assert all(run.asked["project"] == "othello" for run in runs)
    assert runs[0].asked["config"]["plan"]["games"] == 24
    assert [step for step, _ in runs[0].logged] == [1, 2, 3]
    assert [line | {"step": step} for step, line in runs[1].logged] == lines[2:]
    assert runs[1].finished


def test_wandb_that_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> FakeRun:
        raise RuntimeError("api_key not configured\nrun wandb login")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"\(api_key not configured\).*wandb login.*--resume$"):
        train_gpt(SHAPE, PLAN, out, wandb="othello")
    train_gpt(SHAPE, PLAN, out, resume=True)
