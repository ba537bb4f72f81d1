"""Models on disk: a training that is broken off goes on; what does not fit is refused."""

import json
from pathlib import Path

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.artifact import read_json, read_tensors, write_json, write_tensors
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.runs import load_gpt, load_gpt_run, save_gpt, train_gpt
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.train import GPTPlan, GPTStep, Trainer
from othellolens.othello.games import random_origin

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
        (SHAPE, other_plan, 3, "plan .*0.2.*, not .*0.3"),
        (other_shape, PLAN, 3, "shape .*'n_layers': 2.*, not .*'n_layers': 1"),
    ):
        with pytest.raises(InputError, match=f"was begun with {what}"):
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
