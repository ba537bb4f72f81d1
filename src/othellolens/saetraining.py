"""The verb `train-sae`: one sparse autoencoder or transcoder, of any architecture."""

from pathlib import Path
from typing import Annotated

import tyro

from .activations.harvest import Harvest
from .activations.part import Part
from .gpt.parallel import team
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .sae.batch_topk import BatchTopK
from .sae.gated import Gated
from .sae.gated_p_anneal import GatedPAnneal
from .sae.jump_relu import JumpRelu
from .sae.matryoshka import Matryoshka
from .sae.needs import needs
from .sae.p_anneal import PAnneal
from .sae.plan import SAEPlan, SAEStep
from .sae.prolu import ProLU
from .sae.relu import Relu
from .sae.runs import check_new, train_saes
from .sae.topk import TopK
from .sae.training import Member
from .sweeps import source_for
from .terminal import Progress

Architecture = (
    Annotated[BatchTopK, tyro.conf.subcommand("batchtopk")]
    | Annotated[TopK, tyro.conf.subcommand("topk")]
    | Annotated[Matryoshka, tyro.conf.subcommand("matryoshka")]
    | Annotated[JumpRelu, tyro.conf.subcommand("jumprelu")]
    | Annotated[Gated, tyro.conf.subcommand("gated")]
    | Annotated[GatedPAnneal, tyro.conf.subcommand("gated_p_anneal")]
    | Annotated[Relu, tyro.conf.subcommand("relu")]
    | Annotated[PAnneal, tyro.conf.subcommand("p_anneal")]
    | Annotated[ProLU, tyro.conf.subcommand("prolu")]
)


def train_sae(
    out: Path,
    *,
    model: str = "mini",
    site: str = "resid_post.3",
    target: str | None = None,
    skip: bool = False,
    games: str = "50000",
    stored: Path | None = None,
    sae: Architecture = BatchTopK(),  # noqa: B008
    plan: SAEPlan = SAEPlan(),  # noqa: B008
    harvest: Harvest = Harvest(),  # noqa: B008
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    checkpoint_every: int | None = None,
    log_every: int = 50,
    wandb: str | None = None,
) -> None:
    """Train a sparse autoencoder or a transcoder; it never sees a board.

    On several GPUs or machines: torchrun --nproc-per-node 8 --no-python othellolens train-sae ...

    Args:
        out: the run folder; the SAE is written there in SAELens' format.
        model: mini, or the folder of a trained model.
        site: where to read, e.g. resid_post.3.
        target: where to read what is to be rebuilt, e.g. mlp_out.3: makes it a transcoder.
        skip: give the transcoder a linear path beside its features.
        games: a file of games to train on, or how many random ones to make.
        stored: a folder of stored activations to read instead of playing games.
        sae: the architecture with its hyper-parameters.
        plan: how long and how.
        harvest: how the model is read.
        seed: of weights, mixing and random games.
        resume: go on with the training in the run folder.
        device: cpu or cuda; by default a GPU if there is one.
        checkpoint_every: steps between checkpoints; by default a twentieth of the training.
        log_every: steps between lines of log.jsonl.
        wandb: a project of Weights & Biases that gets the log, too (pip install wandb).
    """
    progress = Progress()
    goal = None if target is None else Site.parse(target)
    member = Member("", sae, Site.parse(site), seed, goal, skip)

    def watch(steps: dict[str, SAEStep]) -> None:
        step = steps[""]
        progress("train-sae", step.step, plan.steps, fvu=step.fvu, l0=step.l0, dead=step.dead)

    with team(device) as crew:
        if crew.leads and not resume:
            check_new(out)
        player = load_gpt(model).to(crew.device)
        source = source_for(player, [member], games, stored, plan, harvest, seed)
        part = source if crew.size == 1 else Part(source, crew.rank, crew.size)
        needs([member], part, plan, crew, harvest).check(crew.free)
        train_saes(
            [member],
            part,
            plan,
            out,
            seed=seed,
            resume=resume,
            team=crew,
            harvest=harvest,
            checkpoint_every=checkpoint_every,
            log_every=log_every,
            wandb=wandb,
            watch=watch,
        )
    progress.close()
