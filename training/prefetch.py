"""Rendered hands of the training steps, drawn ahead in processes of their own where that is asked for.

Poses are drawn for several steps at once, since drawing a few costs nearly as much as drawing many; images are
rendered step by step. What a step gets depends on the seed and its number alone: not on where training started, nor on
who draws.
"""

from collections.abc import Iterator
from itertools import chain

import torch
from torch.utils.data import DataLoader, Dataset

from config import Experiment
from dataloader.rendered import RenderedHands
from dataloader.sample import HandSample
from util.streams import stream

BLOCK = 128
"""Hands whose poses are drawn at once, or a step's where a step has more."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """All randomness of a step, that of its rendered hands apart, comes from this generator."""
    return stream("step", seed, step)


class RenderedSteps(Dataset):
    """Batches of rendered hands of steps start to stop - 1; an item is a block of steps."""

    def __init__(self, rendered: RenderedHands, batch: int, seed: int, start: int, stop: int) -> None:
        self.rendered, self.batch, self.seed = rendered, batch, seed
        self.start, self.stop = start, stop
        self.steps = max(1, BLOCK // batch)
        self.blocks = range(start // self.steps, -(-stop // self.steps))

    def __getitem__(self, block: int) -> list[HandSample]:
        return list(self.samples(block))

    def samples(self, block: int) -> Iterator[HandSample]:
        """A block's batches, each rendered when it is asked for."""
        first = block * self.steps
        poses = stream("poses of rendered hands", self.seed, block)
        hands = self.rendered.sampler.sample(self.steps * self.batch, poses)
        for step in range(max(first, self.start), min(first + self.steps, self.stop)):
            at = (step - first) * self.batch
            images = stream("images of rendered hands", self.seed, step)
            yield self.rendered.images(hands[at : at + self.batch], images)


def rendered_steps(
    experiment: Experiment, rendered: RenderedHands, start: int, stop: int, batch: int, pinned: bool = False
) -> Iterator[HandSample]:
    """Batches of the steps from start to stop - 1, in order; `optim.workers` processes draw them ahead.

    pinned: in memory from which a GPU copies while this process goes on.
    """
    workers = experiment.optim.workers
    steps = RenderedSteps(rendered, batch, experiment.seed, start, stop)
    if not workers:
        samples = chain.from_iterable(map(steps.samples, steps.blocks))
        return map(HandSample.pin_memory, samples) if pinned else samples
    # spawn: a forked child would inherit torch's threads and a CUDA context in whatever state they are in
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=steps.blocks,
        num_workers=workers,
        multiprocessing_context="spawn",
        prefetch_factor=max(1, 4 // steps.steps),
        worker_init_fn=_one_thread,
        pin_memory=pinned,
    )
    return chain.from_iterable(loader)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
