"""Models by name: from the hub, through the cache, to the moves by which they are known."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.hub import Hub
from reference.tiny import tiny_model

from othellolens.artifact import sha256
from othellolens.errors import InputError
from othellolens.gpt import published
from othellolens.gpt.checkpoints import mingpt, transformerlens
from othellolens.gpt.checkpoints.own import save_gpt
from othellolens.gpt.model import GPT
from othellolens.gpt.published import PUBLISHED, check_golden
from othellolens.gpt.runs import load_gpt
from othellolens.gpt.shape import GPTConfig

NANDA = "NeelNanda/Othello-GPT-Transformer-Lens"


def file_of(state: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def knows_the_answers() -> GPT:
    """No attention, no MLP: each ply says by itself what the published model says there."""
    golden = PUBLISHED["synthetic"].golden
    assert golden is not None
    model = GPT(GPTConfig(n_layers=1, d_model=64, n_heads=4, d_mlp=8))
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        places = torch.randn(59, 64, generator=torch.Generator().manual_seed(0))
        model.pos_embed.W_pos.copy_(places)
        wanted = torch.nn.functional.one_hot(torch.tensor(golden.answers), 61).float()
        model.unembed.W_U.copy_(torch.linalg.pinv(model.ln_final(places)) @ wanted)
    return model.eval()


def test_the_golden_game_is_a_game() -> None:
    golden = PUBLISHED["synthetic"].golden
    assert golden is not None
    assert len(golden.moves) == len(golden.answers) == 59
    assert sorted({*golden.moves, 8}) == list(range(1, 61))
    assert golden.moves[:3] == (20, 19, 18)
    assert golden.answers[-3:] == (8, 7, 8)


class Terminal(io.StringIO):
    """Where a bar is shown."""

    def isatty(self) -> bool:
        return True


def test_a_published_model_from_the_hub_to_the_golden_check(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = knows_the_answers()
    hub.add(NANDA, "synthetic_model.pth", file_of(transformerlens.write(right)))
    checked: list[tuple[str, int]] = []
    plain = GPT.forward

    def counted(model: GPT, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        checked.append((model.name, ids.numel()))
        return plain(model, ids, *rest)

    shown = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(GPT, "forward", counted)
        patch.setattr("sys.stderr", shown)
        model = load_gpt("synthetic")
    assert "synthetic_model.pth: 100%" in shown.getvalue()
    assert checked == [("synthetic", 59)], "the published game was asked"
    assert model.name == "synthetic"
    assert not model.training
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in right.state_dict().items())
    asked = len(hub.asked)
    load_gpt("synthetic")
    assert len(hub.asked) == asked


def test_other_weights_by_a_published_name_are_refused(hub: Hub) -> None:
    other = knows_the_answers()
    with torch.no_grad():
        other.pos_embed.W_pos[7] *= -1
    hub.add(NANDA, "synthetic_model.pth", file_of(transformerlens.write(other)))
    with pytest.raises(InputError, match="synthetic: 1 of 59 moves of the published test game"):
        load_gpt("synthetic")
    hub.add(NANDA, "championship_model.pth", file_of(transformerlens.write(other)))
    assert load_gpt("championship").name == "championship"  # no answers of it are published
    check_golden(other, "mine")


def test_a_known_hash_is_checked(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(transformerlens.write(knows_the_answers()))
    (tmp_path / "copy").write_bytes(data)
    hub.add(NANDA, "synthetic_model.pth", data)
    known = PUBLISHED["synthetic"]
    wrong = known._replace(sha256="0" * 64)
    monkeypatch.setitem(published.PUBLISHED, "synthetic", wrong)
    with pytest.raises(InputError, match="has the sha256"):
        load_gpt("synthetic")
    right = known._replace(sha256=sha256(tmp_path / "copy"))
    monkeypatch.setitem(published.PUBLISHED, "synthetic", right)
    assert load_gpt("synthetic").name == "synthetic"


def test_any_repository_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    model = tiny_model()
    save_gpt(model, tmp_path)
    for name in ("config.json", "model.safetensors"):
        hub.add("me/ours", name, (tmp_path / name).read_bytes())
    loaded = load_gpt("me/ours")
    assert loaded.name == "me/ours"
    assert torch.equal(loaded.embed.W_E, model.embed.W_E)
    plain = tiny_model("LN")
    with torch.no_grad():
        plain.unembed.b_U.zero_()
    hub.add("you/described", "config.json", b'{"n_heads": 4, "architecture": "mingpt"}')
    hub.add("you/described", "final.pth", file_of(mingpt.write(plain)))
    assert torch.equal(load_gpt("you/described").embed.W_E, plain.embed.W_E)
    hub.add("you/bare", "deep/model.ckpt", file_of(mingpt.write(plain)))
    loaded = load_gpt("you/bare/deep/model.ckpt", n_heads=4)
    assert torch.equal(loaded.embed.W_E, plain.embed.W_E)
    hub.add("me/ours", "config.json", b"{}", "v2")
    hub.add("me/ours", "final.pth", file_of(transformerlens.write(plain)), "v2")
    assert torch.equal(load_gpt("me/ours@v2").embed.W_E, plain.embed.W_E)
    assert torch.equal(load_gpt("me/ours").embed.W_E, model.embed.W_E)
    with pytest.raises(InputError, match=r"you/bare on the hub has no config\.json: name the file"):
        load_gpt("you/bare")


def test_a_truncated_file_of_the_hub_ends_in_one_line(hub: Hub) -> None:
    data = file_of(transformerlens.write(knows_the_answers()))
    hub.add(NANDA, "synthetic_model.pth", data[: len(data) // 2])
    with pytest.raises(
        InputError, match=r"synthetic_model\.pth is truncated or no file of weights"
    ):
        load_gpt("synthetic")
    hub.add(NANDA, "synthetic_model.pth", data)
    with pytest.raises(InputError, match=r"\(delete .*, and it is fetched anew\)") as caught:
        load_gpt("synthetic")
    spoilt = str(caught.value).partition("(delete ")[2].partition(",")[0]
    Path(spoilt).unlink()
    assert load_gpt("synthetic").name == "synthetic"


def test_offline_says_what_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set and synthetic_model\.pth was nev"):
        load_gpt("synthetic")
    assert hub.asked == []


def test_paths_are_not_looked_for_on_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("runs/none", Path("user/repo"), "../up/there", "a//b", "user/../etc", "one"):
        with pytest.raises(InputError, match="no model .*: say mini, synthetic, championship, the"):
            load_gpt(name)
    (tmp_path / "synthetic").mkdir()
    save_gpt(tiny_model(), tmp_path / "synthetic")
    for name in ("./synthetic", Path("synthetic")):
        assert load_gpt(name).cfg.d_model == 32
    assert hub.asked == []
