"""How fast a model learns: one shape, several targets and optimisers, equal games.

    python benchmarks/learning.py --games 96000 --runs legal-muon played-muon legal-adamw
    python benchmarks/learning.py --games 96000 --runs legal-muon legal2-muon legal3-muon

prints legality on 300 held-out games five times along each run. A number behind `legal` is the
weight of legality in the loss (`train-gpt --legality`).
"""

import argparse
import time

from othellolens.gpt.legality import legality
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.train import GPTPlan, Trainer
from othellolens.memory import keep_memory
from othellolens.othello.games import random_games

LR = {"muon": 7e-3, "adamw": 2e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=96_000)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--d-model", type=int, default=160)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--runs", nargs="+", default=["legal-muon", "played-muon"])
    asked = parser.parse_args()
    keep_memory()
    held = random_games(300, seed=1_000_000_000)
    print("run           games   loss    strict  KL      seconds")
    for run in asked.runs:
        target, optimizer = run.split("-")
        weight = float(target.removeprefix("legal") or 1) if target.startswith("legal") else 1.0
        target = target.rstrip("0123456789.")
        lr = asked.lr or LR[optimizer]
        plan = GPTPlan(
            games=asked.games, target=target, legality=weight, optimizer=optimizer, lr=lr
        )
        shape = GPTConfig(asked.layers, asked.d_model, 8, 4 * asked.d_model)
        trainer = Trainer(GPT(shape), plan, seed=0, compiled=True)
        started = time.monotonic()
        for step in trainer.steps():
            if step.step % (plan.steps // 5) == 0:
                trainer.model.eval()
                found = legality(trainer.model, held)
                trainer.model.train()
                print(
                    f"{run:12} {step.games:7,} {step.loss:7.4f} {found.strict_rate():7.2%}"
                    f" {found.kl():7.4f} {time.monotonic() - started:7.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
