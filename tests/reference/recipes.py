"""Every architecture in a small size, for the tests that all of them must pass."""

from othellolens.sae.autoencoder import Recipe
from othellolens.sae.batch_topk import BatchTopK
from othellolens.sae.gated import Gated
from othellolens.sae.gated_p_anneal import GatedPAnneal
from othellolens.sae.jump_relu import JumpRelu
from othellolens.sae.matryoshka import Matryoshka
from othellolens.sae.p_anneal import PAnneal
from othellolens.sae.prolu import ProLU
from othellolens.sae.relu import Relu
from othellolens.sae.topk import TopK

WIDTH = 24
RECIPES: dict[str, Recipe] = {
    "relu": Relu(WIDTH, penalty=0.3, l0=3),
    "relu-tied": Relu(WIDTH, penalty=0.3, l0=3, tied=True),
    "p-anneal": PAnneal(WIDTH, penalty=0.3, l0=3),
    "prolu": ProLU(WIDTH, penalty=0.3, l0=3),
    "prolu-ste": ProLU(WIDTH, penalty=0.3, l0=3, slope="ste"),
    "gated": Gated(WIDTH, penalty=0.3, l0=3),
    "gated-p-anneal": GatedPAnneal(WIDTH, penalty=0.3, l0=3),
    "topk": TopK(WIDTH, k=3),
    "batch-topk": BatchTopK(WIDTH, k=3),
    "matryoshka": Matryoshka(WIDTH, k=3, levels=(0.25, 0.5, 1.0)),
    "jumprelu": JumpRelu(WIDTH, l0=3, form="step"),
    "jumprelu-tanh": JumpRelu(WIDTH, l0=3, form="tanh"),
    "jumprelu-target": JumpRelu(WIDTH, l0=3, form="target"),
}
