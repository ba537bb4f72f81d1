"""The judge against planted truths and against loops over every position."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from othellolens.concepts import Concept, cells, family, standard
from othellolens.encoder import PCA, Autoencoder, Encoder, Neurons, RandomDirections
from othellolens.errors import InputError
from othellolens.evaluation.counts import CHOOSE, SCORE, THRESHOLDS, count, peaks
from othellolens.evaluation.fidelity import fidelity
from othellolens.evaluation.reconstruction import reconstruct
from othellolens.evaluation.scores import score
from othellolens.evaluation.undisturbed import Undisturbed, undisturbed
from othellolens.evaluation.verdict import judge
from othellolens.gpt.legality import legality
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import tokens
from othellolens.lens import Lens, Read
from othellolens.othello.games import Games, random_games

SITE = Site("resid_post", 1)


@pytest.fixture(scope="module")
def player() -> GPT:
    return GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=3).eval()


@pytest.fixture(scope="module")
def held() -> Games:
    return random_games(24, seed=1)


class Oracle(Encoder):
    """Says what it is told to say: features computed from the boards, row by row in order."""

    def __init__(self, games: Games, features: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.d_in = None
        boards = games.replay()
        readable = boards[boards.at[:, 1] < 59]
        self.rows = features(standard().of(readable).float())
        self.seen = 0

    def encode(self, x: Tensor) -> Tensor:
        rows = self.rows[self.seen : self.seen + len(x)]
        self.seen = (self.seen + len(x)) % len(self.rows)
        return rows


def oracle(player: GPT, held: Games, features: Callable[[Tensor], Tensor]) -> Lens:
    return Lens(player, SITE, Oracle(held, features))


def read_all(lens: Lens, held: Games) -> tuple[Tensor, Tensor, Tensor]:
    """(at, features, facts) of every position."""
    reads: list[Read] = list(lens.read(held))
    return (
        torch.cat([r.boards.at for r in reads]),
        torch.cat([r.features for r in reads]),
        torch.cat([standard().of(r.boards) for r in reads]),
    )


def test_an_encoder_that_is_the_truth_scores_one(player: GPT, held: Games) -> None:
    lens = oracle(player, held, lambda facts: facts * torch.linspace(0.5, 3, facts.shape[1]))
    # Peaks come from the even games; a concept that is never true there has no feature to match.
    scores = score(count(lens, held, standard(), peak=torch.linspace(0.5, 3, 248)))
    for names in (("mine", "theirs"), ("empty",), ("legal",)):
        assert scores.coverage(*names) == pytest.approx(1.0)
        assert scores.coverage(*names, thresholds="global") == pytest.approx(1.0)
    matches = scores.matches()
    exists = scores.exists.tolist()
    for feature, concept in enumerate(standard().concepts):
        if exists[feature]:
            assert matches[feature].concept == concept
            assert matches[feature].f1 == 1.0
    lens = oracle(player, held, lambda facts: facts)
    found = reconstruct(lens, held)
    assert found.precision > 0.97
    assert found.f1 > 0.97


def test_an_encoder_of_noise_scores_little(player: GPT, held: Games) -> None:
    noise = torch.Generator().manual_seed(0)
    lens = oracle(player, held, lambda facts: torch.rand(len(facts), 40, generator=noise))
    assert reconstruct(lens, held).f1 < 0.2
    truth = oracle(player, held, lambda facts: facts)
    noise_coverage = score(count(lens, held, standard())).coverage("legal")
    assert noise_coverage < 0.5 * score(count(truth, held, standard())).coverage("legal")


def test_counts_equal_loops(player: GPT, held: Games) -> None:
    lens = Lens(player, SITE, Neurons())
    counts = count(lens, held, standard())
    at, features, facts = read_all(lens, held)
    even = at[:, 0] % 2 == 0
    torch.testing.assert_close(counts.peak, features[even].amax(0))
    torch.testing.assert_close(peaks(lens, held), counts.peak)
    for half, rows in ((CHOOSE, even), (SCORE, ~even)):
        assert int(counts.positions[half]) == int(rows.sum())
        for level, feature, concept in [(0, 0, 0), (3, 17, 60), (5, 40, 130), (9, 63, 247)]:
            on = features[rows, feature] > THRESHOLDS[level] * counts.peak[feature]
            holds = facts[rows, concept]
            assert int(counts.fires[half, level, feature]) == sum(on.tolist())
            assert int(counts.holds[half, concept]) == sum(holds.tolist())
            together = sum(a and b for a, b in zip(on.tolist(), holds.tolist(), strict=True))
            assert int(counts.both[half, level, feature, concept]) == together


def test_scores_equal_loops(player: GPT, held: Games) -> None:
    lens = Lens(player, SITE, Neurons())
    counts = count(lens, held, family("legal"))
    scores = score(counts)

    def f1(half: int, level: int, feature: int, concept: int) -> float:
        hits = int(counts.both[half, level, feature, concept])
        total = int(counts.fires[half, level, feature]) + int(counts.holds[half, concept])
        return 2 * hits / total if total else 0.0

    kept = [c for c in range(60) if min(counts.holds[:, c].tolist()) > 0]
    chosen = []
    for concept in kept:
        options = [(f1(CHOOSE, t, f, concept), -t, -f) for t in range(11) for f in range(64)]
        best = max(options)
        chosen.append(f1(SCORE, -best[1], -best[2], concept))
    assert scores.coverage("legal") == pytest.approx(sum(chosen) / len(chosen), abs=1e-6)


def test_counts_add_up_over_shards(player: GPT, held: Games) -> None:
    lens = Lens(player, SITE, Neurons())
    whole = count(lens, held, cells())
    parts = [
        count(lens, held[:10], cells(), peak=whole.peak),
        count(lens, held[10:], cells(), peak=whole.peak),
    ]
    total = parts[0] + parts[1]
    assert torch.equal(total.both, whole.both)
    assert torch.equal(total.fires, whole.fires)
    assert torch.equal(total.holds, whole.holds)
    assert torch.equal(total.positions, whole.positions)
    with pytest.raises(InputError, match="same concepts"):
        _ = whole + count(lens, held, family("legal"), peak=whole.peak)
    with pytest.raises(InputError, match="same concepts"):
        _ = whole + count(lens, held, cells(), peak=whole.peak + 1)


def test_what_is_chosen_is_chosen_on_even_games_alone(player: GPT, held: Games) -> None:
    """A feature that is the truth on odd games and noise on even ones must not be chosen."""
    at = held.replay().at
    odd = (at[at[:, 1] < 59][:, 0] % 2 == 1).float()[:, None]

    def cheat(facts: Tensor) -> Tensor:
        honest = facts[:, :1]
        noise = (
            torch.rand(len(facts), 1, generator=torch.Generator().manual_seed(0)) < 0.5
        ).float()
        return torch.cat([odd * honest + (1 - odd) * noise, (1 - odd) * honest + odd * noise], 1)

    scores = score(count(oracle(player, held, cheat), held, family("mine")))
    assert int(scores.per_concept.feature[0]) == 1
    assert float(scores.per_concept.measure()[0]) < 0.9


def test_reconstruction_equals_loops(player: GPT, held: Games) -> None:
    flip = torch.Generator().manual_seed(4)

    def nearly(facts: Tensor) -> Tensor:
        wrong = torch.rand(facts.shape, generator=flip) < 0.02
        return torch.where(wrong, 1 - facts, facts)[:, ::3]

    lens = oracle(player, held, nearly)
    found = reconstruct(lens, held)
    at, features, facts = read_all(lens, held)
    facts = facts[:, :128]
    even = at[:, 0] % 2 == 0
    on = features > 0
    hits = guessed = true = 0
    labels: dict[int, list[int]] = {}
    for feature in range(features.shape[1]):
        fires = int(on[even, feature].sum())
        for concept in range(128):
            both = int((on[even, feature] & facts[even, concept]).sum())
            if both >= 10 and both / fires >= 0.95:
                labels.setdefault(concept, []).append(feature)
    for concept in range(128):
        guess = on[~even][:, labels.get(concept, [])].any(1)
        truth = facts[~even, concept]
        hits += int((guess & truth).sum())
        guessed += int(guess.sum())
        true += int(truth.sum())
    assert found.f1 == pytest.approx(2 * hits / (guessed + true))
    assert found.precision == pytest.approx(hits / guessed)
    assert found.recall == pytest.approx(hits / true)
    assert found.labelled == len({f for some in labels.values() for f in some})


class Blind(Autoencoder):
    """Gives back a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.d_in = None

    def encode(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 4)

    def decode(self, features: Tensor) -> Tensor:
        return torch.zeros(len(features), 32)


def test_a_perfect_reconstruction_loses_nothing(player: GPT, held: Games) -> None:
    for encoder in (Neurons(), PCA(torch.randn(500, 32))):
        found = fidelity(Lens(player, SITE, encoder), held)
        assert found.fvu == pytest.approx(0, abs=1e-6)
        assert found.spliced.kl == pytest.approx(0, abs=1e-5)
        assert found.recovered == pytest.approx(1, abs=1e-3)
        assert found.spliced.illegal == found.clean.illegal
        assert found.clean.kl == 0
        assert found.clean.illegal == pytest.approx(legality(player, held).strict_rate())


def test_a_reconstruction_of_nothing_is_zero_ablation(player: GPT, held: Games) -> None:
    found = fidelity(Lens(player, SITE, Blind()), held)
    assert found.spliced == found.zero
    assert found.recovered == pytest.approx(0, abs=1e-6)
    assert found.dead == 1.0
    assert found.l0 == 0.0
    assert found.fvu > 1


class Itself(Autoencoder):
    """A transcoder that is the very map that it stands for: from neurons to what an MLP writes."""

    def __init__(self, player: GPT, site: Site, target: Site) -> None:
        super().__init__()
        self.d_in, self.mlp = 64, player.blocks[1].mlp
        self.metadata = {"hook_name": site.hook_name, "hook_name_out": target.hook_name}

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([x.relu(), (-x).relu()], dim=-1)

    def decode(self, features: Tensor) -> Tensor:
        positive, negative = features.chunk(2, dim=-1)
        return (positive - negative) @ self.mlp.W_out + self.mlp.b_out


def test_a_transcoder_is_spliced_where_it_writes(player: GPT, held: Games) -> None:
    site, target = Site("mlp_post", 1), Site("mlp_out", 1)
    found = fidelity(Lens(player, site, Itself(player, site, target)), held)
    assert found.fvu == pytest.approx(0, abs=1e-6)
    assert found.spliced.kl == pytest.approx(0, abs=1e-5)
    assert found.zero.kl > 1e-4 > 10 * found.spliced.kl
    # Zero and mean are of what is written, not of what is read.
    ablated = fidelity(Lens(player, target, Neurons()), held)
    assert found.zero.kl == pytest.approx(ablated.zero.kl)
    assert found.mean.kl == pytest.approx(ablated.mean.kl)


def test_a_transcoder_that_looks_ahead_cannot_be_spliced(player: GPT, held: Games) -> None:
    site, target = Site("mlp_post", 1), Site("mlp_out", 0)
    with pytest.raises(InputError, match=r"mlp_out.0 comes before mlp_post.1"):
        fidelity(Lens(player, site, Itself(player, site, target)), held)


@pytest.mark.parametrize(
    ("site", "target"),
    [(site, site) for site in ("resid_pre.0", "resid_post.0", "resid_post.1", "mlp_out.1", "z.1.0")]
    + [("ln2.1", "mlp_out.1"), ("resid_post.0", "mlp_out.1")],
)
def test_losses_are_those_of_whole_runs(player: GPT, held: Games, site: str, target: str) -> None:
    """Whatever is put in, wherever: the layers before it need not run again."""
    read, written = Site.parse(site), Site.parse(target)

    class Third(Blind):
        def encode(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0] > 0, x[:, 1] > 0], 1).float()

        def decode(self, features: Tensor) -> Tensor:
            return (features.sum(1, keepdim=True) - 0.3).expand(-1, player.width(written))

    encoder = Third()
    if read != written:
        encoder.metadata = {"hook_name": read.hook_name, "hook_name_out": written.hook_name}
    lens = Lens(player, read, encoder)
    alone = Undisturbed(lens, held[:20])
    found = fidelity(lens, held[:20], last=alone)
    again = fidelity(lens, held[:20], last=alone)
    assert again.zero is found.zero
    assert again.mean is found.mean
    assert again.spliced == found.spliced

    ids = tokens(held[:20])[:, : player.cfg.n_ctx]
    clean, cache = player.run_with_cache(ids, [read.hook_name, written.hook_name])
    there = (held.moves[:20, : player.cfg.n_ctx] >= 0).flatten()
    x, y = (
        place.vectors(cache[place.hook_name]).flatten(0, 1).detach() for place in (read, written)
    )
    torch.testing.assert_close(alone.mean, y[there].mean(0), rtol=1e-4, atol=1e-6)
    error = (encoder.reconstruct(x) - y)[there].pow(2).sum()
    assert found.fvu == pytest.approx(float(error / (y[there] - alone.mean).pow(2).sum()), rel=1e-4)
    torch.testing.assert_close(found.density, encoder.encode(x[there]).mean(0))

    puts = {
        "spliced": encoder.reconstruct(x).reshape(*clean.shape[:2], -1),
        "zero": torch.zeros(*clean.shape[:2], y.shape[1]),
        "mean": alone.mean.expand(*clean.shape[:2], -1),
    }
    for name, value in puts.items():

        def edit(out: Tensor, hook: object, value: Tensor = value) -> Tensor:  # noqa: ARG001
            return written.with_vectors(out, value)

        with torch.no_grad():
            logits = player.run_with_hooks(ids, [(written.hook_name, edit)])
        counted = tokens(held[:20])[:, 1:] != 0
        loss = torch.nn.functional.cross_entropy(
            logits[:, : counted.shape[1]][counted], tokens(held[:20])[:, 1:][counted]
        )
        assert getattr(found, name).cross_entropy == pytest.approx(float(loss), rel=1e-5), name


def test_what_was_measured_before_must_be_of_the_same(player: GPT, held: Games) -> None:
    lens = Lens(player, SITE, Neurons())
    alone = Undisturbed(lens, held[:5])
    assert fidelity(lens, held[:5], last=alone) is not None
    assert undisturbed(lens, held[:5], alone) is alone
    assert undisturbed(lens, held[:6], alone) is not alone
    others = GPT(player.cfg, seed=4).eval()
    for other in (Lens(others, SITE, Neurons()), Lens(player, Site("resid_post", 0), Neurons())):
        assert not alone.fits(other, held[:5])
        with pytest.raises(InputError, match="of another model, site or of other games"):
            fidelity(other, held[:5], last=alone)


def test_mean_ablation_uses_the_mean_and_fvu_is_over_it(player: GPT, held: Games) -> None:
    x = torch.cat([read.x for read in Lens(player, SITE, Neurons()).read(held)])

    class Mean(Blind):
        def decode(self, features: Tensor) -> Tensor:
            return x.mean(0).expand(len(features), -1)

    found = fidelity(Lens(player, SITE, Mean()), held)
    assert found.fvu == pytest.approx(1, abs=1e-5)
    assert found.mean.cross_entropy == pytest.approx(found.spliced.cross_entropy, abs=1e-5)
    assert found.mean.kl == pytest.approx(found.spliced.kl, abs=1e-5)
    assert found.zero.cross_entropy != found.mean.cross_entropy


def test_cross_entropy_of_an_even_guess_is_log_61(held: Games) -> None:
    flat = GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=0).eval()
    with torch.no_grad():
        flat.unembed.W_U.zero_()
    found = fidelity(Lens(flat, SITE, Neurons()), held)
    assert found.clean.cross_entropy == pytest.approx(math.log(61), abs=1e-5)


def test_density_and_l0_equal_loops(player: GPT, held: Games) -> None:
    lens = Lens(player, SITE, Neurons())
    found = fidelity(lens, held)
    features = read_all(lens, held)[1]
    torch.testing.assert_close(found.density, (features > 0).float().mean(0))
    assert found.l0 == pytest.approx(float((features > 0).sum(1).float().mean()), rel=1e-5)


def test_the_verdict_has_every_score(player: GPT, held: Games) -> None:
    seen: list[tuple[int, int]] = []
    verdict, scores = judge(Lens(player, SITE, Neurons()), held, watch=lambda *x: seen.append(x))
    assert seen[-1][0] == seen[-1][1] == 5 * len(held)
    assert verdict.features == 64
    assert verdict.coverage == scores.coverage()
    assert verdict.fvu == pytest.approx(0, abs=1e-6)
    sample = torch.randn(100, 32)
    blind, _ = judge(Lens(player, SITE, RandomDirections(sample, features=12, seed=0)), held)
    assert blind.features == 12
    assert blind.fvu is None


def test_a_lens_refuses_an_encoder_of_another_width(player: GPT) -> None:
    with pytest.raises(InputError, match="vectors of 16, but resid_post.1 of this model has 32"):
        Lens(player, SITE, PCA(torch.randn(50, 16)))
    with pytest.raises(InputError, match="0 to 1"):
        Lens(player, Site("resid_post", 5), Neurons())


def test_fidelity_needs_a_decoder(player: GPT, held: Games) -> None:
    with pytest.raises(InputError, match="no decode"):
        fidelity(Lens(player, SITE, RandomDirections(torch.randn(9, 32), features=3, seed=0)), held)


def test_a_family_that_was_not_counted_is_refused(player: GPT, held: Games) -> None:
    scores = score(count(Lens(player, SITE, Neurons()), held, cells()))
    with pytest.raises(InputError, match="no concept of legal was counted: choose of mine, theirs"):
        scores.coverage("legal")


def test_one_game_has_no_two_halves(player: GPT, held: Games) -> None:
    scores = score(count(Lens(player, SITE, Neurons()), held[:1], cells()))
    with pytest.raises(InputError, match=r"no fact of mine, theirs is true .* take more games"):
        scores.coverage()


def test_concepts_exist_and_partition_the_board(held: Games) -> None:
    boards = held.replay()
    facts = standard().of(boards)
    assert facts.shape == (len(boards), 248)
    names = [str(c) for c in standard().concepts]
    assert names[44] == "f5 mine"
    assert len(set(names)) == 248
    where = {c: i for i, c in enumerate(standard().concepts)}
    for square in (0, 44, 63):
        parts = [where[Concept(f, square)] for f in ("mine", "theirs", "empty")]
        assert bool((facts[:, parts].sum(1) == 1).all())
    assert Concept("empty", 27) not in where
    assert Concept("legal", 36) not in where
    with pytest.raises(InputError, match="family 'edge'"):
        family("edge")
