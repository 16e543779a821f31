"""Weights made from tensors' own names, so that a reference of networks needs to store none."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def seeded(name: str, shape: Sequence[int]) -> Tensor:
    """The tensor of this name in a name-seeded state dict.

    Args:
        name: its published name, whose checksum is the seed.
        shape: its shape.

    Returns:
        float32 of that shape, near what training leaves: unit gains, small biases, fans scaled to one. Counters are
        an int64 zero.
    """
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    a = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith("running_var"):
        a = 1 + 0.1 * np.abs(a)
    elif name.endswith("running_mean"):
        a = 0.05 * a
    elif a.ndim == 1:
        a = 1 + 0.05 * a if name.endswith("weight") else 0.05 * a
    else:
        a = a * np.sqrt(1 / a[0].size)
    return torch.from_numpy(a.astype(np.float32))


def seeded_state(keys: Path) -> dict[str, Tensor]:
    """The name-seeded state dict of a file of names and shapes (`*_state_dict_keys.json`), in that file's order."""
    shapes: dict[str, list[int]] = json.loads(keys.read_text(encoding="utf-8"))
    return {name: seeded(name, shape) for name, shape in shapes.items()}
