"""Put a trained `mini` into the package: half-precision weights, and a card of what they can do.

    python scripts/ship_mini.py runs/mini

Everything on the card is measured on the weights as they are shipped.
"""

import argparse
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from othellolens.gpt.runs import load_gpt, load_gpt_run, save_gpt
from othellolens.gpt.train import GPTPlan
from othellolens.othello.games import random_games
from othellolens.river import ModelCard, model_card
from othellolens.terminal import Progress

GAMES = 20_000
"""Held-out games of the card: with 2,000 the illegal rate is known to a tenth only."""
MINI = Path(__file__).resolve().parent.parent / "src/othellolens/gpt/mini"


def machine() -> str:
    """The processor's name, where the system tells."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()


def history(training: dict[str, Any]) -> list[dict[str, Any]]:
    """The trainings that led here, the first one first: each with its plan and where it began."""
    before = training.get("start")
    if before is None:
        return [training]
    told = {key: before[key] for key in ("wall_seconds", "games", "machine") if key in before}
    *rest, last = history(before["training"])
    return [*rest, last | told, training]


def command(training: dict[str, Any]) -> str:
    """What was typed; options at their defaults are left out."""
    plan, usual = training["plan"], asdict(GPTPlan())
    options = [f"--games {plan['games']}"]
    if training["seed"]:
        options.append(f"--seed {training['seed']}")
    for key in plan:
        if key != "games" and plan[key] != usual[key]:
            options.append(f"--{key.replace('_', '-')} {plan[key]}")
    start = f" --start {Path(training['start']['model']).name}" if "start" in training else ""
    compiled = " --compiled" if training.get("how", {}).get("compiled", True) else ""
    return f"othellolens train-gpt --out runs/mini{start} {' '.join(options)}{compiled}"


def page(facts: dict[str, Any], card: ModelCard) -> str:
    """The card as text."""
    shape = facts["training"]["shape"]
    judged = card.legality
    low, high = judged.interval()
    runs = history(facts["training"] | {key: facts[key] for key in ("wall_seconds", "machine")})
    minutes = sum(run["wall_seconds"] for run in runs) / 60
    lines = [
        "# mini",
        "",
        f"Othello-GPT of {shape['n_layers']} layers, d_model {shape['d_model']},"
        f" {shape['n_heads']} heads, d_mlp {shape['d_mlp']}; weights in float16.",
        "",
        f"* Games seen, each once: {facts['games']}",
        f"* Wall time {minutes:.0f} minutes in all, other work going on beside it",
        "",
        "| training | seed | minutes | machine |",
        "|---|---|---|---|",
        *(
            f"| `{command(run)}` | {run['seed']} | {run['wall_seconds'] / 60:.0f}"
            f" | {run['machine']} |"
            for run in runs
        ),
        "",
        *([facts["note"], ""] if "note" in facts else []),
        f"On the {GAMES:,} random games of seed 1 (`othellolens evaluate mini --games {GAMES}`):",
        "",
        f"* Top-1 illegal rate: strict (illegal for the side to move) {judged.strict_rate():.3%}"
        f" [{low:.3%}, {high:.3%}], lenient (illegal for both sides) {judged.lenient_rate():.3%}",
        f"* KL to the uniform-legal oracle: {judged.kl():.4f} nats a position",
        f"* Marginals without a model: {card.marginals.cell:.2%} of cells,"
        f" {card.marginals.board:.2%} of whole boards",
        "",
        "Linear probe mine / theirs / empty, share of cells and of whole boards right:",
        "",
        "| site | cells | boards | untrained: cells | untrained: boards |",
        "|---|---|---|---|---|",
        *(
            f"| resid_post.{layer} | {a.cell:.2%} | {a.board:.2%} | {b.cell:.2%} | {b.board:.2%} |"
            for layer, (a, b) in enumerate(zip(card.probe, card.floor, strict=True))
        ),
        "",
        "KL to the oracle by ply (ply t predicts move t+1):",
        "",
        " ".join(f"{ply}:{kl:.3f}" for ply, kl in enumerate(judged.kl_by_ply())),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a finished training")
    parser.add_argument("--note", help="what the card says of the training besides")
    asked = parser.parse_args()
    trained, config = load_gpt_run(asked.run)
    facts = {key: config[key] for key in ("training", "games", "wall_seconds")}
    facts["machine"] = machine()
    facts["command"] = command(facts["training"])
    if asked.note:
        facts["note"] = asked.note
    MINI.mkdir(exist_ok=True)
    save_gpt(trained, MINI, half=True, **facts)
    progress = Progress()
    held = random_games(GAMES, seed=1)
    card = model_card(load_gpt("mini"), random_games(30_000, seed=0), held, watch=progress)
    progress.close()
    save_gpt(trained, MINI, half=True, **facts, card=card.to_dict())
    (MINI / "CARD.md").write_text(page(facts, card))


if __name__ == "__main__":
    main()
