"""Losses and slopes of every architecture against numbers worked out by hand."""

import pytest
import torch

from othellolens.sae.autoencoder import SparseAutoencoder
from othellolens.sae.batch_topk import BatchTopK
from othellolens.sae.gated import Gated
from othellolens.sae.gated_p_anneal import GatedPAnneal
from othellolens.sae.jump_relu import JumpRelu
from othellolens.sae.matryoshka import Matryoshka
from othellolens.sae.p_anneal import PAnneal
from othellolens.sae.prolu import ProLU
from othellolens.sae.relu import Relu
from othellolens.sae.topk import TopK


def plain(sae: SparseAutoencoder) -> SparseAutoencoder:
    """Encoder and decoder the identity, so that features are the numbers that go in."""
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(sae.width))
        sae.W_dec.copy_(torch.eye(sae.width))
    return sae


def dead(*which: bool) -> torch.Tensor:
    return torch.tensor(which)


X = torch.tensor([[3.0, -1.0], [1.0, 1.0]])
NONE = dead(False, False)


def test_relu() -> None:
    loss, features = plain(Relu(2, penalty=0.5).build(2)).loss(X, X, NONE)
    assert features.tolist() == [[3, 0], [1, 1]]
    assert loss.reconstruction.item() == pytest.approx(0.5)
    assert loss.sparsity.item() == pytest.approx(0.5 * (3 + 2) / 2)
    assert loss.revival.item() == 0


def test_the_notebooks_l1_in_our_units() -> None:
    """Its loss: squared error a row, and l1_coeff times the sum over the batch."""
    sae = plain(Relu.of_the_notebook(2, l1_coeff=0.1, batch=2).build(2))
    loss, features = sae.loss(X, X, NONE)
    assert loss.sparsity.item() == pytest.approx(0.1 * float(features.detach().sum()))


def test_tied_weights_learn_through_both_sides() -> None:
    tied, free = (Relu(2, penalty=0.5, tied=tied).build(2, seed=3) for tied in (True, False))
    for sae in (tied, free):
        sae.loss(X, X, NONE)[0].total().backward()
    assert tied.W_enc.grad is None
    torch.testing.assert_close(tied.W_dec.grad, free.W_dec.grad + free.W_enc.grad.T)


def test_the_penalty_rises_at_the_beginning() -> None:
    sae = plain(Relu(2, penalty=0.5).build(2))
    sae.progress = 0.025
    assert sae.loss(X, X, NONE)[0].sparsity.item() == pytest.approx(0.5 * 0.5 * 2.5)
    sae.progress = 0.05
    assert sae.loss(X, X, NONE)[0].sparsity.item() == pytest.approx(0.5 * 2.5)


@pytest.mark.parametrize("recipe", [PAnneal(2, penalty=0.5, p_end=0.5, anneal_from=0.0)])
def test_p_anneal_falls_and_goes_on_where_it_was(recipe: PAnneal) -> None:
    sae = plain(recipe.build(2)).train()
    sae.progress = 0.0
    with torch.no_grad():
        sae.strength.fill_(1.0)
    sae.progress = 1e-9
    before = sae.power(torch.tensor([[4.0, 0.0], [1.0, 1.0]]), 0.0, 2)
    assert before.item() == pytest.approx(3.0)
    after = sae.power(torch.tensor([[4.0, 0.0], [1.0, 1.0]]), 1.0, 2)
    assert float(sae.power.p) == 0.5
    assert after.item() == pytest.approx(3.0, rel=1e-5)
    # From now on it is the sum of square roots, times what kept it steady: 3 / 2.
    again = sae.power(torch.tensor([[9.0, 0.0], [0.0, 1.0]]), 1.0, 2)
    assert again.item() == pytest.approx((3 + 1) / 2 * 3 / 2, rel=1e-5)


def test_p_does_not_fall_in_eval_mode() -> None:
    sae = PAnneal(2, anneal_from=0.0).build(2).eval()
    sae.power(torch.ones(2, 2), 1.0, 2)
    assert float(sae.power.p) == 1


def test_gated() -> None:
    sae = plain(Gated(2, penalty=0.5).build(2))
    with torch.no_grad():
        sae.b_gate.copy_(torch.tensor([-2.0, 0.5]))
        sae.b_mag.copy_(torch.tensor([0.5, 0.0]))
        sae.r_mag.copy_(torch.tensor([0.0, 2.0]).exp().log())
    x = torch.tensor([[3.0, -1.0], [1.0, 1.0]])
    loss, features = sae.loss(x, x, NONE)
    # pi = [[1, -0.5], [-1, 1.5]]; sizes [[3.5, -], [-, e^2]].
    size = float(torch.tensor(2.0).exp())
    torch.testing.assert_close(features, torch.tensor([[3.5, 0], [0, size]]))
    error = (0.25 + 1 + 1 + (size - 1) ** 2) / 2
    assert loss.reconstruction.item() == pytest.approx(error, rel=1e-5)
    assert loss.sparsity.item() == pytest.approx(0.5 * (1 + 1.5) / 2)
    assert loss.revival.item() == pytest.approx(((4 + 1) + (1 + 0.25)) / 2)


@pytest.mark.parametrize("recipe", [Gated(4), GatedPAnneal(4)])
def test_the_gates_own_error_does_not_move_the_decoder(recipe: Gated) -> None:
    sae = recipe.build(3, seed=1)
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.b_dec.fill_(0.1)
    loss, _ = sae.loss(x, x, torch.zeros(4, dtype=torch.bool))
    found = torch.autograd.grad(loss.revival, [sae.W_dec, sae.W_enc], allow_unused=True)
    assert found[0] is None
    assert float(found[1].abs().sum()) > 0


def test_topk_keeps_the_largest_of_every_row() -> None:
    x = torch.tensor([[5.0, 4.0, 0.0, -9.0], [1.0, 0.0, 0.5, -2.0], [-1.0, -2.0, -3.0, -4.0]])
    sae = plain(TopK(4, k=1).build(4))
    loss, features = sae.loss(x, x, torch.zeros(4, dtype=torch.bool))
    assert features.tolist() == [[5, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert loss.reconstruction.item() == pytest.approx((16 + 81 + 0.25 + 4 + 30) / 3)
    assert torch.equal(sae.encode(x), features)


def test_batch_topk_keeps_the_largest_of_the_batch() -> None:
    sae = plain(BatchTopK(4, k=1).build(4))
    x = torch.tensor([[5.0, 4.0, 0.0, -9.0], [1.0, 0.0, 0.5, 0.0]])
    loss, features = sae.loss(x, x, torch.zeros(4, dtype=torch.bool))
    assert features.tolist() == [[5, 4, 0, 0], [0, 0, 0, 0]]
    assert loss.reconstruction.item() == pytest.approx((81 + 1.25) / 2)
    sae.calibrate(x)
    assert sae.encode(x).tolist() == [[5, 4, 0, 0], [0, 0, 0, 0]]


def test_batch_topk_keeps_half_a_feature_more_on_average() -> None:
    x = torch.tensor([[5.0, 4.0, 0.0, 0.0], [1.0, 0.0, 0.5, 0.0]])
    sae = plain(BatchTopK(4, k=1.5).build(4))
    _, features = sae.loss(x, x, torch.zeros(4, dtype=torch.bool))
    assert features.tolist() == [[5, 4, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("recipe", [TopK(4, k=1), BatchTopK(4, k=1)])
def test_auxk(recipe: TopK | BatchTopK) -> None:
    sae = plain(recipe.build(4))
    x = torch.tensor([[5.0, 0.0, 2.0, 0.0], [6.0, 0.0, 0.0, 0.0]])
    loss, _ = sae.loss(x, x, dead(False, True, True, False))
    # Left over is [[0,0,2,0],[0,0,0,0]]; the dead feature 2 rebuilds it exactly.
    assert loss.reconstruction.item() == pytest.approx(2.0)
    assert loss.revival.item() == pytest.approx(0.0)
    loss, _ = sae.loss(x, x, dead(False, True, False, False))
    # The dead feature 1 sees nothing, so all of the left-over stays: error = 2, spread = 1.
    assert loss.revival.item() == pytest.approx(2.0 / 1.0 * 4 / 32)


def test_auxk_trains_the_encoder_of_the_dead_too() -> None:
    """A fused encoder elsewhere dropped this gradient, so that the dead never came back."""
    sae = TopK(6, k=1).build(4, seed=0)
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    which = torch.arange(6) == 5
    loss, _ = sae.loss(x, x, which)
    (W_enc,) = torch.autograd.grad(loss.revival, [sae.W_enc])
    assert float(W_enc[:, 5].abs().sum()) > 0
    assert float(W_enc[:, :5].abs().sum()) == 0


def test_matryoshka_adds_up_the_errors_of_its_levels() -> None:
    sae = plain(Matryoshka(4, k=2, levels=(0.25, 0.5, 1.0)).build(4))
    x = torch.tensor([[5.0, 4.0, 0.0, 1.0], [1.0, 2.0, 3.0, 0.0]])
    loss, features = sae.loss(x, x, torch.zeros(4, dtype=torch.bool))
    assert features.tolist() == [[5, 4, 0, 0], [0, 2, 3, 0]]
    assert loss.reconstruction.item() == pytest.approx((1 + 1) / 2)
    first, second = (16 + 1 + 1 + 4 + 9) / 2, (1 + 1 + 9) / 2
    assert loss.revival.item() == pytest.approx(first + second)


def jumping(form: str, penalty: float = 0.5) -> SparseAutoencoder:
    recipe = JumpRelu(2, penalty=penalty, form=form, l0=0.5, bandwidth=1.0, threshold=1.0, push=0.1)
    return plain(recipe.build(2))


Z = torch.tensor([[3.0, 0.8], [1.2, -4.0]])
# Near the threshold of 1: 0.8 and 1.2.


def test_jumprelu_step_and_its_made_up_slope() -> None:
    sae = jumping("step")
    loss, features = sae.loss(Z, Z, NONE)
    torch.testing.assert_close(features, torch.tensor([[3.0, 0], [1.2, 0]]))
    assert loss.reconstruction.item() == pytest.approx((0.64 + 16) / 2)
    assert loss.sparsity.item() == pytest.approx(0.5 * (1 + 1) / 2)
    (slope,) = torch.autograd.grad(loss.sparsity, [sae.threshold], retain_graph=True)
    # -(1 / bandwidth) for each row near the threshold, mean over 2 rows, times the penalty.
    torch.testing.assert_close(slope, torch.tensor([-0.25, -0.25]))
    (slope,) = torch.autograd.grad(loss.reconstruction, [sae.threshold])
    # -(theta / bandwidth) df, df = 2 (x^ - x) / 2 rows: 0 where 1.2 is rebuilt,
    # -0.8 where 0.8 is not.
    torch.testing.assert_close(slope, torch.tensor([0.0, 0.8]))


def test_jumprelu_tanh() -> None:
    loss, features = jumping("tanh").loss(Z, Z, NONE)
    assert loss.sparsity.item() == pytest.approx(
        0.5 * float(torch.tanh(4 * features.detach()).sum()) / 2
    )


def test_jumprelu_target() -> None:
    sae = jumping("target")
    loss, _ = sae.loss(Z, Z, NONE)
    assert loss.sparsity.item() == pytest.approx(0.5 * (1 / 0.5 - 1) ** 2)
    (slope,) = torch.autograd.grad(loss.sparsity, [sae.threshold])
    # 2 (L0 / l0 - 1) / l0 times the slope of L0, -1/2 a feature.
    torch.testing.assert_close(slope, torch.full((2,), 0.5 * 2 * 1 / 0.5 * -0.5))


def test_jumprelu_lifts_only_what_is_dead() -> None:
    loss, _ = jumping("step").loss(Z, Z, dead(False, True))
    assert loss.revival.item() == pytest.approx(0.1 * (0.2 + 5.0) / 2, rel=1e-5)


@pytest.mark.parametrize(("slope", "of_m", "of_b"), [("relu", 1.0, 1.0), ("ste", 1 + 3.0, 3.0)])
def test_prolu_and_its_made_up_slopes(slope: str, of_m: float, of_b: float) -> None:
    sae = plain(ProLU(2, penalty=1.0, slope=slope).build(2))
    with torch.no_grad():
        sae.threshold.copy_(torch.tensor([1.0, 0.5]))
    x = torch.tensor([[3.0, 0.4], [0.9, -2.0]])
    loss, features = sae.loss(x, x, NONE)
    assert features.tolist() == [[3, 0], [0, 0]]
    enc, threshold = torch.autograd.grad(loss.sparsity, [sae.W_enc, sae.threshold])
    # Only the first number of the first row is on; means over 2 rows.
    torch.testing.assert_close(enc[0, 0], torch.tensor(of_m * 3.0 / 2))
    torch.testing.assert_close(threshold, torch.tensor([-of_b / 2, 0.0]))


def test_a_positive_bias_of_prolu_does_what_none_does() -> None:
    sae = plain(ProLU(2).build(2))
    with torch.no_grad():
        sae.threshold.fill_(-1.0)
    _, features = sae.loss(X, X, NONE)
    assert features.tolist() == [[3, 0], [1, 1]]
    assert sae.threshold.tolist() == [0, 0]


def test_a_transcoder_rebuilds_something_else() -> None:
    sae = plain(Relu(2, penalty=0.0).build(2, d_out=2, skip=True))
    with torch.no_grad():
        sae.b_dec.fill_(0.5)
        sae.W_skip.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    y = torch.tensor([[2.0, 0.0], [2.5, 1.0]])
    loss, features = sae.loss(X, y, NONE)
    assert features.tolist() == [[3, 0], [1, 1]]  # b_dec is not subtracted
    # Rebuilt: [[3 + .5 - 1, .5], [1 + .5 + 1, 1.5]].
    assert loss.reconstruction.item() == pytest.approx((0.25 + 0.25 + 0 + 0.25) / 2)
    torch.testing.assert_close(sae.reconstruct(X), torch.tensor([[2.5, 0.5], [2.5, 1.5]]))
