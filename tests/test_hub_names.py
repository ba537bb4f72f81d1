"""Encoders and models by name: what lies here, and what lies on a hub."""

from pathlib import Path

import pytest
from reference.hub import Hub
from reference.tiny import tiny_model

from othellolens.cli import main
from othellolens.errors import InputError
from othellolens.gpt.runs import save_gpt
from othellolens.runs import is_model, load_encoder, load_lens
from othellolens.sae.batch_topk import BatchTopK


@pytest.fixture
def given_away(hub: Hub, tmp_path: Path) -> Path:
    """On the hub someone/gpt and someone/saes:layer_1; the SAE as it lay here."""
    gpt, home = tmp_path / "gpt", tmp_path / "sae"
    for folder in (gpt, home):
        folder.mkdir()
    save_gpt(tiny_model(), gpt)
    sae = BatchTopK(width=64, k=4).build(32)
    sae.metadata = {"model_name": "someone/gpt", "hook_name": "blocks.1.hook_resid_post"}
    sae.write(home)
    for file in gpt.iterdir():
        hub.add("someone/gpt", file.name, file.read_bytes())
    for file in home.iterdir():
        hub.add("someone/saes", f"layer_1/{file.name}", file.read_bytes())
    return home


def test_an_sae_on_the_hub_brings_its_model(given_away: Path) -> None:
    lens = load_lens("someone/saes:layer_1")
    here = load_lens(given_away)
    assert lens.encoder.width == 64
    assert str(lens.site) == "resid_post.1"
    for ours, theirs in zip(lens.model.parameters(), here.model.parameters(), strict=True):
        assert ours.equal(theirs)


def test_verbs_take_names_on_the_hub(
    given_away: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []
    for name in (str(given_away), "someone/saes:layer_1"):
        capsys.readouterr()
        main(["evaluate", name, "--games", "5", "--alone"])
        printed.append(" ".join(capsys.readouterr().out.split()[-8:]))
    assert printed[0] == printed[1]
    board = ["leaderboard", "someone/saes:layer_1", "--out", str(tmp_path / "board")]
    main([*board, "--games", "5", "--no-baselines", "--no-ranks"])
    assert "batchtopk 64 has the best coverage" in capsys.readouterr().out


def test_a_model_on_the_hub_is_known_as_one(given_away: Path) -> None:
    assert is_model("someone/gpt")
    assert not is_model("someone/saes:layer_1")
    assert not is_model("someone/nothing")
    with pytest.raises(InputError, match="someone/gpt is a model"):
        load_encoder("someone/gpt")


@pytest.mark.usefixtures("given_away")
def test_what_lies_nowhere_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (
        ("nothing", "there is no folder nothing; no SAE 'nothing': name a folder, run1 or run2"),
        ("someone/saes", "there is no folder someone/saes; someone/saes on the hub has no SAE in"),
        ("someone/saes:layer_2", "on the hub has no SAE in layer_2"),
    ):
        for verb in (["evaluate", name], ["leaderboard", name, "--out", str(tmp_path / "board")]):
            with pytest.raises(SystemExit):
                main(verb)
            lines = capsys.readouterr().err.strip().split("\n")
            assert len(lines) == 1
            assert text in lines[0]
    assert not (tmp_path / "board").exists()
