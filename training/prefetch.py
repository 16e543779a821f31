"""Rendered hands drawn ahead of the training step, in processes of their own where that is asked for."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from config import Experiment
from dataloader.rendered import RenderedHands
from dataloader.sample import HandSample


def step_generator(seed: int, step: int) -> torch.Generator:
    """All randomness of a step comes from this generator, whichever process draws it."""
    return torch.Generator().manual_seed((seed << 32) + step)


class RenderedSteps(Dataset):
    """The batch of rendered hands of each step: the same for any number of processes, and after a resume."""

    def __init__(self, rendered: RenderedHands, batch: int, seed: int) -> None:
        self.rendered, self.batch, self.seed = rendered, batch, seed

    def __getitem__(self, step: int) -> HandSample:
        return self.rendered.batch(self.batch, step_generator(self.seed, step))


def rendered_steps(
    experiment: Experiment, rendered: RenderedHands, start: int, stop: int, batch: int
) -> Iterator[HandSample]:
    """Batches of the steps from start to stop - 1, in order; `optim.workers` processes draw them ahead."""
    workers = experiment.optim.workers
    steps = RenderedSteps(rendered, batch, experiment.seed)
    # spawn: a forked child would inherit torch's threads and a CUDA context in whatever state they are in
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread if workers else None,
    )
    return iter(loader)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
