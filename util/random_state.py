"""The state of every generator of random numbers that nobody passes on: Python's, NumPy's, torch's on each device.

Random draws of the project come from generators of their own (util/streams.py); what a package draws behind its back
comes from these.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Begin them all anew."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """All of them, as tensors, numbers, strings and lists: what a training state can hold."""
    version, numbers, spare = random.getstate()
    name, words, at, has_spare, normal = np.random.get_state(legacy=True)  # noqa: NPY002  (it is what a package may use)
    return {
        "python": [version, list(numbers), spare],
        "numpy": [name, torch.from_numpy(np.asarray(words, np.int64)), int(at), int(has_spare), float(normal)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on from `random_state`; generators of GPUs that are not there any more are left as they are."""
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers), spare))
    name, words, at, has_spare, normal = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), at, has_spare, normal))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)
