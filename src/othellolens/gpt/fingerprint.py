"""Which model this is, told by its shape and weights alone."""

import hashlib
import json

import torch

from .model import GPT


def fingerprint(model: GPT) -> str:
    """The sha256 of a model's shape and of every weight, in hexadecimal.

    Neither its name, nor the device that it is on, nor how a weight lies in memory counts; a single
    changed bit of a weight does.
    """
    digest = hashlib.sha256(json.dumps(model.cfg.to_dict(), sort_keys=True).encode())
    for key, weight in sorted(model.state_dict().items()):
        digest.update(f"{key} {weight.dtype} {list(weight.shape)}".encode())
        plain = weight.detach().cpu().contiguous().flatten()
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
