"""Put a trained `mini` into the package: half-precision weights, and a card of what they can do.

    python scripts/ship_mini.py runs/mini

Everything on the card is measured on the weights as they are shipped.
"""

import platform
import sys
from pathlib import Path
from typing import Any

from othellolens.artifact import read_json
from othellolens.gpt.runs import load_gpt, load_gpt_run, save_gpt
from othellolens.othello.games import random_games
from othellolens.river import ModelCard, model_card
from othellolens.terminal import Progress

MINI = Path(__file__).resolve().parent.parent / "src/othellolens/gpt/mini"


def machine() -> str:
    """The processor's name, where the system tells."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()


def page(facts: dict[str, Any], card: ModelCard) -> str:
    """The card as text."""
    shape, plan = facts["training"]["shape"], facts["training"]["plan"]
    judged = card.legality
    games = plan["games"] // plan["batch"] * plan["batch"]
    lines = [
        "# mini",
        "",
        f"Othello-GPT of {shape['n_layers']} layers, d_model {shape['d_model']},"
        f" {shape['n_heads']} heads, d_mlp {shape['d_mlp']}; weights in float16.",
        "",
        f"* Command: `{facts['command']}`, seed {facts['training']['seed']}",
        f"* Games seen: {games:,}, each once ({facts['games']})",
        f"* Machine: {facts['machine']}; wall time {facts['wall_seconds'] / 60:.0f} minutes,"
        " other work going on beside it",
        "",
        "On the 2,000 random games of seed 1 (`othellolens evaluate mini`):",
        "",
        f"* Top-1 illegal rate: strict (illegal for the side to move) {judged.strict_rate():.3%},"
        f" lenient (illegal for both sides) {judged.lenient_rate():.3%}",
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
    run = Path(sys.argv[1])
    trained, _ = load_gpt_run(run)
    facts = {
        key: read_json(run / "config.json")[key] for key in ("training", "games", "wall_seconds")
    }
    plan = facts["training"]["plan"]
    facts["machine"] = machine()
    facts["command"] = f"othellolens train-gpt --out runs/mini --games {plan['games']} --compiled"
    MINI.mkdir(exist_ok=True)
    save_gpt(trained, MINI, half=True, **facts)
    progress = Progress()
    held = random_games(2_000, seed=1)
    card = model_card(load_gpt("mini"), random_games(30_000, seed=0), held, watch=progress)
    progress.close()
    save_gpt(trained, MINI, half=True, **facts, card=card.to_dict())
    (MINI / "CARD.md").write_text(page(facts, card))


if __name__ == "__main__":
    main()
