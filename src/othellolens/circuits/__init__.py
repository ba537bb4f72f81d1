"""How a model comes to its moves: attribution, patching, neurons and feature circuits."""
