"""The published probe's form, read, written and combined; and how directions lie."""

from pathlib import Path

import pytest
import torch

from othellolens.errors import InputError
from othellolens.probes.geometry import cosines, geometry, paired, spectrum
from othellolens.probes.linear import LinearProbe
from othellolens.probes.three_mode import ThreeModeProbe, load_relative_probe

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "main_linear_probe.pth"


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.shared
def test_the_published_geometry() -> None:
    """Colours turn around between the modes, blank does not; squares are nearly orthogonal."""
    if not SHARED.is_file():
        pytest.skip("no published probe beside the repository")
    probe = ThreeModeProbe.load(SHARED)
    assert probe.d_in == 512
    colour = float(paired(probe.colour(0), probe.colour(1)).mean())
    blank = float(paired(probe.blank(0), probe.blank(1)).mean())
    assert colour == pytest.approx(-0.985, abs=0.003)
    assert blank == pytest.approx(0.974, abs=0.003)
    found = geometry(probe.relative())
    assert found.between_squares == pytest.approx(0.033, abs=0.01)
    assert found.most == pytest.approx(0.353, abs=0.01)
    assert found.colour_empty == pytest.approx(-0.04, abs=0.02)


def test_modes_are_combined_as_they_are_seen(tmp_path: Path) -> None:
    """Black to move: black is mine. White to move: white is. Checked entry by entry."""
    weight = drawn(3, 4, 8, 8, 3)
    torch.save(weight.clone().requires_grad_(), tmp_path / "probe.pth")
    probe = ThreeModeProbe.load(tmp_path / "probe.pth").relative()
    for d, square in ((0, 0), (3, 27), (2, 63)):
        row, column = divmod(square, 8)
        empty, white, black = weight[:, d, row, column].unbind(-1)
        assert float(probe.W.data[d, 0, square]) == pytest.approx(float(black[0] + white[1]) / 2)
        assert float(probe.W.data[d, 1, square]) == pytest.approx(float(white[0] + black[1]) / 2)
        assert float(probe.W.data[d, 2, square]) == pytest.approx(float(empty[0] + empty[1]) / 2)
    assert probe.metadata["site"] == "resid_post.6"


def test_written_and_read_back(tmp_path: Path) -> None:
    probe = LinearProbe(6)
    with torch.no_grad():
        probe.W.copy_(drawn(6, 3, 64))
        probe.scale.fill_(2.0)
    modes = ThreeModeProbe.of(probe)
    modes.save(tmp_path / "probe.pth")
    back = ThreeModeProbe.load(tmp_path / "probe.pth")
    assert torch.equal(back.weight, modes.weight)
    x = drawn(5, 6)
    torch.testing.assert_close(back.relative().logits(x), probe.logits(x))
    torch.testing.assert_close(back.colour(0), -back.colour(1))
    with pytest.raises(InputError, match="exists"):
        modes.save(tmp_path / "probe.pth")


def test_one_mode_of_relative_classes(tmp_path: Path) -> None:
    weight = drawn(1, 4, 8, 8, 3)
    torch.save(weight, tmp_path / "resid_2_linear.pth")
    probe = load_relative_probe(tmp_path / "resid_2_linear.pth")
    flat = weight[0].flatten(1, 2)
    for ours, theirs in ((0, 2), (1, 1), (2, 0)):
        assert torch.equal(probe.W[:, ours], flat[..., theirs])


class Trap:
    """A pickle that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_what_is_no_such_probe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.pth"
    with pytest.raises(InputError, match="no such file"):
        ThreeModeProbe.load(path)
    for weight, what in (
        (drawn(3, 4, 8, 8), r"shape \[3, 4, 8, 8\]"),
        (drawn(3, 4, 64, 3), r"shape \[3, 4, 64, 3\]"),
        (drawn(1, 4, 8, 8, 3), "1 modes and 3 classes.*load_relative_probe"),
        (drawn(3, 4, 8, 8, 2), "3 modes and 2 classes"),
        (drawn(3, 4, 8, 8, 3) / 0, "NaN or infinite"),
        ({"W": drawn(3)}, "holds a dict"),
    ):
        torch.save(weight, path)
        with pytest.raises(InputError, match=what):
            ThreeModeProbe.load(path)
    torch.save(drawn(1, 4, 8, 8, 2), path)
    with pytest.raises(InputError, match="not .1, d_in, 8, 8, 3"):
        load_relative_probe(path)
    torch.save(Trap(tmp_path / "sprung"), path)
    with pytest.raises(InputError, match="nothing in it was run"):
        ThreeModeProbe.load(path)
    assert not (tmp_path / "sprung").exists()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="damaged"):
        ThreeModeProbe.load(path)


def test_geometry_of_a_known_probe() -> None:
    """Squares along axes of their own, mine opposite to theirs: all is as said."""
    probe = LinearProbe(128)
    with torch.no_grad():
        probe.W[:64, 0] = torch.eye(64)
        probe.W[:64, 1] = -torch.eye(64)
        probe.W[64:, 2] = torch.eye(64)
    found = geometry(probe)
    # mine - (theirs + empty)/2 = (1.5, -0.5), theirs - (mine + empty)/2 = (-1.5, -0.5)
    assert found.mine_theirs == pytest.approx((-2.25 + 0.25) / 2.5)
    assert found.colour_empty == pytest.approx(0)
    assert found.between_squares == pytest.approx(0)
    assert found.dimensions == 58  # 58 of 64 equal axes are the first to hold 90 %
    same = torch.ones(64, 5)
    assert spectrum(same).dimensions() == 1
    assert float(spectrum(same, centred=True).values.max()) == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(spectrum(same).boards[0].abs(), torch.full((64,), 1 / 8))
    a, b = drawn(3, 7), drawn(2, 7)
    assert float(cosines(a, b)[2, 1]) == pytest.approx(
        float(torch.nn.functional.cosine_similarity(a[2], b[1], dim=0))
    )
