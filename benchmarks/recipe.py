"""What a training would take here: measured steps, FLOPs, and the share of the matrix rate.

    python benchmarks/recipe.py --size published --batch 1024 --steps 50 --games 20000000

Model FLOPs are those of the products alone, forward and twice that backward (Kaplan et al. 2020,
appendix B, https://arxiv.org/abs/2001.08361), attention included, nothing recomputed.
"""

import argparse
import statistics
import time

import torch

import othellolens as ol
from othellolens.gpt.parallel import team
from othellolens.gpt.shape import PRESETS
from othellolens.gpt.train import Trainer

PLIES = 59


def flops_a_ply(cfg: ol.GPTConfig) -> float:
    """Of one ply of training: 6 a weight of a product, and the two products of attention."""
    block = 4 * cfg.d_model**2 + 2 * cfg.d_model * cfg.d_mlp
    weights = cfg.n_layers * block + cfg.d_model * cfg.d_vocab
    return 6 * weights + 12 * cfg.n_layers * cfg.d_model * PLIES


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large bfloat16 product, the best of several."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(10):
        wait(device)
        started = time.perf_counter()
        for _ in range(5):
            a @ b
        wait(device)
        best = max(best, 5 * 2 * size**3 / (time.perf_counter() - started))
    return best


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(PRESETS), default="mini")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--games", type=int, default=20_000_000)
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--device")
    asked = parser.parse_args()
    ol.keep_memory()
    cfg = PRESETS[asked.size]
    with team(asked.device) as crew:
        rate = matrix_rate(crew.device)
        plan = ol.GPTPlan(games=asked.games, batch=asked.batch, optimizer=asked.optimizer)
        steps = Trainer(ol.GPT(cfg), plan, seed=0, compiled=True, team=crew).steps()
        for _ in range(3):
            next(steps)
        times: list[float] = []
        for _ in range(asked.steps):
            started = time.perf_counter()
            next(steps)  # it ends with the loss, so with the device at rest
            times.append(time.perf_counter() - started)
        name = torch.cuda.get_device_name() if crew.device.type == "cuda" else "CPU"
    if not crew.leads:
        return
    second, rate = statistics.median(times), rate * crew.size
    work = flops_a_ply(cfg) * PLIES * asked.batch
    speed = asked.batch / second
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{asked.size}: {work / 1e12:.3f} TFLOP a step of {asked.batch} games")
    print(f"step: {second * 1e3:.1f} ms, {speed:,.0f} games/s, {work / second / 1e12:.2f} TFLOP/s")
    print(
        f"large bf16 product: {rate / 1e12:.2f} TFLOP/s on {crew.size} of them; share reached:"
        f" {work / second / rate:.1%}"
    )
    print(f"{asked.games:,} games: {asked.games / speed / 60:,.1f} minutes")


if __name__ == "__main__":
    main()
