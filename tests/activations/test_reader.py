"""Reading a site: the same as the cache, whatever lies behind the site is not run."""

import subprocess
import sys

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.activations.reader import Reader
from othellolens.activations.rows import Rows, read_rows
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import SITES, Site
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import random_games

IDS = tokens(random_games(7, seed=4))[:, :59]


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
@pytest.mark.parametrize("kind", SITES)
def test_the_plain_reader_returns_the_bits_of_the_cache(kind: str, normalization: str) -> None:
    model, site = tiny_model(normalization), Site(kind, 1)  # pyright: ignore
    with torch.no_grad():
        _, cache = model.run_with_cache(IDS, site.hook_name)
    read = Reader(model, site)(IDS)
    assert torch.equal(read, site.vectors(cache[site.hook_name]))
    assert not read.requires_grad


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
@pytest.mark.parametrize("last", range(len(SITES)))
def test_several_sites_in_one_pass_have_the_bits_of_each_alone(
    last: int, normalization: str
) -> None:
    model = tiny_model(normalization)  # pyright: ignore
    sites = [Site(kind, 0) for kind in SITES] + [Site(SITES[last], 1)]
    read = Reader(model, sites[::-1]).read(IDS)
    assert list(read) == sites[::-1]
    for site in sites:
        with torch.no_grad():
            _, cache = model.run_with_cache(IDS, site.hook_name)
        assert torch.equal(read[site], site.vectors(cache[site.hook_name])), site


@pytest.mark.parametrize("kind", [kind for kind in SITES if not kind.startswith("ln")])
def test_a_reader_sees_what_hooks_have_edited(kind: str) -> None:
    model, site = tiny_model("LN"), Site(kind, 1)
    edits = [(s.hook_name, lambda x, hook: x * 1.5) for s in (Site(kind, 0), site)]
    with torch.no_grad(), model.hooks(edits):
        _, cache = model.run_with_cache(IDS, site.hook_name)
        edited = Reader(model, site)(IDS)
    assert torch.equal(edited, site.vectors(cache[site.hook_name]))
    assert not torch.equal(edited, Reader(model, site)(IDS))


def test_batches_and_short_games() -> None:
    model, site = tiny_model("LN"), Site("mlp_post", 0)
    whole = Reader(model, site)(IDS)
    torch.testing.assert_close(Reader(model, site, batch=3)(IDS), whole)
    torch.testing.assert_close(Reader(model, site)(IDS[:, :20]), whole[:, :20])
    assert Reader(model, site)(IDS[:0]).shape == (0, 59, model.cfg.d_mlp)
    sites = (site, Site("resid_post", 1))
    parts, empty = Reader(model, sites, batch=3).read(IDS), Reader(model, sites).read(IDS[:0])
    for one in sites:
        torch.testing.assert_close(parts[one], Reader(model, one)(IDS))
        assert empty[one].shape == (0, 59, model.width(one))


@pytest.mark.parametrize("kind", ["resid_mid", "mlp_post", "resid_post"])
def test_bfloat16_is_near(kind: str) -> None:
    model, site = (
        GPT(GPTConfig(n_layers=3, d_model=64, n_heads=4, d_mlp=128), seed=1),
        Site(kind, 2),
    )
    exact, read = Reader(model, site)(IDS), Reader(model, site, precision="bf16")(IDS)
    assert read.dtype == torch.float32
    assert read.shape == exact.shape
    error = float((read - exact).norm() / exact.norm())
    assert 0 < error < 0.01


COMPILED = """
import sys
import torch
from othellolens.activations.reader import Reader
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import random_games

model = GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=1)
ids = tokens(random_games(7, seed=4))[:, :59]
sites = (Site("mlp_post", 1), Site("resid_mid", 0))
for precision in ("fp32", "bf16"):
    reader = Reader(model, sites, precision=precision, compiled=True, batch=4)
    exact, read = Reader(model, sites).read(ids), reader.read(ids)
    for site in sites:
        assert read[site].shape == exact[site].shape == (7, 59, model.width(site))
        print(float((read[site] - exact[site]).norm() / exact[site].norm()))
"""


def test_the_compiled_reader_is_near_also_where_a_batch_is_not_full() -> None:
    """In a process of its own: what checks shapes in the tests cannot be compiled."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    errors = list(map(float, done.stdout.split()))
    assert len(errors) == 4
    assert all(error < 1e-5 for error in errors[:2])
    assert all(0 < error < 0.01 for error in errors[2:])


def test_what_lies_behind_the_site_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("LN")
    run: list[str] = []
    for name, module in model.named_modules():
        if name.startswith("blocks.") and name.count(".") == 2:
            module.register_forward_pre_hook(lambda *_, name=name: run.append(name))
    Reader(model, Site("resid_mid", 1))(IDS)
    assert "blocks.0.mlp" in run
    assert "blocks.1.hook_attn_out" in run
    assert "blocks.1.mlp" not in run
    assert "blocks.1.ln2" not in run
    run.clear()
    Reader(model, [Site("ln2", 0), Site("resid_post", 0)]).read(IDS)
    assert run.count("blocks.0.hook_attn_out") == 1
    assert not [name for name in run if name.startswith("blocks.1")]


def test_rows_by_a_reader() -> None:
    model, site, games = tiny_model("LN"), Site("resid_post", 0), random_games(5, seed=1)
    reader = Reader(model, site, precision="bf16")
    plain = Rows.cat(list(read_rows(model, site, games, batch=2)))
    fast = Rows.cat(list(read_rows(model, site, games, batch=2, reader=reader)))
    assert torch.equal(plain.at, fast.at)
    assert 0 < float((plain.x - fast.x).norm() / plain.x.norm()) < 0.01
    with pytest.raises(InputError, match=r"reads resid_post\.0 of .*, not resid_post\.1"):
        next(read_rows(model, Site("resid_post", 1), games, reader=reader))


def test_what_cannot_be_read_is_refused() -> None:
    model = tiny_model("LN")
    with pytest.raises(InputError, match="batch must be at least 1"):
        Reader(model, Site("resid_post", 0), batch=0)
    with pytest.raises(InputError, match="layers, 0 to"):
        Reader(model, Site("resid_post", 9))
    with pytest.raises(InputError, match="no site to read"):
        Reader(model, [])
    with pytest.raises(InputError, match=r"reads ln1\.0, ln2\.0: use reader\.read"):
        Reader(model, [Site("ln1", 0), Site("ln2", 0)])(IDS)
    reader = Reader(model, Site("resid_post", 0))
    with pytest.raises(InputError, match="61 is outside the vocabulary"):
        reader(torch.full((1, 4), 61))
    with pytest.raises(InputError, match="60 plies"):
        reader(torch.ones(1, 60, dtype=torch.long))
