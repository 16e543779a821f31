"""A step's batch, cut into equal parts: some one after another (`optim.accumulate`), some in other processes.

What is in the batch does not depend on how it is cut: sample i of step s is the same in any part. What depends on it is
batch normalisation, which sees one part at a time. Terms that divide by a number of valid items, such as foreground
cells or known joints, divide by that of the whole batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from config import OptimConfig
from dataloader.sample import HandSample
from util.draws import SampleDraws
from util.errors import UserError
from util.processes import rank, world

Counts = Mapping[str, Tensor]
"""By name, what terms divide by: the whole batch's share of a part. What is not there, a part counts for itself."""
ITSELF: Counts = {}
"""A part that is the whole batch."""


@dataclass(frozen=True)
class Part:
    """One of the equal parts of every batch."""

    index: int = 0
    """Which one."""
    of: int = 1
    """How many there are."""

    def size(self, whole: int) -> int:
        """Samples of a batch that are in a part. Raises UserError when it cannot be cut evenly."""
        if whole % self.of:
            raise UserError(
                f"A batch of {whole} cannot be cut into {self.of} equal parts, those of all processes: choose "
                f"--optim.batch and --optim.real-batch that are multiples of {self.of}."
            )
        return whole // self.of

    def places(self, whole: int) -> range:
        """Their places in the batch."""
        size = self.size(whole)
        return range(self.index * size, (self.index + 1) * size)

    def draws(self, seed: int, step: int, whole: int) -> SampleDraws:
        """All randomness of these samples of a step, that of rendered hands apart."""
        places = torch.tensor(self.places(whole))
        return SampleDraws.of("step", seed, rows=(torch.full_like(places, step), places))


@dataclass(frozen=True)
class Ready:
    """A part of a step whose samples are there, before a network has seen them."""

    terms: Callable[[Counts], dict[str, Tensor]]
    """The weighted loss terms."""
    samples: dict[str, HandSample] = field(default_factory=dict)
    """What they are made from."""
    counts: Callable[[], dict[str, Tensor]] = dict
    """What terms divide by, of this part alone: numbers, none of which needs a network that learns."""


StepLosses = Callable[[int, Part], Ready]
"""(step, part) -> what is learned from it; called for each step in turn, and for its parts in order."""


def own_parts(config: OptimConfig) -> tuple[Part, ...]:
    """The parts of this process, in the order in which it takes them.

    Raises UserError when there are none.
    """
    if config.accumulate < 1:
        raise UserError(f"--optim.accumulate {config.accumulate} is less than 1: choose 1 to leave it away.")
    return tuple(Part(turn * world() + rank(), config.accumulate * world()) for turn in range(config.accumulate))


def within(counts: Counts, prefix: str) -> Counts:
    """The counts whose names start so, without the prefix."""
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
