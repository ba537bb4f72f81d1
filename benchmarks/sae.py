"""`make bench-sae`: SAE training steps, sweeps, the whole way from games, beside peers, in one run.

Runs in the environment that has sae-lens, dictionary-learning and sparsify beside us. Each way is a
process of its own, since allocator settings and compiled code must not leak; peers run as users run
them: in float32 and the default allocator. Machines are shared and noisy: only ratios within one
run mean much.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import othellolens as ol
from othellolens.gpt.shape import PRESETS
from othellolens.sae.train import SAETrainer

# dictionary_learning imports nnsight for its buffer of language models, which is not used here.
nnsight = types.ModuleType("nnsight")
nnsight.LanguageModel = object  # type: ignore[attr-defined]
sys.modules.setdefault("nnsight", nnsight)

K = 32
SIZES = {"4096": (512, 4096, 4096), "16384": (512, 16384, 4096), "mini": (256, 1024, 1024)}
"""d_in, width, batch."""


def rows(size: str) -> Tensor:
    """Ready activations."""
    d_in, _, batch = SIZES[size]
    return torch.randn(batch, d_in, generator=torch.Generator().manual_seed(0))


# Peers


def notebook(size: str) -> Callable[[], object]:
    """The 2023 notebook's autoencoder and Adam, from its formulas."""
    d_in, width, _ = SIZES[size]
    W_enc = torch.nn.Parameter(torch.nn.init.kaiming_uniform_(torch.empty(d_in, width)))
    W_dec = torch.nn.Parameter(torch.nn.init.kaiming_uniform_(torch.empty(width, d_in)))
    b_enc, b_dec = (torch.nn.Parameter(torch.zeros(n)) for n in (width, d_in))
    optimizer = torch.optim.Adam([W_enc, W_dec, b_enc, b_dec], lr=1e-4, betas=(0.9, 0.99))
    x = rows(size)

    def step() -> None:
        acts = ((x - b_dec) @ W_enc + b_enc).relu()
        rebuilt = acts @ W_dec + b_dec
        loss = (rebuilt - x).pow(2).sum(-1).mean(0) + 3e-4 * acts.abs().sum()
        loss.backward()
        with torch.no_grad():
            unit = W_dec / W_dec.norm(dim=-1, keepdim=True)
            W_dec.grad -= (W_dec.grad * unit).sum(-1, keepdim=True) * unit
            W_dec.data = unit
        optimizer.step()
        optimizer.zero_grad()

    return step


def dictionary_learning(kind: str, size: str) -> Callable[[], object]:
    """Its trainers' `update`."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.standard import StandardTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    d_in, width, _ = SIZES[size]
    shape: dict[str, Any] = {
        "steps": 10_000, "activation_dim": d_in, "dict_size": width, "layer": 0, "lm_name": "x",
        "device": "cpu",
    }  # fmt: skip
    trainer: Any = {
        "relu": lambda: StandardTrainer(**shape),
        "topk": lambda: TopKTrainer(**shape, k=K),
        "batchtopk": lambda: BatchTopKTrainer(**shape, k=K),
        "jumprelu": lambda: JumpReluTrainer(**shape, target_l0=K),
    }[kind]()
    x, count = rows(size), iter(range(10_000))
    return lambda: trainer.update(next(count), x)


def sae_lens(kind: str, size: str) -> Callable[[], object]:
    """The step of its SAETrainer."""
    from sae_lens import saes
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer as Theirs

    d_in, width, batch = SIZES[size]
    shape: dict[str, Any] = {"d_in": d_in, "d_sae": width, "dtype": "float32", "device": "cpu"}
    theirs: Any = {
        "relu": lambda: saes.StandardTrainingSAE(saes.StandardTrainingSAEConfig(**shape)),
        "topk": lambda: saes.TopKTrainingSAE(saes.TopKTrainingSAEConfig(**shape, k=K)),
        "batchtopk": lambda: saes.BatchTopKTrainingSAE(
            saes.BatchTopKTrainingSAEConfig(**shape, k=K)
        ),
        "jumprelu": lambda: saes.JumpReLUTrainingSAE(saes.JumpReLUTrainingSAEConfig(**shape)),
    }[kind]()
    plan = SAETrainerConfig(
        total_training_samples=batch * 10_000, train_batch_size_samples=batch, device="cpu",
        lr=3e-4, lr_end=3e-5, lr_scheduler_name="constant", lr_warm_up_steps=0, adam_beta1=0.9,
        adam_beta2=0.999, lr_decay_steps=0, n_restart_cycles=1, feature_sampling_window=2000,
        dead_feature_window=1000, autocast=False, n_checkpoints=0, checkpoint_path=None,
        save_final_checkpoint=False, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    x = rows(size)
    trainer = Theirs(cfg=plan, sae=theirs, data_provider=iter([x]))
    return lambda: trainer._train_step(sae=theirs, sae_in=x)


def sparsify(size: str) -> Callable[[], object]:
    """Its SparseCoder with the loss that it trains with (FVU), and Adam."""
    from sparsify import SparseCoder, SparseCoderConfig

    d_in, width, _ = SIZES[size]
    coder = SparseCoder(d_in, SparseCoderConfig(num_latents=width, k=K))
    optimizer = torch.optim.Adam(coder.parameters(), lr=2e-4)
    x = rows(size)

    def step() -> None:
        coder(x).fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        coder.set_decoder_norm_to_unit_norm()

    return step


# Ours


def ours(kind: str, size: str, precision: str, *, few: bool = False) -> Callable[[], object]:
    """`SAETrainer.update`, metrics included; with `few`, K features on, as later in a training."""
    ol.keep_memory()
    d_in, width, batch = SIZES[size]
    recipe: ol.Recipe = {
        "relu": lambda: ol.Relu(width),
        "topk": lambda: ol.TopK(width, k=K),
        "batchtopk": lambda: ol.BatchTopK(width, k=K),
        "jumprelu": lambda: ol.JumpRelu(width, l0=K),
    }[kind]()
    plan = ol.SAEPlan(rows=batch * 10_000, batch=batch, precision=precision)
    trainer = SAETrainer(recipe, d_in, plan)
    x, at = rows(size), torch.zeros(batch, 2, dtype=torch.int32)
    if few:
        with torch.no_grad():
            z = trainer.sae.pre_activations(x[:256]).flatten()
            trainer.sae.b_enc -= z.kthvalue(len(z) - 256 * K).values  # pyright: ignore
    return lambda: trainer.update(at, x)


def step(how: str, kind: str, size: str) -> Callable[[], object]:
    """One step of one way."""
    if how == "notebook":
        return notebook(size)
    if how == "sparsify":
        return sparsify(size)
    if how.startswith("ours"):
        return ours(kind, size, "bf16" if "bf16" in how else "fp32", few=f"{K} on" in how)
    return (dictionary_learning if how == "dictionary_learning" else sae_lens)(kind, size)


# A sweep, and the whole way


def sweep(members: int, seconds: float) -> float:
    """Rows a second of so many TopK SAEs of `mini`, the model's runs included."""
    ol.keep_memory()
    model, site = ol.load_gpt("mini"), ol.Site("resid_post", 3)
    learning = [
        ol.Member(str(seed), ol.TopK(1024, k=K), site, seed=seed) for seed in range(members)
    ]
    source = ol.Played(model, site, ol.random_games(8192, seed=0), window=2048)
    training = ol.Training(learning, source, ol.SAEPlan(rows=10**9, window=2048))
    return _rate(training.steps(), 1024, _window(source), seconds)


def whole(how: str, size: str, seconds: float) -> float:
    """Rows a second from games to weights: harvest and step."""
    cfg = PRESETS["mini" if size == "mini" else "published"]
    model, layer = ol.GPT(cfg).eval(), 3
    site, games = ol.Site("resid_post", layer), ol.random_games(8192, seed=0)
    batch = SIZES[size][2]
    if how == "notebook":
        learn = notebook(size)
        hook = site.hook_name

        def loop() -> Any:
            ids, first = ol.tokens(games)[:, :59], 0
            while True:
                part = ids[first % 8192 : first % 8192 + batch // 59]
                with torch.no_grad():
                    _, cache = model.run_with_cache(part, stop_at_layer=layer + 1)
                assert cache[hook].shape[-1] == cfg.d_model
                yield learn()
                first += batch // 59

        return _rate(loop(), batch, batch, seconds)
    ol.keep_memory()
    bf16 = how.endswith("bf16")
    source = ol.Played(
        model, site, games, window=4096, precision="bf16" if bf16 else "fp32", compiled=bf16
    )
    plan = ol.SAEPlan(rows=10**9, batch=batch, precision="bf16" if bf16 else "fp32")
    member = ol.Member("x", ol.TopK(SIZES[size][1], k=K), site)
    return _rate(ol.Training([member], source, plan).steps(), batch, _window(source), seconds)


def _window(source: ol.Played) -> float:
    """Mean rows of a window; they are nearly alike."""
    return sum(source.rows_in(number) for number in range(source.windows)) / source.windows


def _rate(steps: Any, batch: int, window: float, seconds: float) -> float:
    """Rows a second over whole windows of rows, so that each that is used is harvested in the time.

    The model runs in the step that takes the first row of a window: the clock starts behind such a
    step and stops behind another.
    """
    done, read = 2, 0
    for _ in range(done):
        next(steps)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        read += 1
        behind = int(read * window) // batch + 2
        for _ in range(behind - done):
            next(steps)
        done = behind
    return batch * (done - 2) / (time.perf_counter() - started)


def measure(what: str, how: str, kind: str, size: str) -> float:
    """Rows a second; of a step the median of seven after two to warm up."""
    if what == "sweep":
        return sweep(int(kind), 20)
    if what == "whole":
        return whole(how, size, 20)
    work, times = step(how, kind, size), list[float]()
    for _ in range(9):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return SIZES[size][2] / statistics.median(times[2:])


def run(what: str, how: str, kind: str, size: str) -> float:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", what, how, kind, size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def rate(size: str) -> float:
    """FLOP/s of the encoder's product in bfloat16."""
    d_in, width, _ = SIZES[size]
    x, W = rows(size).bfloat16(), torch.randn(d_in, width).bfloat16()
    times: list[float] = []
    for _ in range(9):
        started = time.perf_counter()
        x @ W
        times.append(time.perf_counter() - started)
    return 2 * x.numel() * width / statistics.median(times[2:])


def steps(size: str, kinds: tuple[str, ...]) -> None:
    """A table of training steps."""
    d_in, width, batch = SIZES[size]
    print(f"\ntraining step, d_in {d_in}, width {width}, batch {batch}; rows/s", end="; ")
    print(f"a product in bfloat16: {rate(size) / 1e9:.0f} GFLOP/s", flush=True)
    for kind in kinds:
        peers = ["dictionary_learning", "sae_lens"]
        peers += ["notebook"] if kind == "relu" else ["sparsify"] if kind == "topk" else []
        ways = ["ours", "ours, bf16"]
        ways += [f"{way}, {K} on" for way in ways] if kind == "relu" else []
        speeds = {how: run("step", how, kind, size) for how in [*peers, *ways]}
        print(f"  {kind}")
        for how, speed in speeds.items():
            beside = "  ".join(f"{speed / speeds[peer]:5.1f} x {peer}" for peer in peers)
            print(f"    {how:20} {speed:9,.0f}  {beside if how.startswith('ours') else ''}")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, metavar=("WHAT", "HOW", "KIND", "SIZE"))
    parser.add_argument("--quick", action="store_true", help="width 4,096 and mini's alone")
    parser.add_argument("--steps", nargs=2, metavar=("SIZE", "KIND"), help="that table alone")
    parser.add_argument(
        "--ways", action="store_true", help="the sweep and the ways from games alone"
    )
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(*asked.one)))
        return
    from importlib.metadata import version

    peers = ("sae-lens", "dictionary-learning", "eai-sparsify")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads;", end=" ")
    print(", ".join(f"{peer} {version(peer)}" for peer in peers))
    if asked.steps:
        steps(asked.steps[0], (asked.steps[1],))
        return
    kinds = ("relu", "topk", "batchtopk", "jumprelu")
    sizes = () if asked.ways else ("4096", "mini") if asked.quick else ("4096", "16384", "mini")
    for size in sizes:
        steps(size, kinds if size != "16384" else kinds[:2])
    one, many = run("sweep", "", "1", "mini"), run("sweep", "", "16", "mini")
    print("\nsweep over one stream of mini, TopK, width 1024, the model's runs included")
    print(f"  1 SAE    {one:9,.0f} rows/s")
    print(f"  16 SAEs  {many:9,.0f} rows/s: {one / many / 16:.2f} x the time of 16 runs")
    print("\nfrom games to weights, TopK (the notebook's loop: ReLU, unmixed, every site cached)")
    for size in ("mini", "4096"):
        base = run("whole", "notebook", "", size)
        print(f"  {'mini' if size == 'mini' else 'published'}: the notebook {base:,.0f} rows/s")
        for how in ("ours", "ours, bf16"):
            speed = run("whole", how, "", size)
            print(f"    {how:12} {speed:9,.0f} rows/s  {speed / base:5.1f} x")


if __name__ == "__main__":
    main()
