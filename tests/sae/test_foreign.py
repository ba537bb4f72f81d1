"""SAEs of other libraries: the same features and reconstructions as theirs, or one clear line."""

import json
import os
from pathlib import Path

import pytest
import torch
from reference import foreign
from reference.foreign import D_IN, DICTIONARIES, WIDTH, Foreign
from reference.hub import serving
from safetensors.torch import load_file, save_file

from othellolens.errors import InputError
from othellolens.runs import load_encoder
from othellolens.sae.foreign.forms import load_sae
from othellolens.sae.matryoshka import Matryoshka
from othellolens.sae.topk import TopK


def same(written: Foreign) -> None:
    """What we read encodes and rebuilds as its own library does, however it is asked for."""
    x = torch.randn(200, D_IN, generator=torch.Generator().manual_seed(9))
    for sae in (load_sae(written.path), load_encoder(written.path)):
        with torch.no_grad():
            torch.testing.assert_close(sae.encode(x), written.features(x), atol=1e-5, rtol=1e-5)
            rebuilt = sae.reconstruct(x)
            torch.testing.assert_close(rebuilt, written.rebuilt(x), atol=1e-5, rtol=1e-5)
        assert bool((sae.encode(x) > 0).any())


@pytest.mark.parametrize("name", DICTIONARIES)
def test_dictionary_learning(name: str, tmp_path: Path) -> None:
    written = foreign.dictionary_learning(name, tmp_path / "trainer_0")
    same(written)
    sae = load_sae(written.path)
    assert sae.metadata["hook_name"] == "blocks.3.hook_resid_post"
    assert name in sae.metadata["read_from"]
    if name == "MatryoshkaBatchTopKSAE":
        assert sae.recipe == Matryoshka(WIDTH, k=3, levels=(0.2, 0.5, 1.0))
    if name == "AutoEncoderTopK":
        assert sae.recipe == TopK(WIDTH, k=3)


@pytest.mark.parametrize("kind", ["sae", "transcoder", "skip"])
def test_sparsify(kind: str, tmp_path: Path) -> None:
    written = foreign.sparsify(kind, tmp_path / "blocks.1.hook_mlp_out")
    same(written)
    assert load_sae(written.path).metadata["hook_name"] == "blocks.1.hook_mlp_out"


@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "scaled"])
def test_sae_lens_before_6(kind: str, tmp_path: Path) -> None:
    written = foreign.old_sae_lens(kind, tmp_path / "sae")
    same(written)
    metadata = load_sae(written.path).metadata
    assert metadata["hook_name"] == "blocks.2.hook_resid_post"
    assert metadata["model_name"] == "othello-gpt"


def test_the_notebook_from_a_file_or_a_folder(tmp_path: Path) -> None:
    written = foreign.notebook(81, tmp_path)
    same(written)
    assert load_sae(written.path).metadata["hook_name"] == "blocks.1.hook_mlp_out"
    x = torch.randn(5, D_IN)
    assert torch.equal(load_sae(tmp_path).encode(x), load_sae(written.path).encode(x))
    foreign.notebook(82, tmp_path)
    with pytest.raises(InputError, match=r"several SAEs \(81, 82\): name one"):
        load_sae(tmp_path)


def test_what_is_read_is_saved_as_ours(tmp_path: Path) -> None:
    x = torch.randn(50, D_IN, generator=torch.Generator().manual_seed(1))
    for name in DICTIONARIES:
        sae = load_sae(foreign.dictionary_learning(name, tmp_path / name).path)
        sae.save(tmp_path / f"ours-{name}")
        back = load_sae(tmp_path / f"ours-{name}")
        assert torch.equal(back.encode(x), sae.encode(x))
        assert torch.equal(back.reconstruct(x), sae.reconstruct(x))


def test_several_hook_points_are_listed(tmp_path: Path) -> None:
    for layer in (0, 1):
        foreign.sparsify("sae", tmp_path / f"layers.{layer}")
    with pytest.raises(InputError, match=r"several SAEs \(layers.0, layers.1\): name one"):
        load_sae(tmp_path)


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_wrong_with_dictionary_learning_is_told(tmp_path: Path) -> None:
    path = foreign.dictionary_learning("AutoEncoderTopK", tmp_path / "a").path
    config, weights = path / "config.json", path / "ae.pt"
    told = json.loads(config.read_text())["trainer"]
    change(config, trainer={**told, "dict_class": "Crosscoder"})
    with pytest.raises(InputError, match="dict_class 'Crosscoder' is not read; these are: AutoEnc"):
        load_sae(path)
    change(config, trainer={key: value for key, value in told.items() if key != "k"})
    with pytest.raises(InputError, match="does not say k"):
        load_sae(path)
    change(config, trainer={**told, "k": 11})
    with pytest.raises(InputError, match="from 1 to the width, 10"):
        load_sae(path)
    change(config, trainer={**told, "dict_class": "GatedAutoEncoder"})
    with pytest.raises(InputError, match=r"r_mag is missing.*encoder.bias is unknown"):
        load_sae(path)
    change(config, trainer=told)
    state = torch.load(weights, weights_only=True)
    torch.save({**state, "b_dec": torch.zeros(7)}, weights)
    with pytest.raises(InputError, match=r"b_dec is \[7\], not \[6\]"):
        load_sae(path)
    torch.save({**state, "b_dec": torch.full((6,), float("nan"))}, weights)
    with pytest.raises(InputError, match="finite numbers in b_dec"):
        load_sae(path)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="truncated"):
        load_sae(path)
    config.write_text("{}")
    with pytest.raises(InputError, match="no `trainer`"):
        load_sae(path)


def test_what_is_wrong_with_sparsify_is_told(tmp_path: Path) -> None:
    path = foreign.sparsify("sae", tmp_path / "a").path
    config, weights = path / "cfg.json", path / "sae.safetensors"
    text = config.read_text()
    for changes, message in (
        ({"activation": "groupmax"}, "activation 'groupmax' is not read"),
        ({"k": None}, "does not say k and d_in"),
        ({"k": 99}, "from 1 to the width"),
        ({"d_in": 7}, r"W_enc is \[6, 10\], not \[7, 10\]"),
    ):
        change(config, **changes)
        with pytest.raises(InputError, match=message):
            load_sae(path)
        config.write_text(text)
    state = load_file(weights)
    save_file({**state, "W_skip": torch.zeros(6, 6)}, weights)
    with pytest.raises(InputError, match="W_skip is unknown"):
        load_sae(path)
    save_file({"weight": torch.zeros(2)}, weights)
    with pytest.raises(InputError, match="no encoder.weight"):
        load_sae(path)


class Trap:
    """A pickle that would leave a mark if it were run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["dictionary_learning", "notebook"])
def test_code_in_a_pickle_is_not_run(form: str, tmp_path: Path) -> None:
    if form == "notebook":
        path = foreign.notebook(7, tmp_path / "x").path
        weights = path
    else:
        path = foreign.dictionary_learning("AutoEncoder", tmp_path / "x").path
        weights = path / "ae.pt"
    torch.save({"W_enc": Trap(tmp_path / "mark")}, weights)
    with pytest.raises(InputError, match="nothing of it was run"):
        load_sae(path)
    assert not (tmp_path / "mark").exists()


def test_nothing_or_several_forms(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no SAE of SAELens"):
        load_sae(tmp_path)
    foreign.sparsify("sae", tmp_path / "x")
    notebook = foreign.notebook(3, tmp_path / "y")
    for file in (notebook.path, notebook.path.with_name("3_cfg.json")):
        (tmp_path / "x" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="SAEs of sparsify and of the notebook: keep them apart"):
        load_sae(tmp_path / "x")
    with pytest.raises(InputError, match="no SAE 'nothing'"):
        load_sae("nothing")


def test_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHELLOLENS_CACHE", str(tmp_path / "cache"))
    x = torch.randn(20, D_IN, generator=torch.Generator().manual_seed(2))
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        run1 = foreign.notebook(25, tmp_path / "nb")
        for file in (run1.path, run1.path.with_name("25_cfg.json")):
            hub.add("NeelNanda/sparse_autoencoder", file.name, file.read_bytes())
        found = load_sae("run1")
        torch.testing.assert_close(found.encode(x), run1.features(x))
        with pytest.raises(InputError, match="47_cfg.json: is the name right"):
            load_sae("run2")
        theirs = foreign.dictionary_learning("BatchTopKSAE", tmp_path / "dl")
        for file in theirs.path.iterdir():
            hub.add("someone/saes", f"layer_3/{file.name}", file.read_bytes())
        found = load_sae("someone/saes:layer_3")
        torch.testing.assert_close(found.encode(x), theirs.features(x))
        with pytest.raises(InputError, match="has no SAE in its first folder: name the folder"):
            load_sae("someone/saes")
        asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = load_sae("run1")
    assert torch.equal(again.W_enc, load_sae(run1.path).W_enc)
    assert len(hub.asked) == asked
