"""Figures for notebooks: boards, and charts of what is no board; and what they show as plain data.

Everything is first plain data (`Panel`, `Curve`, `Bar`, `Matrix`, `Node`, `Edge`, each with
`to_dict`), then a `plotly.graph_objects.Figure`. Only the second needs plotly, which is an extra:
pip install "othellolens[viz]".
"""

from .boards import board_figure
from .charts import Bar, Curve, Matrix, bar_figure, line_figure, matrix_figure
from .graphs import Edge, Node, graph_figure, node_places
from .moves import (
    edit_figure,
    edit_panels,
    lens_figure,
    lens_panels,
    move_panel,
    move_panels,
    moves_figure,
    on_squares,
    saliency_figure,
    saliency_panel,
)
from .neurons import neuron_figure, neuron_panels, spectrum_figure
from .panels import Panel, on_board, panel, panels_of, position_panel
from .patches import (
    Agreement,
    agreement,
    agreement_figure,
    attribution_bars,
    attribution_figure,
    outcome_bars,
    outcomes_figure,
    patched_figure,
    patched_matrix,
    persistence_curves,
    persistence_figure,
)
from .probes import (
    cosines_figure,
    layer_curves,
    layers_figure,
    mine_less_theirs,
    plies_figure,
    ply_curves,
    reading_panels,
    readings_figure,
    squares_figure,
)

__all__ = [
    "Agreement",
    "Bar",
    "Curve",
    "Edge",
    "Matrix",
    "Node",
    "Panel",
    "agreement",
    "agreement_figure",
    "attribution_bars",
    "attribution_figure",
    "bar_figure",
    "board_figure",
    "cosines_figure",
    "edit_figure",
    "edit_panels",
    "graph_figure",
    "layer_curves",
    "layers_figure",
    "lens_figure",
    "lens_panels",
    "line_figure",
    "matrix_figure",
    "mine_less_theirs",
    "move_panel",
    "move_panels",
    "moves_figure",
    "neuron_figure",
    "neuron_panels",
    "node_places",
    "on_board",
    "on_squares",
    "outcome_bars",
    "outcomes_figure",
    "panel",
    "panels_of",
    "patched_figure",
    "patched_matrix",
    "persistence_curves",
    "persistence_figure",
    "plies_figure",
    "ply_curves",
    "position_panel",
    "reading_panels",
    "readings_figure",
    "saliency_figure",
    "saliency_panel",
    "spectrum_figure",
    "squares_figure",
]
