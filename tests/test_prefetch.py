"""What a step's rendered hands are depends on the seed and the step alone."""

from dataclasses import replace

import torch
from torch import Tensor

from config import EXPERIMENTS
from dataloader.sample import HandSample
from training.prefetch import BLOCK, rendered_steps, step_generator
from training.setup import make_rendered

SMOKE = EXPERIMENTS["smoke"]
BATCH = 48
"""Two steps a block: blocks of a start in their middle are met."""


def numbers(sample: HandSample) -> Tensor:
    assert sample.params is not None
    return torch.cat([sample.params.vector(), sample.crop.depth.flatten(1)], 1)


def drawn(start: int, stop: int, seed: int = 0, workers: int = 0) -> list[Tensor]:
    experiment = replace(SMOKE, seed=seed, optim=replace(SMOKE.optim, workers=workers))
    return [numbers(sample) for sample in rendered_steps(experiment, make_rendered(SMOKE), start, stop, BATCH)]


def test_steps_do_not_depend_on_where_training_starts_or_stops() -> None:
    assert BLOCK["cpu"] // BATCH == 2
    whole = drawn(0, 5)
    assert len(whole) == 5 and all(len(sample) == BATCH for sample in whole)
    for start, stop in ((1, 3), (3, 5), (4, 5)):
        for one, other in zip(drawn(start, stop), whole[start:stop], strict=True):
            assert torch.equal(one, other)


def test_steps_do_not_depend_on_who_draws() -> None:
    one_thread = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have: sums in another order end in other last digits
    try:
        for one, other in zip(drawn(1, 4), drawn(1, 4, workers=2), strict=True):
            assert torch.equal(one, other)
    finally:
        torch.set_num_threads(one_thread)


def test_no_step_and_no_seed_repeats_another() -> None:
    hands = torch.cat([*drawn(0, 3), *drawn(0, 3, seed=1)])[:, :62]
    distance = torch.cdist(hands, hands) + 10 * torch.eye(len(hands))
    assert float(distance.min()) > 0.1
    generators = [step_generator(seed, step) for seed in (0, 1) for step in (0, 1)]
    assert len({float(torch.rand((), generator=generator)) for generator in generators}) == 4


def test_steps_larger_than_a_block_are_drawn_whole() -> None:
    (sample,) = rendered_steps(SMOKE, make_rendered(SMOKE), 0, 1, BLOCK["cpu"] + 2)
    assert len(sample) == BLOCK["cpu"] + 2
