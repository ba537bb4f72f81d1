"""The command line: one function a verb; options are made from their signatures."""

import errno
import os
import re
import sys
import warnings
import webbrowser
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from .artifact import is_full, refuse_existing
from .causaltests import causal
from .conceptslist import concepts
from .demo import demo
from .doctor import examine
from .editing import intervene_verb
from .errors import InputError
from .evaluation.verdict import judge
from .gamefiles import games
from .gpt.runs import load_gpt_run, train_gpt
from .gpt.shape import PRESETS
from .gpt.train import GPTPlan
from .leaderboards import leaderboard
from .lens import Lens
from .memory import keep_memory
from .neuronlooks import neurons
from .othello.games import Games, random_games
from .othello.records import load_games, to_text, typed_games
from .passtest import pass_test
from .patches import patch_verb
from .probes.fit import ProbePlan
from .probing import probe_layers, verb_fit_probe
from .publishedscores import evaluate_as_published
from .report.write import MARKER, write_report
from .river import Contest, ModelCard, baselines, judge_all, model_card, row
from .runs import HELD_SEED, apart, games_of, is_model, load_lens
from .sae.autoencoder import Recipe, SparseAutoencoder
from .sae.batch_topk import BatchTopK
from .sae.plan import SAEPlan
from .saetraining import train_sae as verb_train_sae
from .sparseprobes import sparse_probe
from .sweeps import sweep
from .terminal import Progress, check_result_file, say, table, write_result
from .tracing import trace_verb
from .worldtests import worldmodel

Run = Annotated[Path, tyro.conf.Positional]


def verb_train_gpt(
    out: Path,
    *,
    size: Literal["mini", "published"] = "mini",
    plan: GPTPlan = GPTPlan(),  # noqa: B008
    seed: int = 0,
    start: str | None = None,
    resume: bool = False,
    compiled: bool = False,
    device: str | None = None,
    log_every: int = 50,
    judge_every: int = 1000,
    wandb: str | None = None,
) -> None:
    """Train Othello-GPT on random games; checkpoints as it goes.

    On several GPUs or machines: torchrun --nproc-per-node 8 --no-python othellolens train-gpt ...

    Args:
        out: the run folder.
        size: shape of the model.
        plan: how long and how.
        seed: of the weights and of the games.
        start: a model of this size whose weights to begin with: mini, or the folder of one.
        resume: go on with the training in the run folder.
        compiled: use torch.compile (needs a C++ compiler).
        device: cpu or cuda; by default a GPU if there is one.
        log_every: steps between lines of log.jsonl.
        judge_every: steps between judgements on 500 held-out games, in log.jsonl; 0 for none.
        wandb: a project of Weights & Biases that gets the log, too (pip install wandb).
    """
    progress, total = Progress(), plan.steps * plan.batch
    train_gpt(
        PRESETS[size],
        plan,
        out,
        seed=seed,
        start=start,
        resume=resume,
        compiled=compiled,
        device=device,
        log_every=log_every,
        judge_every=judge_every,
        wandb=wandb,
        watch=lambda step: progress("train-gpt", step.games, total, loss=round(step.loss, 4)),
    )
    progress.close()


def evaluate(
    run: Run,
    *,
    model: str | None = None,
    site: str | None = None,
    games: str = "2000",
    alone: bool = False,
    protocol: Literal["ours", "boardgameeval"] = "ours",
    probe: ProbePlan = ProbePlan(),  # noqa: B008
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Judge an SAE or a probe against exact board truth, beside floors and ceilings; or a model.

    Args:
        run: folder of an SAE (of other libraries, too), a probe or a model; user/repo:folder for an
            SAE on the hub; any name of a model that `load_gpt` takes: "mini" is the one that ships.
        model: of an SAE or a probe, where its folder does not say it, or another.
        site: where to read, likewise.
        games: a file of held-out games, or how many random ones to make.
        alone: leave out the baselines.
        protocol: boardgameeval scores an SAE, a probe, or "oracle" (features that are the truth)
            as Karvonen et al. 2024 coded it, faults included, beside the corrected scores.
        probe: how the probe that is the ceiling is fitted.
        seed: of the baselines.
        json: file for the result ("-": standard output).
    """
    if protocol == "boardgameeval":
        evaluate_as_published(run, model=model, site=site, games=games, json=json)
        return
    held, progress = games_of(games, HELD_SEED), Progress()
    if is_model(run):
        if alone or model is not None or site is not None:
            raise InputError(
                f"{run} is a model: --alone, --model and --site are for SAEs and probes"
            )
        judged, config = load_gpt_run(run if run.exists() else str(run))
        apart(Games(held.moves[:0], str(config.get("games", ""))), held)
        fit, held = apart(random_games(30_000, seed=seed), held)
        card = model_card(judged, fit, held, plan=probe, watch=progress)
        progress.close()
        say(_card_text(card))
        write_result(json, card.to_dict())
        return
    lens = load_lens(run, model=model, site=site)
    trained_on = str(lens.encoder.metadata.get("games", ""))
    apart(Games(held.moves[:0], trained_on), held)
    fit, held = apart(random_games(50_000, seed=seed), held)
    contest = Contest(lens.model, lens.site, fit, held, seed, progress)
    others = () if alone else baselines(contest, *_effort(lens), probe)
    rows: list[dict[str, object]] = []
    shown: list[dict[str, object]] = []
    for name, _, verdict, _ in judge_all(contest, iter([(str(run), lens), *others])):
        rows.append({"encoder": name, **asdict(verdict)})
        shown.append(row(name, verdict))
    progress.close()
    say(table(shown))
    write_result(json, rows)


def report(
    run: Run,
    *,
    out: Path,
    model: str | None = None,
    site: str | None = None,
    games: str = "1000",
    replace: bool = False,
) -> None:
    """Write pages with boards for every feature of an SAE or probe; they open from disk.

    Args:
        run: folder of an SAE (of other libraries, too) or a probe; user/repo:folder for an SAE on
            the hub.
        out: the folder to write.
        model: where the folder does not say it, or another.
        site: where to read, likewise.
        games: a file of held-out games, or how many random ones to make.
        replace: replace a report that is there already.
    """
    refuse_existing(out, unless=MARKER if replace else None)
    held, progress, lens = (
        games_of(games, HELD_SEED),
        Progress(),
        load_lens(run, model=model, site=site),
    )
    _, scores = judge(lens, held, watch=partial(progress, "judging"))
    write_report(out, lens, scores, None, held, replace=replace, watch=progress)
    progress.close()
    say(f"open {(out / 'index.html').resolve().as_uri()}")


def show(what: Run, *, game: int = 0, ply: int | None = None) -> None:
    """Open a report in the browser, or draw a position of a game.

    Args:
        what: a report's folder, a file of games, or moves as players write them ("f5d6c3").
        game: which game of the file, counted from 0.
        ply: the move after which to draw, counted from 0; by default the last.
    """
    if what.is_dir():
        page = (what / "index.html").resolve()
        if not page.is_file():
            raise InputError(f"{what} holds no index.html: name a report's folder")
        say(f"open {page.as_uri()}")
        webbrowser.open(page.as_uri())
        return
    if not what.is_file() and re.search(r"[/\\]|\.\w+$", str(what)):
        raise InputError(f"there is no file {what}, and it is no moves such as f5d6c3")
    played = load_games(what) if what.is_file() else typed_games(str(what))
    if not 0 <= game < len(played):
        raise InputError(f"game {game}: there are {len(played)}, counted from 0")
    boards = played[game : game + 1].replay()
    row = len(boards) - 1 if ply is None else ply
    if not 0 <= row < len(boards):
        raise InputError(f"ply {row}: game {game} has {len(boards)} moves, counted from 0")
    say(f"{to_text(played[game : game + 1])[: 2 * row + 2]}\n{boards.text(row)}")


def doctor() -> None:
    """Check the rules and the notations, and print versions and device."""
    findings = list(examine())
    for finding in findings:
        say(f"{'ok ' if finding.good else 'BAD'} {finding.what}: {finding.found}")
    if not all(finding.good for finding in findings):
        raise SystemExit(1)


VERBS: dict[str, Callable[..., None]] = {
    "causal": causal,
    "concepts": concepts,
    "demo": demo,
    "doctor": doctor,
    "evaluate": evaluate,
    "fit-probe": verb_fit_probe,
    "games": games,
    "intervene": intervene_verb,
    "leaderboard": leaderboard,
    "neurons": neurons,
    "pass-test": pass_test,
    "patch": patch_verb,
    "probe": probe_layers,
    "report": report,
    "show": show,
    "sparse-probe": sparse_probe,
    "sweep": sweep,
    "trace": trace_verb,
    "train-gpt": verb_train_gpt,
    "train-sae": verb_train_sae,
    "worldmodel": worldmodel,
}


_ITS_USERS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT,
    errno.ENAMETOOLONG, errno.EEXIST,
)  # fmt: skip
"""What the system says where a path is to blame."""


def main(args: list[str] | None = None) -> None:
    """Run a verb. Exit status 0: done; 2: bad input, one line on standard error; 1: our failure."""
    keep_memory()
    warnings.showwarning = _warn
    try:
        check_result_file(sys.argv[1:] if args is None else args)
        tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="othellolens",
            description="Open up Othello-GPT, and judge what is found against exact board truth.",
            args=args,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
    except InputError as error:
        tqdm.write(f"othellolens: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        tqdm.write(
            "\nothellolens: stopped; a run folder is kept, and --resume goes on there",
            file=sys.stderr,
        )
        raise SystemExit(130) from None
    except BrokenPipeError:  # whoever read the output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        if not is_full(error) and (error.errno not in _ITS_USERS or not error.filename):
            raise
        what = f"{error.filename}: {error.strerror}: choose another place"
        if is_full(error):
            where = f" ({error.filename})" if error.filename else ""
            what = f"the disk is full{where}: make room, say it again"
        tqdm.write(f"othellolens: {what}", file=sys.stderr)
        raise SystemExit(2) from None


def _warn(message: Warning | str, *_: object) -> None:
    tqdm.write(f"othellolens: {message}", file=sys.stderr)


def _effort(lens: Lens) -> tuple[Recipe, SAEPlan]:
    """What the SAE of the untrained model gets: the same as the SAE that is judged."""
    if not isinstance(lens.encoder, SparseAutoencoder):
        return BatchTopK(), SAEPlan()
    plan = lens.encoder.metadata.get("plan")
    return lens.encoder.recipe, SAEPlan(**plan) if plan else SAEPlan()


def _card_text(card: ModelCard) -> str:
    judged = card.legality
    low, high = judged.interval()
    rows: list[dict[str, object]] = [
        {
            "layer": f"resid_post.{layer}",
            "cells": found.cell,
            "boards": found.board,
            "untrained cells": floor.cell,
            "untrained boards": floor.board,
        }
        for layer, (found, floor) in enumerate(zip(card.probe, card.floor, strict=True))
    ]
    head = (
        f"top-1 illegal: strict {judged.strict_rate():.3%} [{low:.3%}, {high:.3%}],"
        f" lenient {judged.lenient_rate():.3%}\n"
        f"KL to the uniform-legal oracle: {judged.kl():.4f} nats\n"
        f"marginals without a model: cells {card.marginals.cell:.4f},"
        f" boards {card.marginals.board:.4f}"
    )
    return f"{head}\n{table(rows)}"
