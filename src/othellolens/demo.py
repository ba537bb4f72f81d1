"""The demo: the whole river at a size that a laptop manages in minutes."""

import time
from pathlib import Path

from .artifact import new_folder, refuse_existing, write_json
from .gpt.legality import legality
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .lens import Lens
from .othello.games import random_games
from .probes.fit import ProbePlan
from .report.write import write_report
from .river import Contest, baselines, judge_all, row, train_contender
from .sae.batch_topk import BatchTopK
from .sae.plan import SAEPlan
from .terminal import Progress, say, table

SITE = Site("resid_post", 3)
RECIPE = BatchTopK(width=512, k=32)
RATE = 8e-3
"""Learning rate of the SAEs: more than the default, since there is little time to learn."""
RESULT = "demo.json"


def demo(
    out: Path = Path("demo"),
    *,
    train: int = 35_000,
    rows: int = 2_000_000,
    held: int = 1_000,
    seed: int = 0,
    replace: bool = False,
) -> None:
    """Games -> mini -> SAE -> judge -> report: prints one table and where the report is.

    Args:
        out: the folder to write.
        train: random games to train SAEs and probe on.
        rows: activation vectors to train each SAE on.
        held: held-out random games to judge and show.
        seed: of games, weights and mixing.
        replace: replace a demo that is there already.
    """
    marker = RESULT if replace else None
    refuse_existing(out, unless=marker)
    started, progress = time.monotonic(), Progress()
    model = load_gpt("mini")
    games, test = random_games(train, seed=seed), random_games(held, seed=seed + 1)
    judged = legality(model, test)
    say(f"mini plays {judged.strict_rate():.2%} illegal top-1 moves in {held} held-out games")
    contest = Contest(model, SITE, games, test, seed, progress)
    plan = SAEPlan(rows=rows, window=2048, lr=RATE)
    probe = ProbePlan(rows=rows // 2)
    sae = train_contender(contest, RECIPE, plan, "SAE")
    found = list(
        judge_all(
            contest,
            iter([("SAE", Lens(model, SITE, sae)), *baselines(contest, RECIPE, plan, probe)]),
        )
    )
    summary = [row(name, verdict) for name, _, verdict, _ in found]
    _, lens, _, scores = found[0]
    with new_folder(out, replace=marker) as folder:
        sae.save(folder / "sae")
        write_report(folder / "report", lens, scores, None, test, summary=summary, watch=progress)
        write_json(folder / RESULT, {"illegal": judged.strict_rate(), "table": summary})
    progress.close()
    say(table(summary))
    say(
        f"{time.monotonic() - started:.0f} s; open {(out / 'report/index.html').resolve().as_uri()}"
    )
