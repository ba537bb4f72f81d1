"""Every architecture by its name, third-party ones by entry point among them.

A package adds one of its own with, in its pyproject.toml,

    [project.entry-points."othellolens.architectures"]
    my_sae = "my_package:MyRecipe"

where `MyRecipe` is a `Recipe` that builds a `SparseAutoencoder` whose `architecture` is `my_sae`.
`othellolens.testing.check_encoder` says whether it keeps the contract.
"""

from importlib.metadata import entry_points

from ..errors import InputError
from .autoencoder import Recipe
from .batch_topk import BatchTopK, BatchTopKSAE
from .gated import Gated, GatedSAE
from .gated_p_anneal import GatedPAnneal, GatedPAnnealSAE
from .jump_relu import JumpRelu, JumpReluSAE
from .matryoshka import Matryoshka, MatryoshkaSAE
from .p_anneal import PAnneal, PAnnealSAE
from .prolu import ProLU, ProLUSAE
from .relu import Relu, ReluSAE
from .topk import TopK, TopKSAE

GROUP = "othellolens.architectures"

OURS: dict[str, type[Recipe]] = {
    ReluSAE.architecture: Relu,
    PAnnealSAE.architecture: PAnneal,
    ProLUSAE.architecture: ProLU,
    GatedSAE.architecture: Gated,
    GatedPAnnealSAE.architecture: GatedPAnneal,
    TopKSAE.architecture: TopK,
    BatchTopKSAE.architecture: BatchTopK,
    MatryoshkaSAE.architecture: Matryoshka,
    JumpReluSAE.architecture: JumpRelu,
}


def architecture(name: str) -> type[Recipe]:
    """The recipe of an architecture.

    Raises:
        InputError: there is none of this name, or the package that has it does not load.
    """
    if name in OURS:
        return OURS[name]
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join([*OURS, *found])
        raise InputError(f"no architecture {name!r}: there are {known}")
    try:
        recipe = found[name].load()
    except Exception as error:
        raise InputError(f"architecture {name!r} ({found[name].value}): {error}") from error
    if not (isinstance(recipe, type) and issubclass(recipe, Recipe)):
        raise InputError(f"architecture {name!r} ({found[name].value}) is no Recipe")
    return recipe


def is_known(name: str) -> bool:
    """Whether there is an architecture of this name."""
    return name in OURS or any(point.name == name for point in entry_points(group=GROUP))


def name_of(recipe: Recipe) -> str:
    """The name of a recipe's architecture."""
    for name, known in OURS.items():
        if type(recipe) is known:
            return name
    where = f"{type(recipe).__module__}:{type(recipe).__qualname__}"
    found = [point.name for point in entry_points(group=GROUP) if point.value == where]
    return found[0] if found else type(recipe).__name__
