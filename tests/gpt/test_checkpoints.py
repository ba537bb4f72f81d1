"""Foreign checkpoints: they come back exactly, and what is none is refused in one line."""

import inspect
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from reference import mingpt_by_hand
from reference.tiny import tiny_model
from safetensors.torch import save_file
from torch import Tensor

from othellolens.artifact import read_json, write_json
from othellolens.errors import InputError
from othellolens.gpt.checkpoints.forms import save_as
from othellolens.gpt.model import GPT
from othellolens.gpt.processing import processed
from othellolens.gpt.runs import load_gpt
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games

HEADS = 4


def plain(seed: int = 0) -> GPT:
    """As the original code trains it: LN, and no bias of the unembedding."""
    model = tiny_model("LN", seed)
    with torch.no_grad():
        model.unembed.b_U.zero_()
    return model


def same_weights(one: GPT, other: GPT) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def saved(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)


def test_mingpt_to_transformer_lens_and_back_is_exact(tmp_path: Path) -> None:
    model = plain()
    save_as(model, tmp_path / "a.ckpt", "mingpt")
    ours = load_gpt(tmp_path / "a.ckpt", n_heads=HEADS)
    assert same_weights(ours, model)
    save_as(ours, tmp_path / "b.pth", "transformerlens")
    again = load_gpt(tmp_path / "b.pth")
    assert same_weights(again, model)
    assert again.cfg == model.cfg
    assert again.name == str(tmp_path / "b.pth")
    assert not again.training
    save_as(again, tmp_path / "c", "othellolens")
    assert same_weights(load_gpt(tmp_path / "c"), model)
    save_as(again, tmp_path / "d.ckpt", "mingpt")
    first, last = saved(tmp_path / "a.ckpt"), saved(tmp_path / "d.ckpt")
    assert list(first) == list(last)
    assert all(torch.equal(first[key], last[key]) for key in first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_mingpt_file_computes_what_mingpt_computes(
    dtype: torch.dtype, tmp_path: Path, games: Games
) -> None:
    state = mingpt_by_hand.random_state(layers=2, width=32, mlp=64, seed=5)
    held = {key: value.to(dtype) for key, value in state.items()}
    torch.save(held, tmp_path / "m.ckpt")
    model = load_gpt(tmp_path / "m.ckpt", n_heads=HEADS)
    ids = tokens(games[:4])[:, :59]
    with torch.no_grad():
        right = mingpt_by_hand.logits(ids, {k: v.double() for k, v in held.items()}, HEADS)
        torch.testing.assert_close(model.double()(ids), right, rtol=1e-9, atol=1e-9)


def test_the_names_and_shapes_of_mingpt(tmp_path: Path) -> None:
    save_as(plain(), tmp_path / "a.ckpt", "mingpt")
    found = {key: tuple(value.shape) for key, value in saved(tmp_path / "a.ckpt").items()}
    state = mingpt_by_hand.random_state(layers=2, width=32, mlp=64, seed=5)
    assert found == {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_transformer_lens_buffers(normalization: Literal["LN", "LNPre"], tmp_path: Path) -> None:
    model = tiny_model(normalization)
    save_as(model, tmp_path / "m.pth", "transformerlens")
    state = saved(tmp_path / "m.pth")
    extra = set(state) - set(model.state_dict())
    assert extra == {f"blocks.{layer}.attn.{x}" for layer in (0, 1) for x in ("mask", "IGNORE")}
    mask = state["blocks.0.attn.mask"]
    assert mask.dtype == torch.bool
    assert torch.equal(mask, torch.ones(59, 59).tril().bool())
    assert float(state["blocks.1.attn.IGNORE"]) == float("-inf")
    assert load_gpt(tmp_path / "m.pth").cfg == model.cfg
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    assert same_weights(load_gpt(tmp_path / "bare.pth"), model)


def test_other_wrappings(tmp_path: Path) -> None:
    model = plain()
    save_as(model, tmp_path / "m.ckpt", "mingpt")
    state = saved(tmp_path / "m.ckpt")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "a.pt")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "b.pt")
    torch.save(state, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "d.safetensors")
    for name in ("a.pt", "b.pt", "c.pt", "d.safetensors"):
        assert same_weights(load_gpt(tmp_path / name, n_heads=HEADS), model), name


def test_a_folder_with_a_config_says_how_many_heads(tmp_path: Path) -> None:
    model = plain()
    save_as(model, tmp_path / "final.pth", "mingpt")
    said: dict[str, Any] = {"n_layers": 2, "d_model": 32, "n_heads": 4, "act_fn": "gelu"}
    write_json(tmp_path / "config.json", said | {"architecture": "mingpt"})
    assert same_weights(load_gpt(tmp_path), model)
    write_json(tmp_path / "config.json", said | {"n_layers": 3})
    with pytest.raises(InputError, match=r"does not fit final\.pth: it says n_layers 3, not 2"):
        load_gpt(tmp_path)
    write_json(tmp_path / "config.json", said | {"act_fn": "relu"})
    with pytest.raises(InputError, match="act_fn 'relu'; Othello-GPT has 'gelu'"):
        load_gpt(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("positional_embedding_type", "rotary", "another model"),
        ("attention_dir", "bidirectional", "another model"),
        ("use_attn_scale", False, "another model"),
        ("parallel_attn_mlp", True, "another model"),
        ("attn_only", True, "another model"),
        ("output_logits_soft_cap", 5.0, "another model"),
        ("scale_attn_by_inverse_layer_idx", True, "another model"),
        ("attn_scale", 1.0, r"attn_scale 1\.0, not 2\.828"),
        ("normalization_type", "RMSPre", "normalization_type RMSPre, not LN"),
        ("d_head", 16, "d_head 16, not 8"),
        ("eps", float("nan"), "eps of a model is a positive number, not nan"),
    ],
)
def test_a_config_of_another_architecture(
    key: str, value: object, text: str, tmp_path: Path
) -> None:
    save_as(plain(), tmp_path / "final.pth", "transformerlens")
    said: dict[str, Any] = {
        "n_heads": 4, "act_fn": "gelu", "normalization_type": "LN", "attn_scale": 8**0.5,
        "use_attn_scale": True, "attn_only": False, "output_logits_soft_cap": -1.0, "eps": 1e-5,
        "positional_embedding_type": "standard", "attention_dir": "causal", "num_experts": None,
    }  # fmt: skip
    write_json(tmp_path / "config.json", said)
    assert same_weights(load_gpt(tmp_path), plain())
    write_json(tmp_path / "config.json", said | {key: value})
    with pytest.raises(InputError, match=text):
        load_gpt(tmp_path)


def test_eps_is_kept_or_refused(tmp_path: Path) -> None:
    model = GPT(replace(tiny_model("LN").cfg, eps=1e-2))
    for form in ("transformerlens", "mingpt"):
        with pytest.raises(InputError, match=r"does not say the eps .* 1e-05 there and 0\.01 here"):
            save_as(model, tmp_path / "m", form)
    save_as(model, tmp_path / "m")
    assert load_gpt(tmp_path / "m").cfg.eps == 1e-2
    save_as(plain(), tmp_path / "final.pth", "transformerlens")
    write_json(tmp_path / "config.json", {"eps": 1e-2})
    found = load_gpt(tmp_path)
    assert found.cfg.eps == found.blocks[0].ln1.eps == 1e-2  # pyright: ignore
    assert same_weights(found, plain())


def test_the_number_of_heads_is_not_guessed(tmp_path: Path) -> None:
    """8 are taken for granted of the published shape alone, not of its width."""
    state = mingpt_by_hand.random_state(layers=1, width=512, mlp=64, seed=0)
    torch.save(state, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="does not say how many heads it has"):
        load_gpt(tmp_path / "a.ckpt")
    assert load_gpt(tmp_path / "a.ckpt", n_heads=16).cfg.n_heads == 16
    save_as(plain(), tmp_path / "m.pth", "transformerlens")
    save_as(plain(), tmp_path / "m")
    for name in ("m.pth", "m"):
        with pytest.raises(InputError, match="has 4 heads a block, not 2"):
            load_gpt(tmp_path / name, n_heads=2)


def test_mingpt_has_no_place_for_what_folding_makes(tmp_path: Path) -> None:
    for model in (processed(plain()), tiny_model("LN"), tiny_model("LNPre")):
        with pytest.raises(InputError, match="minGPT has no place: save it as transformerlens"):
            save_as(model, tmp_path / "m", "mingpt")
    save_as(processed(plain()), tmp_path / "m", "transformerlens")
    for form in ("mingpt", "transformerlens", "othellolens"):
        with pytest.raises(InputError, match="m exists"):
            save_as(plain(), tmp_path / "m", form)  # pyright: ignore
    with pytest.raises(InputError, match="no form 'nonsense': choose one of othellolens"):
        inspect.unwrap(save_as)(plain(), tmp_path / "n", "nonsense")  # pyright: ignore


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_gpt(path, n_heads=HEADS)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("form", ["mingpt", "transformerlens"])
def test_every_misfit_is_listed(form: Any, tmp_path: Path) -> None:
    save_as(plain(), tmp_path / "m.pth", form)
    state = saved(tmp_path / "m.pth")
    names = {
        "mingpt": ("head.weight", "blocks.1.mlp.2.bias", "blocks.0.attn.query.bias"),
        "transformerlens": ("unembed.W_U", "blocks.1.mlp.b_out", "blocks.0.attn.b_Q"),
    }
    head, bias, query = names[form]
    wrong = {key: value for key, value in state.items() if key != head}
    wrong |= {"lora.weight": torch.ones(2), bias: torch.ones(7), query: torch.ones(5)}
    torch.save(wrong, tmp_path / "m.pth")
    for text in (f"{head} is missing", "lora.weight is unknown", rf"{bias} is \[7\], not \[32\]"):
        refused(tmp_path / "m.pth", text)
    refused(tmp_path / "m.pth", rf"{query} is \[5\], not ")
    spoilt = {key: value.clone() for key, value in state.items()}
    spoilt[bias][3], spoilt[head][0, 0] = float("nan"), float("inf")
    torch.save(spoilt, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "NaN or infinite weights in ")
    refused(tmp_path / "m.pth", bias)
    refused(tmp_path / "m.pth", head)
    torch.save(state | {bias: torch.ones(32, dtype=torch.int64)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", f"{bias} holds no real numbers")


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"transformer.wte.weight": torch.ones(50257, 8)}, path)
    refused(path, r"no Othello-GPT: its weights are named transformer\.wte\.weight")
    torch.save({"embed.W_E": torch.ones(50257, 8)}, path)
    refused(path, "has 50257 tokens; Othello-GPT has 61")
    torch.save({"tok_emb.weight": torch.ones(10, 8)}, path)
    refused(path, "has 10 tokens")
    torch.save({"tok_emb.weight": torch.ones(61, 30)}, path)
    refused(path, "d_model 30 is not a multiple of n_heads 4")
    for other in (torch.ones(3), [torch.ones(3)], {}, {"a": 3}, {1: torch.ones(2)}):
        torch.save(other, path)
        refused(path, "named tensors")
    save_as(plain(), tmp_path / "a.ckpt", "mingpt")
    with pytest.raises(
        InputError, match=r"does not say how many heads it has: load it with .*n_heads=8"
    ):
        load_gpt(tmp_path / "a.ckpt")


class Hostile:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("how", ["torch", "old torch", "pickle", "inside", "pickle 3", "pickle 5"])
def test_code_in_a_pickle_is_not_run(how: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "m.ckpt"
    bomb: object = Hostile(trace)
    if how.startswith("pickle"):
        path.write_bytes(pickle.dumps(bomb, int(how.removeprefix("pickle") or 4)))
    elif how == "inside":
        torch.save({"tok_emb.weight": torch.ones(61, 32), "cfg": bomb}, path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=how == "torch")
    refused(path, "holds code or objects beside tensors; nothing of it was run")
    assert not trace.exists()
    pickle.loads(pickle.dumps(bomb))
    assert trace.read_text() == "run"


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.ckpt"
    save_as(plain(), path, "mingpt")
    whole = path.read_bytes()
    for size in (1, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "truncated or no file of weights: fetch it again")
    for data, text in (
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
        (b"\x10\0\0\0\0\0\0\0{}", "truncated or no safetensors"),
        (b"only words", "no file of weights"),
    ):
        path.write_bytes(data)
        refused(path, text)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """torch.load does not look at the checksums of the zip file that it writes."""
    path = tmp_path / "m.pth"
    save_as(plain(), path, "transformerlens")
    whole = bytearray(path.read_bytes())
    place = whole.index(saved(path)["embed.W_E"].numpy().tobytes())
    whole[place + 3] ^= 1
    path.write_bytes(whole)
    torch.load(path, weights_only=True)
    refused(path, "is damaged .* has a wrong checksum\\): fetch it again")


def test_odd_tensors_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    state = plain().state_dict()
    weight = state["embed.W_E"]
    for odd in (
        weight.to_sparse(),
        weight.to("meta"),
        torch.zeros(1, 1).expand(61, 10**12),
    ):
        torch.save({**state, "embed.W_E": odd}, path)
        refused(path, r"embed\.W_E is sparse, quantised or less than it says")
    torch.save({**state, "embed.W_E": weight.to(torch.float8_e4m3fn)}, path)
    assert load_gpt(path).embed.W_E.dtype == torch.float32
    save_as(plain(), tmp_path / "m")
    said = read_json(tmp_path / "m/config.json")
    for key, value in (("d_model", 10**8), ("d_model", 10**12), ("n_layers", 10**6)):
        write_json(tmp_path / "m/config.json", {**said, "shape": {**said["shape"], key: value}})
        with pytest.raises(InputError) as caught:
            load_gpt(tmp_path / "m")
        assert len(str(caught.value)) < 10_000
    (tmp_path / "m/config.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputError, match="is nested too deep|is not JSON"):
        load_gpt(tmp_path / "m")
