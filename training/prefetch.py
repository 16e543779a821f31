"""Rendered hands of the training steps, drawn ahead in processes of their own where that is asked for.

Hands are drawn for several steps at once, since drawing a few costs nearly as much as drawing many. What a step gets
depends on the seed and its number alone: not on where training started, nor on who draws, nor in how many parts.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from config import Experiment
from dataloader.rendered import RenderedHands
from dataloader.sample import HandSample
from training.parts import Part
from util.draws import SampleDraws
from util.errors import UserError
from util.interruption import leave_to_parent

BLOCK = {"cpu": 128, "cuda": 1024}
"""Hands drawn at once on a kind of device, or a step's where a step has more."""


class RenderedSteps(Dataset):
    """Parts of the batches of rendered hands of steps start to stop - 1; an item is a block of steps."""

    def __init__(
        self, rendered: RenderedHands, batch: int, seed: int, start: int, stop: int, parts: Sequence[Part] = (Part(),)
    ) -> None:
        self.rendered, self.batch, self.seed, self.parts = rendered, batch, seed, parts
        self.start, self.stop = start, stop
        self.size = parts[0].size(batch)
        self.steps = max(1, BLOCK[rendered.device.type] // self.size)
        self.blocks = range(start // self.steps, -(-stop // self.steps))

    def __getitem__(self, block: int) -> list[HandSample]:
        """Step after step, and of each its parts."""
        first, size = block * self.steps, self.size
        wanted = range(max(first, self.start), min(first + self.steps, self.stop))
        with torch.device(self.rendered.device):
            hands = [self._hands(first, part) for part in self.parts]
            return [own.select(torch.arange(size) + (step - first) * size) for step in wanted for own in hands]

    def _hands(self, first: int, part: Part) -> HandSample:
        """Those of a block of steps."""
        steps = torch.arange(first, first + self.steps).repeat_interleave(self.size)
        places = torch.tensor(part.places(self.batch)).repeat(self.steps)
        draws = SampleDraws.of("rendered hands", self.seed, rows=(steps, places))
        return self.rendered.batch(len(draws), draws)


def rendered_steps(
    experiment: Experiment,
    rendered: RenderedHands,
    start: int,
    stop: int,
    batch: int,
    pinned: bool = False,
    parts: Sequence[Part] = (Part(),),
) -> Iterator[HandSample]:
    """Batches of the steps from start to stop - 1, in order; `optim.workers` processes draw them ahead on a CPU.

    pinned: in memory from which a GPU copies while this process goes on, where hands are drawn on the CPU.
    parts: what of each batch is wanted, one after another.
    """
    on_cpu = rendered.device.type == "cpu"
    workers, pinned = (experiment.optim.workers, pinned) if on_cpu else (0, False)
    steps = RenderedSteps(rendered, batch, experiment.seed, start, stop, parts)
    if not workers:
        samples = chain.from_iterable(map(steps.__getitem__, steps.blocks))
        return map(HandSample.pin_memory, samples) if pinned else samples
    # spawn: a forked child would inherit torch's threads and a CUDA context in whatever state they are in
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=steps.blocks,
        num_workers=workers,
        multiprocessing_context="spawn",
        prefetch_factor=max(1, 4 // steps.steps),
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # it would draw from torch's own, a number more in each session of a run
        pin_memory=pinned,
    )
    return chain.from_iterable(loader)


@contextmanager
def worker_deaths_told(run_dir: Path) -> Iterator[None]:
    """Context in which the death of a process that draws hands, of which torch tells by signal, is a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not (dead := re.match(r"DataLoader worker \(pid.*", str(error))):
            raise
        what = dead[0].rstrip(". ").removeprefix("DataLoader worker ")
        raise UserError(
            f"A process that draws rendered hands died {what}; go on from {run_dir} with --resume, with fewer "
            f"--optim.workers if memory ran out."
        ) from error


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    leave_to_parent()
