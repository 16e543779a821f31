"""Rendered hands of the training steps, drawn ahead in processes of their own where that is asked for.

Hands are drawn for several steps at once, since drawing a few costs nearly as much as drawing many. What a step gets
depends on the seed and its number alone: not on where training started, nor on who draws.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from config import Experiment
from dataloader.rendered import RenderedHands
from dataloader.sample import HandSample
from util.errors import UserError
from util.interruption import leave_to_parent
from util.streams import stream

BLOCK = {"cpu": 128, "cuda": 1024}
"""Hands drawn at once on a kind of device, or a step's where a step has more."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """All randomness of a step, that of its rendered hands apart, comes from this generator."""
    return stream("step", seed, step)


class RenderedSteps(Dataset):
    """Batches of rendered hands of steps start to stop - 1; an item is a block of steps."""

    def __init__(self, rendered: RenderedHands, batch: int, seed: int, start: int, stop: int) -> None:
        self.rendered, self.batch, self.seed = rendered, batch, seed
        self.start, self.stop = start, stop
        self.steps = max(1, BLOCK[rendered.device.type] // batch)
        self.blocks = range(start // self.steps, -(-stop // self.steps))

    def __getitem__(self, block: int) -> list[HandSample]:
        first, device = block * self.steps, self.rendered.device
        wanted = range(max(first, self.start), min(first + self.steps, self.stop))
        with torch.device(device):
            hands = self.rendered.batch(
                self.steps * self.batch, stream("rendered hands", self.seed, block, device=device)
            )
            return [hands.select(torch.arange(self.batch) + (step - first) * self.batch) for step in wanted]


def rendered_steps(
    experiment: Experiment, rendered: RenderedHands, start: int, stop: int, batch: int, pinned: bool = False
) -> Iterator[HandSample]:
    """Batches of the steps from start to stop - 1, in order; `optim.workers` processes draw them ahead on a CPU.

    pinned: in memory from which a GPU copies while this process goes on, where hands are drawn on the CPU.
    """
    on_cpu = rendered.device.type == "cpu"
    workers, pinned = (experiment.optim.workers, pinned) if on_cpu else (0, False)
    steps = RenderedSteps(rendered, batch, experiment.seed, start, stop)
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
