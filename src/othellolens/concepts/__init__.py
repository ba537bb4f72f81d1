"""What can be true of a board."""

from . import lines, squares, wholes
from .concepts import (
    Concept,
    ConceptSet,
    Family,
    cells,
    everything,
    fact,
    families,
    family,
    standard,
)

__all__ = [
    "Concept",
    "ConceptSet",
    "Family",
    "cells",
    "everything",
    "fact",
    "families",
    "family",
    "lines",
    "squares",
    "standard",
    "wholes",
]
