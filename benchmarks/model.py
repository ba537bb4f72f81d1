"""`make bench-model`: reading and training beside HookedTransformer and a plain GPT, in one run.

Runs in the environment that has transformer-lens 3.9 beside us. Each way is a process of its own,
since allocator settings and compiled code must not leak; peers run as users run them: in float32
and the default allocator. Machines are shared and noisy: only ratios within one run mean much.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import othellolens as ol
from othellolens.gpt.shape import PRESETS
from othellolens.gpt.train import Trainer

sys.path.append(str(Path(__file__).parent.parent / "tests"))

SITES = {"mini": ol.Site("resid_post", 3), "published": ol.Site("mlp_post", 4)}
GAMES = 64
PLIES = 59


class Plain(nn.Module):
    """A GPT as one writes it today: fused attention, no hooks, one product for q, k and v."""

    def __init__(self, cfg: ol.GPTConfig) -> None:
        super().__init__()
        self.cfg = cfg
        width, wide = cfg.d_model, cfg.d_mlp
        self.tokens = nn.Embedding(cfg.d_vocab, width)
        self.plies = nn.Embedding(cfg.n_ctx, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({
                "ln1": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width),
                "out": nn.Linear(width, width), "ln2": nn.LayerNorm(width),
                "up": nn.Linear(width, wide), "down": nn.Linear(wide, width),
            })
            for _ in range(cfg.n_layers)
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, cfg.d_vocab)

    def forward(self, ids: Tensor, site: ol.Site | None = None) -> Tensor:
        """Logits, or what is found at the site and nothing behind it."""
        x = self.tokens(ids) + self.plies(torch.arange(ids.shape[1]))
        for layer, block in enumerate(self.blocks):
            qkv = block["qkv"](block["ln1"](x)).unflatten(-1, (3, self.cfg.n_heads, -1))
            q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["out"](z.transpose(1, 2).flatten(2))
            post = F.gelu(block["up"](block["ln2"](x)))
            if site == ol.Site("mlp_post", layer):
                return post
            x = x + block["down"](post)
            if site == ol.Site("resid_post", layer):
                return x
        return self.head(self.norm(x))


def hooked(cfg: ol.GPTConfig) -> Any:
    """HookedTransformer of the same shape."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    settings = HookedTransformerConfig(
        n_layers=cfg.n_layers, d_model=cfg.d_model, d_head=cfg.d_head, n_heads=cfg.n_heads,
        d_mlp=cfg.d_mlp, d_vocab=cfg.d_vocab, n_ctx=cfg.n_ctx, act_fn="gelu",
        normalization_type=cfg.normalization,
    )  # fmt: skip
    return HookedTransformer(settings)


def ids_of(games: int) -> Tensor:
    """Games for the model to read."""
    return ol.tokens(ol.random_games(games, seed=0))[:, :PLIES]


# Reading


def read(how: str, size: str, games: int) -> Callable[[], object]:
    """One forward pass of one way to read a site or everything."""
    cfg, site, ids = PRESETS[size], SITES[size], ids_of(games)
    stop = site.layer + 1
    if how.startswith("HookedTransformer"):
        theirs = hooked(cfg).eval()
        if how.endswith("everything"):
            return lambda: theirs.run_with_cache(ids)
        return lambda: theirs.run_with_cache(ids, names_filter=site.hook_name, stop_at_layer=stop)
    if how == "plain GPT":
        plain = Plain(cfg).eval()
        return lambda: plain(ids, site)
    model = ol.GPT(cfg).eval()
    if how == "run_with_cache":
        return lambda: model.run_with_cache(ids, site.hook_name, stop_at_layer=stop)
    ol.keep_memory()
    if how == "everything":
        return lambda: model.run_with_cache(ids)
    precision: Literal["fp32", "bf16"] = "bf16" if "bf16" in how else "fp32"
    compiled = "compiled" in how
    reader = ol.Reader(model, site, precision=precision, compiled=compiled, batch=games)
    return lambda: reader(ids)


# Training


def step(how: str, size: str, games: int) -> Callable[[], object]:
    """One step of training, games included."""
    cfg = PRESETS[size]
    if how == "train-gpt":
        ol.keep_memory()
        plan = ol.GPTPlan(games=games * 1000, batch=games)
        steps = Trainer(ol.GPT(cfg), plan, seed=0, compiled=True).steps()
        return lambda: next(steps)
    parameters, forward = players(how, cfg)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    ids = ol.tokens(ol.random_games(games, seed=0))

    def work() -> float:
        logits = forward(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return work


def players(how: str, cfg: ol.GPTConfig) -> tuple[list[Tensor], Callable[[Tensor], Tensor]]:
    """The weights and the forward pass of a peer."""
    if how == "minGPT":
        from reference.mingpt_by_hand import logits, random_state

        state = random_state(layers=cfg.n_layers, width=cfg.d_model, mlp=cfg.d_mlp, seed=0)
        weights = [x.requires_grad_() for key, x in state.items() if not key.endswith("mask")]
        return weights, lambda ids: logits(ids, state, cfg.n_heads)
    model = hooked(cfg) if how == "HookedTransformer" else Plain(cfg)
    return list(model.parameters()), model


READS = ("HookedTransformer", "plain GPT", "run_with_cache", "Reader", "Reader, bf16")
READS += ("Reader, bf16, compiled",)
CACHES = (("HookedTransformer, everything", 64), ("HookedTransformer, everything", 512))
CACHES += (("everything", 64), ("everything", 512))
STEPS = ("minGPT", "HookedTransformer", "plain GPT", "train-gpt")


def measure(kind: str, how: str, size: str, games: int) -> float:
    """Rows a second, median of nine after two to warm up."""
    with torch.set_grad_enabled(kind == "step"):
        work = (step if kind == "step" else read)(how, size, games)
        times: list[float] = []
        for _ in range(11):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    return games * PLIES / statistics.median(times[2:])


def table(title: str, rows: list[tuple[str, str, str, int]], base: str) -> None:
    """Measure the rows, each in a process of its own, and print ratios to the first of `base`."""
    print(f"\n{title}", flush=True)
    first = 0.0
    for kind, how, size, games in rows:
        command = [sys.executable, __file__, "--one", kind, how, size, str(games)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        speed = float(json.loads(done.stdout.splitlines()[-1]))
        first = first or (speed if how == base else 0.0)
        ratio = f"{speed / first:6.2f} x" if first else ""
        print(f"  {how:32} batch {games:3}  {speed:10,.0f} rows/s  {ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, metavar=("KIND", "HOW", "SIZE", "GAMES"))
    asked = parser.parse_args()
    if asked.one:
        kind, how, size, games = asked.one
        print(json.dumps(measure(kind, how, size, int(games))))
        return
    from importlib.metadata import version

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads,", end=" ")
    print(f"transformer-lens {version('transformer-lens')}; rows are plies")
    for size, site in SITES.items():
        rows = [("read", how, size, GAMES) for how in READS]
        table(f"one site, {size} ({site})", rows, "HookedTransformer")
    caches = [("read", how, "mini", games) for how, games in CACHES]
    table("every activation, mini", caches, "HookedTransformer, everything")
    for size, games in (("mini", 128), ("published", 32)):
        rows = [("step", how, size, games) for how in STEPS]
        table(f"training step, {size}", rows, "HookedTransformer")


if __name__ == "__main__":
    main()
