"""How the model is read for a training: what changes the rows, and what only the waiting."""

from pathlib import Path

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.activations.harvest import Harvest
from othellolens.activations.stored import store_rows
from othellolens.artifact import read_tensors
from othellolens.cli import main
from othellolens.errors import InputError
from othellolens.gpt.runs import save_gpt
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.sae.files import load_sae
from othellolens.sae.needs import needs
from othellolens.sae.plan import SAEPlan
from othellolens.sae.runs import played, train_saes
from othellolens.sae.topk import TopK
from othellolens.sae.training import Member

PLAN = SAEPlan(rows=64 * 400, batch=64, window=128, lr=3e-3)
MEMBERS = [Member("a", TopK(16, k=3), Site("resid_post", 1))]
BF16 = Harvest(harvest_precision="bf16")


def trained(out: Path, harvest: Harvest, *, resume: bool = False) -> dict[str, torch.Tensor]:
    source = played(tiny_model(), MEMBERS, random_games(256, seed=3), PLAN, harvest)
    assert source.windows == 2
    train_saes(MEMBERS, source, PLAN, out, harvest=harvest, resume=resume)
    return read_tensors(out / "a" / "sae_weights.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, b[key]) for key, tensor in a.items())


def test_reading_ahead_changes_no_bit_and_precision_does(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", Harvest())
    assert same(plain, trained(tmp_path / "ahead", Harvest(prefetch=2)))
    rounded = trained(tmp_path / "bf16", BF16)
    assert not same(plain, rounded)
    assert same(rounded, trained(tmp_path / "both", Harvest("bf16", prefetch=1)))
    assert "harvest" not in load_sae(tmp_path / "ahead" / "a").metadata
    told = {"precision": "bf16", "compiled": False}
    assert load_sae(tmp_path / "bf16" / "a").metadata["harvest"] == told


def test_a_training_goes_on_as_it_was_read(tmp_path: Path) -> None:
    trained(tmp_path / "bf16", BF16)
    with pytest.raises(InputError, match="begun with harvest {'precision': 'bf16'"):
        trained(tmp_path / "bf16", Harvest(), resume=True)
    trained(tmp_path / "plain", Harvest())
    with pytest.raises(InputError, match="begun with harvest None"):
        trained(tmp_path / "plain", BF16, resume=True)
    trained(tmp_path / "plain", Harvest(prefetch=1), resume=True)


def test_windows_read_ahead_are_counted() -> None:
    source = played(tiny_model(), MEMBERS, random_games(256, seed=3), PLAN)
    far = needs(MEMBERS, source, PLAN, harvest=Harvest(prefetch=3))
    window = source.rows_in(0) * (4 * 32 + 8 + 8)
    assert far.bytes - needs(MEMBERS, source, PLAN).bytes == pytest.approx(3 * window, rel=0.05)
    with pytest.raises(InputError, match="0 for none, not -1"):
        Harvest(prefetch=-1)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, site = tiny_model(), Site("resid_post", 1)
    (tmp_path / "gpt").mkdir()
    save_gpt(model, tmp_path / "gpt")
    there = ["--model", str(tmp_path / "gpt"), "--site", str(site), "--games", "40"]
    there += ["--rows", "4000", "--batch", "500", "--harvest-precision", "bf16", "--prefetch", "1"]
    alone = [*there, "topk", "--width", "24", "--k", "3"]
    main(["train-sae", "--out", str(tmp_path / "one"), *alone])
    several = [*there, "--architectures", "topk", "--width", "24", "--l0", "3", "--seeds", "0"]
    main(["sweep", "--out", str(tmp_path / "all"), *several, "--held", "4"])
    one, other = (load_sae(tmp_path / name) for name in ("one", "all/topk-w24-l3-s0"))
    assert one.metadata["harvest"]["precision"] == "bf16"
    assert torch.equal(one.W_enc, other.W_enc)
    store_rows(played(model, MEMBERS, random_games(40, seed=0), PLAN), tmp_path / "rows")
    with pytest.raises(SystemExit) as stop:
        main(
            ["train-sae", "--out", str(tmp_path / "x"), "--stored", str(tmp_path / "rows"), *alone]
        )
    assert stop.value.code == 2
    assert "stored rows are as they were read" in capsys.readouterr().err
