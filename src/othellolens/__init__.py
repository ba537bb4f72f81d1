"""OthelloLens: Othello-GPT opened up, and judged against exact board truth."""

from . import concepts
from .activations.harvest import Harvest
from .activations.mixing import Mixer
from .activations.reader import Reader
from .activations.rows import Rows, SiteRows, read_rows
from .activations.sources import Played, Source
from .activations.stored import Stored, store_rows, stored_bytes
from .encoder import ICA, PCA, Autoencoder, Encoder, Neurons, RandomDirections
from .errors import InputError
from .evaluation import worldmodel
from .evaluation.counts import Counts, count
from .evaluation.fidelity import Fidelity, fidelity
from .evaluation.judgement import Judgement, judge_fully
from .evaluation.ranks import Ranks, rank
from .evaluation.reconstruction import Reconstruction, reconstruct
from .evaluation.recording import Recording
from .evaluation.scores import Scores, score
from .evaluation.sparse_probing import SparseProbes, sparse_probes
from .evaluation.verdict import Verdict, judge
from .gpt.cache import ActivationCache, logit_lens
from .gpt.checkpoints.forms import save_as
from .gpt.legality import Legality, legality
from .gpt.model import GPT, untrained
from .gpt.processing import (
    center_unembed,
    center_writing_weights,
    fold_layer_norm,
    fold_value_biases,
    processed,
)
from .gpt.runs import load_gpt, train_gpt
from .gpt.shape import GPTConfig
from .gpt.sites import Site
from .gpt.tokens import tokens
from .gpt.train import GPTPlan
from .lens import Lens
from .memory import keep_memory
from .othello import shapes, truth
from .othello.boards import Boards
from .othello.games import Games, IllegalMoveError, random_games
from .othello.records import (
    Meta,
    Records,
    Refusal,
    load_games,
    read_records,
    save_games,
    save_records,
    typed_games,
)
from .othello.shards import Shards, open_shards, write_shards
from .othello.statistics import (
    Census,
    Openings,
    Overlap,
    census,
    openings,
    overlap,
    skewed,
    split,
    turned_to_f5,
)
from .othello.transpositions import Transposition, Transpositions
from .probes.accuracy import marginal_accuracy, probe_accuracies, probe_accuracy
from .probes.facts import FactProbe
from .probes.files import load_probe
from .probes.fit import ProbePlan, ProbeTarget, fit_probe, fit_probes
from .probes.linear import LinearProbe
from .probes.mlp import MLPProbe
from .report.write import write_report
from .runs import load_encoder, load_lens, push_to_hub
from .sae.autoencoder import Recipe, SparseAutoencoder
from .sae.batch_topk import BatchTopK
from .sae.foreign.forms import load_sae
from .sae.gated import Gated
from .sae.gated_p_anneal import GatedPAnneal
from .sae.grid import grid
from .sae.jump_relu import JumpRelu
from .sae.matryoshka import Matryoshka
from .sae.p_anneal import PAnneal
from .sae.plan import SAEPlan, SAEStep
from .sae.prolu import ProLU
from .sae.relu import Relu
from .sae.runs import train_sae, train_saes
from .sae.topk import TopK
from .sae.train import SAETrainer
from .sae.training import Member, Training

__all__ = [
    "GPT",
    "ICA",
    "PCA",
    "ActivationCache",
    "Autoencoder",
    "BatchTopK",
    "Boards",
    "Census",
    "Counts",
    "Encoder",
    "FactProbe",
    "Fidelity",
    "GPTConfig",
    "GPTPlan",
    "Games",
    "Gated",
    "GatedPAnneal",
    "Harvest",
    "IllegalMoveError",
    "InputError",
    "Judgement",
    "JumpRelu",
    "Legality",
    "Lens",
    "LinearProbe",
    "MLPProbe",
    "Matryoshka",
    "Member",
    "Meta",
    "Mixer",
    "Neurons",
    "Openings",
    "Overlap",
    "PAnneal",
    "Played",
    "ProLU",
    "ProbePlan",
    "ProbeTarget",
    "RandomDirections",
    "Ranks",
    "Reader",
    "Recipe",
    "Reconstruction",
    "Recording",
    "Records",
    "Refusal",
    "Relu",
    "Rows",
    "SAEPlan",
    "SAEStep",
    "SAETrainer",
    "Scores",
    "Shards",
    "Site",
    "SiteRows",
    "Source",
    "SparseAutoencoder",
    "SparseProbes",
    "Stored",
    "TopK",
    "Training",
    "Transposition",
    "Transpositions",
    "Verdict",
    "census",
    "center_unembed",
    "center_writing_weights",
    "concepts",
    "count",
    "fidelity",
    "fit_probe",
    "fit_probes",
    "fold_layer_norm",
    "fold_value_biases",
    "grid",
    "judge",
    "judge_fully",
    "keep_memory",
    "legality",
    "load_encoder",
    "load_games",
    "load_gpt",
    "load_lens",
    "load_probe",
    "load_sae",
    "logit_lens",
    "marginal_accuracy",
    "open_shards",
    "openings",
    "overlap",
    "probe_accuracies",
    "probe_accuracy",
    "processed",
    "push_to_hub",
    "random_games",
    "rank",
    "read_records",
    "read_rows",
    "reconstruct",
    "save_as",
    "save_games",
    "save_records",
    "score",
    "shapes",
    "skewed",
    "sparse_probes",
    "split",
    "store_rows",
    "stored_bytes",
    "tokens",
    "train_gpt",
    "train_sae",
    "train_saes",
    "truth",
    "turned_to_f5",
    "typed_games",
    "untrained",
    "worldmodel",
    "write_report",
    "write_shards",
]
