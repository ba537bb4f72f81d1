"""Giving a model away: what is uploaded, and that it is what `load_gpt` reads."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from reference.hub import Hub
from reference.tiny import tiny_model

import othellolens as ol
from othellolens.errors import InputError
from othellolens.gpt.hub import model_card, push_to_hub
from othellolens.gpt.runs import load_gpt, load_gpt_run, save_gpt
from othellolens.sae.topk import TopK


class FakeApi:
    """Puts what is uploaded on the stand-in."""

    hub: Hub
    said: list[Any]
    fails: Exception | None = None

    def __init__(self, endpoint: str | None = None, **_: object) -> None:
        assert endpoint == self.hub.url

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
        if self.fails:
            raise self.fails
        self.said.append((repo, private, exist_ok))
        return f"{self.hub.url}/{repo}"

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, commit_message: str, path_in_repo: str | None
    ) -> None:
        head = f"{path_in_repo}/" if path_in_repo else ""
        for path in folder_path.iterdir():
            self.said.append(head + path.name)
            self.hub.add(repo_id, head + path.name, path.read_bytes())


@pytest.fixture
def api(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> type[FakeApi]:
    FakeApi.hub, FakeApi.said, FakeApi.fails = hub, [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    return FakeApi


def test_what_is_pushed_can_be_loaded(api: type[FakeApi], hub: Hub, tmp_path: Path) -> None:
    model = tiny_model()
    training = {"seed": 3, "plan": {"games": 24}}
    save_gpt(model, tmp_path / "run", training=training, games="random seed=3 games=0..24")
    (tmp_path / "run/checkpoint.pt").write_bytes(b"not for others")
    address = push_to_hub(tmp_path / "run", "me/tiny", private=True)
    assert address == f"{hub.url}/me/tiny"
    assert api.said[0] == ("me/tiny", True, True)
    assert sorted(api.said[1:]) == ["README.md", "config.json", "model.safetensors"]
    read, config = load_gpt_run("me/tiny")
    assert config["training"] == training
    assert all(
        bool((a == b).all()) for a, b in zip(read.parameters(), model.parameters(), strict=True)
    )
    card = hub.files["/me/tiny/resolve/main/README.md"].decode()
    for text in (
        "---\nlibrary_name: othellolens\n",
        "# tiny\n",
        'ol.load_gpt("me/tiny")',
        f"| parameters | {sum(x.numel() for x in model.parameters()):,} |",
        "| d_model | 32 |",
        "| games | random seed=3 games=0..24 |",
        '"seed": 3',
        "## Provenance",
    ):
        assert text in card
    assert str(tmp_path) not in card


def test_ours_may_be_pushed_and_little_said(api: type[FakeApi]) -> None:
    push_to_hub("mini", "me/mini")
    assert api.said[0] == ("me/mini", False, True)
    card = model_card(load_gpt("mini"), {}, "me/mini")
    assert "## Training" not in card


def test_what_cannot_be_pushed(api: type[FakeApi], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model"):
        push_to_hub("me/mine", "me/tiny")
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"config\.json is missing"):
        push_to_hub(tmp_path / "run", "me/tiny")
    save_gpt(tiny_model(), tmp_path / "run")
    api.fails = OSError("no route\nand more")
    with pytest.raises(
        InputError, match=r"the hub did not take me/tiny \(no route\): .* logged in"
    ):
        push_to_hub(tmp_path / "run", "me/tiny")
    assert api.said == []


def test_a_hub_that_does_not_answer(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the true client: the stand-in takes nothing, and at port 9 there is none."""
    monkeypatch.setenv("HF_TOKEN", "none")
    for endpoint in (hub.url, "http://127.0.0.1:9"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(InputError, match="the hub did not take me/tiny") as caught:
            push_to_hub("mini", "me/tiny")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("repo", ["me/sae", "me/saes:layer_3/topk"])
def test_an_sae_that_is_pushed_can_be_loaded(
    repo: str, api: type[FakeApi], hub: Hub, tmp_path: Path
) -> None:
    sae = TopK(12, k=3).build(8, seed=1).eval()
    sae.metadata = {"model_name": "mini", "hook_name": "blocks.3.hook_resid_post", "l0": 3.0}
    sae.save(tmp_path / "sae")
    (tmp_path / "sae/checkpoint.pt").write_bytes(b"not for others")
    address = ol.push_to_hub(tmp_path / "sae", repo)
    name, _, inside = repo.partition(":")
    assert address == f"{hub.url}/{name}"
    head = f"{inside}/" if inside else ""
    wanted = ["README.md", "cfg.json", "sae_weights.safetensors"]
    assert sorted(api.said[1:]) == [head + file for file in wanted]
    back = ol.load_sae(repo)
    assert back.recipe == sae.recipe
    assert bool((back.W_enc == sae.W_enc).all())
    card = hub.files[f"/{name}/resolve/main/{head}README.md"].decode()
    for text in (
        "library_name: saelens\n",
        f'ol.load_sae("{repo}")',
        "| architecture | topk |",
        "| hook_name | blocks.3.hook_resid_post |",
        '"k": 3',
    ):
        assert text in card
    assert str(tmp_path) not in card
    assert ol.push_to_hub(sae, repo) == address
