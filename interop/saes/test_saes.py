"""Our SAEs in sae-lens, and those of sae-lens, dictionary_learning and sparsify in ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import note
from reference.recipes import RECIPES
from reference.tiny import tiny_model
from sae_lens import SAE
from torch import Tensor

import othellolens as ol
from othellolens.sae.autoencoder import SparseAutoencoder

D_IN, WIDTH, D_OUT, K = 8, 24, 6, 3
KINDS: dict[str, dict[str, Any]] = {
    "sae": {}, "transcoder": {"d_out": D_OUT}, "skip": {"d_out": D_OUT, "skip": True}
}  # fmt: skip
SAELENS_TRANSCODERS = ("relu", "p-anneal", "batch-topk", "matryoshka", "jumprelu", "prolu")
"""Those whose transcoders SAELens has a class for: it has none for gated and TopK ones."""


def rows(d_in: int = D_IN, count: int = 300) -> Tensor:
    return torch.randn(count, d_in, generator=torch.Generator().manual_seed(7))


def drawn(sae: SparseAutoencoder) -> SparseAutoencoder:
    """Calibrated, with no number left at 0."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in (*sae.offsets, "b_dec", "W_skip", "W_enc"):
            tensor = getattr(sae, name, None)
            if tensor is not None:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    sae.calibrate(rows())
    return sae.eval()


# Ours in theirs


@pytest.mark.parametrize("name", RECIPES)
def test_sae_lens_loads_ours(name: str, tmp_path: Path) -> None:
    ours = drawn(RECIPES[name].build(D_IN, seed=1))
    compare_with_sae_lens(f"ours -> sae-lens  {name}", ours, tmp_path)


@pytest.mark.parametrize("kind", ["transcoder", "skip"])
@pytest.mark.parametrize("name", SAELENS_TRANSCODERS)
def test_sae_lens_loads_our_transcoders(name: str, kind: str, tmp_path: Path) -> None:
    ours = drawn(RECIPES[name].build(D_IN, seed=1, **KINDS[kind]))
    compare_with_sae_lens(f"ours -> sae-lens  {name} {kind}", ours, tmp_path)


def compare_with_sae_lens(what: str, ours: SparseAutoencoder, folder: Path) -> None:
    ours.metadata = {"model_name": "mini", "hook_name": "blocks.3.hook_resid_post"}
    ours.save(folder / "sae")
    theirs = SAE.load_from_disk(folder / "sae", device="cpu")
    x = rows()
    with torch.no_grad():
        note(what, ours.encode(x), theirs.encode(x), ours.reconstruct(x), theirs(x))
    assert theirs.cfg.metadata.hook_name == "blocks.3.hook_resid_post"


# Theirs in ours


def sae_lens_peers() -> Iterator[tuple[str, Any]]:
    from sae_lens import saes

    base = {"d_in": D_IN, "d_sae": WIDTH, "dtype": "float32", "device": "cpu"}
    yield "standard", saes.StandardSAE(saes.StandardSAEConfig(**base))
    yield (
        "standard, x as it is",
        saes.StandardSAE(saes.StandardSAEConfig(**base, apply_b_dec_to_input=False)),
    )
    for scaled in (False, True):
        config = saes.TopKSAEConfig(**base, k=K, rescale_acts_by_decoder_norm=scaled)
        yield f"topk{', by norm' if scaled else ''}", saes.TopKSAE(config)
    yield "gated", saes.GatedSAE(saes.GatedSAEConfig(**base))
    yield "jumprelu", saes.JumpReLUSAE(saes.JumpReLUSAEConfig(**base))
    over = {**base, "d_out": D_OUT, "apply_b_dec_to_input": False}
    yield "transcoder", saes.Transcoder(saes.TranscoderConfig(**over))
    yield "skip_transcoder", saes.SkipTranscoder(saes.SkipTranscoderConfig(**over))
    config = saes.JumpReLUTranscoderConfig(**over)
    yield "jumprelu_transcoder", saes.JumpReLUTranscoder(config)


@pytest.mark.parametrize(
    ("name", "theirs"), sae_lens_peers(), ids=lambda x: x if isinstance(x, str) else ""
)
def test_ours_loads_sae_lens(name: str, theirs: Any, tmp_path: Path) -> None:
    randomise(theirs)
    theirs.save_model(tmp_path / "sae")
    compare_with_ours(f"sae-lens -> ours  {name}", theirs, tmp_path / "sae", theirs)


def randomise(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
            if "threshold" in name:
                weight.abs_()


def compare_with_ours(what: str, theirs: Any, path: Path, forward: Any) -> None:
    ours, x = ol.load_sae(path), rows()
    with torch.no_grad():
        note(what, ours.encode(x), theirs.encode(x), ours.reconstruct(x), forward(x))


def dictionary_peers() -> Iterator[tuple[str, Any]]:
    from dictionary_learning import dictionary
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    yield "AutoEncoder", dictionary.AutoEncoder(D_IN, WIDTH)
    yield "AutoEncoderNew", dictionary.AutoEncoderNew(D_IN, WIDTH)
    yield "AutoEncoderTopK", AutoEncoderTopK(D_IN, WIDTH, K)
    yield "BatchTopKSAE", BatchTopKSAE(D_IN, WIDTH, K)
    yield "MatryoshkaBatchTopKSAE", MatryoshkaBatchTopKSAE(D_IN, WIDTH, K, [4, 8, 12])
    yield "JumpReluAutoEncoder", dictionary.JumpReluAutoEncoder(D_IN, WIDTH)
    yield "GatedAutoEncoder", dictionary.GatedAutoEncoder(D_IN, WIDTH)


@pytest.mark.parametrize(
    ("name", "theirs"), dictionary_peers(), ids=lambda x: x if isinstance(x, str) else ""
)
def test_ours_loads_dictionary_learning(name: str, theirs: Any, tmp_path: Path) -> None:
    import json

    randomise(theirs)
    with torch.no_grad():
        if hasattr(theirs, "threshold") and theirs.threshold.dim() == 0:
            theirs.threshold.fill_(0.6)
    torch.save(theirs.state_dict(), tmp_path / "ae.pt")
    told = {"trainer": {"dict_class": name, "k": K, "submodule_name": "resid_post_layer_2"}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    from dictionary_learning.utils import load_dictionary

    # What its own loader makes of the file is what counts: it normalises some decoders.
    loaded, _ = load_dictionary(str(tmp_path), "cpu")
    compare_with_ours(
        f"dictionary_learning -> ours  {name}", loaded, tmp_path, lambda x: decoded(loaded, x)
    )


def decoded(theirs: Any, x: Tensor) -> Tensor:
    return theirs.decode(theirs.encode(x))


@pytest.mark.parametrize("kind", ["sae", "transcoder", "skip"])
def test_ours_loads_sparsify(kind: str, tmp_path: Path) -> None:
    from sparsify import SparseCoder, SparseCoderConfig

    config = SparseCoderConfig(
        num_latents=WIDTH, k=K, transcode=kind != "sae", skip_connection=kind == "skip"
    )
    theirs = SparseCoder(D_IN, config)
    randomise(theirs)
    theirs.save_to_disk(tmp_path / "blocks.2.hook_mlp_out")
    ours, x = ol.load_sae(tmp_path / "blocks.2.hook_mlp_out"), rows()
    assert ours.metadata["hook_name"] == "blocks.2.hook_mlp_out"
    with torch.no_grad():
        top = theirs.encode(x)
        features = torch.zeros(len(x), WIDTH).scatter(1, top.top_indices, top.top_acts)
        rebuilt = theirs(x).sae_out
        note(f"sparsify -> ours  {kind}", ours.encode(x), features, ours.reconstruct(x), rebuilt)


# Their training on our stream


def test_sae_lens_trains_on_our_activations(tmp_path: Path) -> None:
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    model, site = tiny_model(), ol.Site("resid_post", 1)
    source = ol.Played(model, site, ol.random_games(300, seed=0))
    batches = ol.Mixer(source, batch=256, seed=0).batches()
    config = BatchTopKTrainingSAEConfig(d_in=32, d_sae=64, k=8, dtype="float32", device="cpu")
    theirs = BatchTopKTrainingSAE(config)
    plan = SAETrainerConfig(
        total_training_samples=256 * 30, train_batch_size_samples=256, device="cpu", lr=3e-3,
        lr_end=3e-4, lr_scheduler_name="constant", lr_warm_up_steps=0, adam_beta1=0.9,
        adam_beta2=0.999, lr_decay_steps=0, n_restart_cycles=1, feature_sampling_window=1000,
        dead_feature_window=1000, autocast=False, n_checkpoints=0, checkpoint_path=None,
        save_final_checkpoint=False, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    trainer = SAETrainer(cfg=plan, sae=theirs, data_provider=(batch.x[site] for batch in batches))
    before = float((theirs(source.window(0).x[site]) - source.window(0).x[site]).pow(2).mean())
    trained = trainer.fit()
    after = float((trained(source.window(0).x[site]) - source.window(0).x[site]).pow(2).mean())
    assert after < before
    trained.save_inference_model(tmp_path / "sae")
    loaded = SAE.load_from_disk(tmp_path / "sae", device="cpu")
    ours, x = ol.load_sae(tmp_path / "sae"), source.window(0).x[site][:500]
    with torch.no_grad():
        note(
            "sae-lens, trained on our stream -> ours  batchtopk",
            ours.encode(x), loaded.encode(x), ours.reconstruct(x), loaded(x),
        )  # fmt: skip
