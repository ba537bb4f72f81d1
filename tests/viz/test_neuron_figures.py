"""Neurons: weights on boards, spectra in bins."""

from typing import Any

import pytest
import torch

from othellolens.errors import InputError
from othellolens.viz import neuron_figure, neuron_panels, spectrum_figure

EDGES = torch.tensor([0.0, 0.5, 1.5])
YES, NO = torch.tensor([3, 1]), torch.tensor([0, 12])


def test_weights_are_boards_in_one_scale() -> None:
    reads, moves = torch.linspace(-1, 1, 64), torch.linspace(-2, 0, 64)
    moves[27] = torch.nan
    panels = neuron_panels({"mine": reads}, {"move": moves})
    assert [panel.title for panel in panels] == ["reads mine", "writes move"]
    figure = neuron_figure({"mine": reads}, {"move": moves}, title="L3N17")
    boards: list[Any] = [trace for trace in figure.data if trace.name == "values"]
    assert boards[0].z[4][5] == pytest.approx(float(reads[44]))
    assert boards[1].z[3][3] is None
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-2.0, 2.0)
    with pytest.raises(InputError, match="no panels"):
        neuron_figure({}, {})


def test_a_spectrum_has_a_bar_for_each_bin_and_side() -> None:
    yes, no = spectrum_figure(EDGES, YES, NO, names=("d3 mine", "not")).data
    assert (list(yes.x), list(yes.width)) == ([0.25, 1.0], [0.5, 1.0])
    assert (list(yes.y), list(no.y)) == ([3, 1], [0, 12])
    assert (yes.name, no.name) == ("d3 mine", "not")
    assert no.customdata[1] == "not, 0.5 to 1.5: 12"


def test_counts_are_stacked_and_shares_laid_over_one_another() -> None:
    assert spectrum_figure(EDGES, YES, NO).layout.barmode == "stack"
    figure = spectrum_figure(EDGES, YES, NO, shares=True)
    assert list(figure.data[0].y) == [0.75, 0.25] and list(figure.data[1].y) == [0.0, 1.0]
    assert figure.layout.barmode == "overlay"
    logarithmic = spectrum_figure(EDGES, YES, NO, log=True)
    assert (logarithmic.layout.barmode, logarithmic.layout.yaxis.type) == ("overlay", "log")


def test_bad_spectra() -> None:
    with pytest.raises(InputError, match="2 edges and 2 and 2 counts"):
        spectrum_figure(EDGES[:2], YES, NO)
    with pytest.raises(InputError, match="do not rise"):
        spectrum_figure(EDGES.flip(0), YES, NO)
