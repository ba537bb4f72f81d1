"""The same weights in the TransformerLens that is installed.

Up to 3.x the library has HookedTransformer; 4.0 took it away and has TransformerBridge. Its native
form reads HookedTransformer's state dicts, but keeps the pattern in place of the attention scores
and no result of each head; a bridge over a GPT-2 of Hugging Face keeps everything, but has no bias
of the unembedding. So both are compared.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import othellolens as ol

VERSION = version("transformer-lens")
HOOKED = VERSION.startswith("3.")
KINDS = ("HookedTransformer",) if HOOKED else ("native bridge", "GPT-2 bridge")


def config(cfg: ol.GPTConfig) -> dict[str, Any]:
    """Our shape in their words."""
    return {
        "n_layers": cfg.n_layers,
        "d_model": cfg.d_model,
        "d_head": cfg.d_head,
        "n_heads": cfg.n_heads,
        "d_mlp": cfg.d_mlp,
        "d_vocab": cfg.d_vocab,
        "n_ctx": cfg.n_ctx,
        "act_fn": "gelu",
        "normalization_type": cfg.normalization,
    }


def peer(kind: str, model: ol.GPT, folder: Path) -> Any:
    """A model of theirs that has loaded our weights, strictly."""
    path = folder / "ours.pth"
    ol.save_as(model, path, "transformerlens")
    state = torch.load(path, weights_only=True)
    path.unlink()
    if kind == "GPT-2 bridge":
        return gpt2(model.cfg, state, folder / "gpt2").eval()
    return (hooked if HOOKED else native)(model.cfg, state).eval()


def hooked(cfg: ol.GPTConfig, state: dict[str, Tensor]) -> Any:
    """HookedTransformer, which keeps `hook_result` only where it is told to."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    theirs = HookedTransformer(HookedTransformerConfig(**config(cfg), use_attn_result=True))
    theirs.load_state_dict(state, strict=True)
    return theirs


def native(cfg: ol.GPTConfig, state: dict[str, Tensor]) -> Any:
    """TransformerBridge in its native form, by the converter that it has for HookedTransformer."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native import boot
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    settings = TransformerBridgeConfig(
        **config(cfg),
        attn_only=False,
        positional_embedding_type="standard",
        architecture="TransformerLensNative",
    )
    theirs = boot(settings, tokenizer=None, device="cpu", dtype=torch.float32, model_name="ours")
    weights = {key: x for key, x in state.items() if not key.endswith((".mask", ".IGNORE"))}
    theirs.load_state_dict(convert_tl_checkpoint(weights, settings), strict=True)
    return theirs


def gpt2(cfg: ol.GPTConfig, state: dict[str, Tensor], folder: Path) -> Any:
    """TransformerBridge over a GPT-2 of Hugging Face, which is written and loaded from disk."""
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    assert not state["unembed.b_U"].any(), "GPT-2 has none"
    settings = GPT2Config(
        vocab_size=cfg.d_vocab, n_positions=cfg.n_ctx, n_embd=cfg.d_model, n_layer=cfg.n_layers,
        n_head=cfg.n_heads, n_inner=cfg.d_mlp, layer_norm_epsilon=cfg.eps,
        activation_function="gelu", attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    player = GPT2LMHeadModel(settings)
    player.load_state_dict(as_gpt2(cfg, state), strict=True)
    player.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({str(i): i for i in range(61)}, unk_token="0"))
    marks = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "0")
    PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
    theirs = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    theirs.set_use_attn_result(True)
    return theirs


def as_gpt2(cfg: ol.GPTConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under GPT-2's names; what LNPre does not have is 1 and 0."""
    one, none = torch.ones(cfg.d_model), torch.zeros(cfg.d_model)
    made = {
        "transformer.wte.weight": state["embed.W_E"],
        "transformer.wpe.weight": state["pos_embed.W_pos"],
        "lm_head.weight": state["unembed.W_U"].T,
    }
    norms = {"transformer.ln_f": "ln_final"}
    for layer in range(cfg.n_layers):
        at, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        norms |= {f"{at}.ln_{n}": f"{ours}.ln{n}" for n in (1, 2)}
        attn = {name: state[f"{ours}.attn.{name}"] for name in ("W_Q", "W_K", "W_V", "W_O")}
        side = [attn[name].permute(1, 0, 2).flatten(1) for name in ("W_Q", "W_K", "W_V")]
        bias = [state[f"{ours}.attn.{name}"].flatten() for name in ("b_Q", "b_K", "b_V")]
        made |= {
            f"{at}.attn.c_attn.weight": torch.cat(side, 1),
            f"{at}.attn.c_attn.bias": torch.cat(bias),
            f"{at}.attn.c_proj.weight": attn["W_O"].flatten(0, 1),
            f"{at}.attn.c_proj.bias": state[f"{ours}.attn.b_O"],
        }
        for name, hf in (("in", "c_fc"), ("out", "c_proj")):
            made[f"{at}.mlp.{hf}.weight"] = state[f"{ours}.mlp.W_{name}"]
            made[f"{at}.mlp.{hf}.bias"] = state[f"{ours}.mlp.b_{name}"]
    for hf, ours in norms.items():
        made[f"{hf}.weight"] = state.get(f"{ours}.w", one)
        made[f"{hf}.bias"] = state.get(f"{ours}.b", none)
    return made


def weights_of(theirs: Any) -> dict[str, Tensor]:
    """Their weights under HookedTransformer's names."""
    found = theirs.state_dict() if HOOKED else theirs.tl_parameters()
    return {key: value.detach().clone() for key, value in found.items()}


def missing(kind: str, name: str) -> bool:
    """Whether a hook point of ours has no counterpart there."""
    return kind == "native bridge" and name.endswith(("hook_result", "hook_attn_scores"))
