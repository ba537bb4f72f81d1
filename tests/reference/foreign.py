"""SAEs in the files of other libraries, and what those libraries make of a vector, a line each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

D_IN, WIDTH, K = 6, 10, 3


class Foreign(NamedTuple):
    """What was written, and what its own library computes with it."""

    path: Path
    features: Callable[[Tensor], Tensor]
    rebuilt: Callable[[Tensor], Tensor]


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def top(z: Tensor, k: int = K) -> Tensor:
    """The k largest of relu(z), row by row."""
    least = z.relu().topk(k, dim=-1).values[:, -1:]
    return z.relu() * (z >= least)


def dictionary_learning(name: str, folder: Path) -> Foreign:
    """A folder of dictionary_learning 0.1.0 with a class's state dict; decoders are not unit."""
    folder.mkdir(parents=True)
    E, b = numbers(WIDTH, D_IN, seed=1), numbers(WIDTH, seed=2) / 3
    D, c = numbers(D_IN, WIDTH, seed=3), numbers(D_IN, seed=4)
    theta = numbers(WIDTH, seed=5).abs() / 3
    one = torch.tensor(0.7)
    linear = {"encoder.weight": E, "encoder.bias": b, "decoder.weight": D}
    plain = {"W_enc": E.T.contiguous(), "b_enc": b, "W_dec": D.T.contiguous(), "b_dec": c}
    kept = {"k": torch.tensor(K, dtype=torch.int), "threshold": one}

    def z(x: Tensor) -> Tensor:
        return (x - c) @ E.T + b

    def gated(x: Tensor) -> Tensor:
        inner = (x - c) @ E.T
        return (inner + theta > 0) * (inner * (b / 2).exp() + b).relu()

    norm = D.norm(dim=0)
    kinds: dict[str, tuple[dict[str, Tensor], Callable[[Tensor], Tensor], Tensor]] = {
        # Its own loader makes the decoder unit and moves the norm into the features.
        "AutoEncoder": ({**linear, "bias": c}, lambda x: z(x).relu() * norm, D / norm),
        "AutoEncoderNew": ({**linear, "decoder.bias": c}, lambda x: (x @ E.T + b).relu(), D),
        "AutoEncoderTopK": ({**linear, "b_dec": c, **kept}, lambda x: top(z(x)), D),
        "BatchTopKSAE": (
            {**linear, "b_dec": c, **kept},
            lambda x: z(x).relu() * (z(x) > 0.7),
            D,
        ),
        "MatryoshkaBatchTopKSAE": (
            {**plain, **kept, "group_sizes": torch.tensor([2, 3, 5])},
            lambda x: z(x).relu() * (z(x) > 0.7),
            D,
        ),
        "JumpReluAutoEncoder": (
            {**plain, "threshold": theta},
            lambda x: (x @ E.T + b).relu() * (x @ E.T + b > theta),
            D,
        ),
        "GatedAutoEncoder": (
            {
                "encoder.weight": E, "decoder.weight": D, "decoder_bias": c,
                "gate_bias": theta, "mag_bias": b, "r_mag": b / 2,
            },
            gated,
            D,
        ),
    }  # fmt: skip
    state, features, decoder = kinds[name]
    torch.save(state, folder / "ae.pt")
    told = {
        "dict_class": name, "k": K, "layer": 3, "lm_name": "othello",
        "submodule_name": "resid_post_layer_3",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"trainer": told, "buffer": {}}))
    return Foreign(folder, features, lambda x: features(x) @ decoder.T + c)


DICTIONARIES = (
    "AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE",
    "JumpReluAutoEncoder", "GatedAutoEncoder",
)  # fmt: skip


def sparsify(kind: str, folder: Path) -> Foreign:
    """A folder of sparsify 1.3.3: `sae`, `transcoder` or `skip`."""
    folder.mkdir(parents=True)
    E, b = numbers(WIDTH, D_IN, seed=1), numbers(WIDTH, seed=2)
    D, c = numbers(WIDTH, D_IN, seed=3), numbers(D_IN, seed=4)
    S = numbers(D_IN, D_IN, seed=5)
    state = {"encoder.weight": E, "encoder.bias": b, "W_dec": D, "b_dec": c}
    if kind == "skip":
        state["W_skip"] = S
    save_file(state, folder / "sae.safetensors")
    config: dict[str, Any] = {
        "activation": "topk", "expansion_factor": 32, "normalize_decoder": True,
        "num_latents": WIDTH, "k": K, "multi_topk": False, "skip_connection": kind == "skip",
        "transcode": kind != "sae", "d_in": D_IN,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))

    def features(x: Tensor) -> Tensor:
        return top((x - c if kind == "sae" else x) @ E.T + b)

    def rebuilt(x: Tensor) -> Tensor:
        return features(x) @ D + c + (x @ S.T if kind == "skip" else 0)

    return Foreign(folder, features, rebuilt)


def notebook(version: int, folder: Path) -> Foreign:
    """`N.pt` and `N_cfg.json` as the notebook saved them."""
    folder.mkdir(parents=True, exist_ok=True)
    E, b = numbers(D_IN, WIDTH, seed=1), numbers(WIDTH, seed=2)
    D, c = numbers(WIDTH, D_IN, seed=3), numbers(D_IN, seed=4)
    file = folder / f"{version}.pt"
    torch.save({"W_enc": E, "W_dec": D, "b_enc": b, "b_dec": c}, file)
    config = {"site": "mlp_out", "layer": 1, "l1_coeff": 3e-4, "act_size": D_IN, "dict_mult": 8}
    (folder / f"{version}_cfg.json").write_text(json.dumps(config))

    def features(x: Tensor) -> Tensor:
        return ((x - c) @ E + b).relu()

    return Foreign(file, features, lambda x: features(x) @ D + c)


def old_sae_lens(kind: str, folder: Path) -> Foreign:
    """A folder of SAELens before version 6: `standard`, `topk`, `jumprelu` or `scaled`."""
    folder.mkdir(parents=True)
    E, b = numbers(D_IN, WIDTH, seed=1), numbers(WIDTH, seed=2)
    D, c = numbers(WIDTH, D_IN, seed=3), numbers(D_IN, seed=4)
    size, theta = numbers(WIDTH, seed=6).abs(), numbers(WIDTH, seed=5).abs()
    state = {"W_enc": E, "b_enc": b, "W_dec": D, "b_dec": c}
    config: dict[str, Any] = {
        "architecture": "jumprelu" if kind == "jumprelu" else "standard",
        "d_in": D_IN, "d_sae": WIDTH, "dtype": "float32", "model_name": "othello-gpt",
        "hook_name": "blocks.2.hook_resid_post", "hook_layer": 2, "activation_fn_str": "relu",
        "activation_fn_kwargs": {}, "apply_b_dec_to_input": kind != "jumprelu",
        "finetuning_scaling_factor": kind == "scaled", "normalize_activations": "none",
        "context_size": 59, "sae_lens_training_version": "3.9.0",
    }  # fmt: skip
    if kind == "topk":
        config |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    if kind == "scaled":
        state["scaling_factor"] = size
    if kind == "jumprelu":
        state["threshold"] = theta
    save_file(state, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))

    def features(x: Tensor) -> Tensor:
        z = (x if kind == "jumprelu" else x - c) @ E + b
        if kind == "jumprelu":
            return z.relu() * (z > theta)
        return top(z) if kind == "topk" else z.relu()

    scale = size if kind == "scaled" else torch.ones(WIDTH)
    return Foreign(folder, features, lambda x: features(x) * scale @ D + c)
