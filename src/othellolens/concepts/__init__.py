"""What can be true of a board."""

from .concepts import Concept, ConceptSet, cells, family, standard

__all__ = ["Concept", "ConceptSet", "cells", "family", "standard"]
