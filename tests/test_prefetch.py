"""What a step's rendered hands are depends on the seed and the step alone."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from config import EXPERIMENTS
from dataloader.sample import HandSample
from training.parts import Part
from training.prefetch import BLOCK, rendered_steps
from training.setup import make_rendered

SMOKE = EXPERIMENTS["smoke"]
BATCH = 48
"""Two steps a block: blocks of a start in their middle are met."""


def numbers(sample: HandSample) -> Tensor:
    assert sample.params is not None
    return torch.cat([sample.params.vector(), sample.crop.depth.flatten(1)], 1)


def drawn(
    start: int, stop: int, seed: int = 0, workers: int = 0, parts: Sequence[Part] = (Part(),), batch: int = BATCH
) -> list[Tensor]:
    experiment = replace(SMOKE, seed=seed, optim=replace(SMOKE.optim, workers=workers))
    steps = rendered_steps(experiment, make_rendered(SMOKE), start, stop, batch, parts=parts)
    return [numbers(sample) for sample in steps]


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


def test_steps_do_not_depend_on_the_parts_they_are_cut_into() -> None:
    whole = torch.cat(drawn(0, 2, batch=12))
    halves = [drawn(0, 2, batch=12, parts=(Part(index, 2),)) for index in (0, 1)]
    beside = torch.cat([torch.cat([own[step] for own in halves]) for step in (0, 1)])
    after = torch.cat(drawn(0, 2, batch=12, parts=(Part(0, 2), Part(1, 2))))
    assert torch.equal(beside, after)
    torch.testing.assert_close(after, whole, rtol=1e-4, atol=1e-4)  # sums over more at once end in other last digits
    both = [Part(index, 2).draws(7, 3, 12) for index in (0, 1)]
    assert torch.equal(torch.cat([part.rand(6, 2, 3) for part in both]), Part().draws(7, 3, 12).rand(12, 2, 3))


def test_no_step_and_no_seed_repeats_another() -> None:
    hands = torch.cat([*drawn(0, 3), *drawn(0, 3, seed=1)])[:, :62]
    distance = torch.cdist(hands, hands) + 10 * torch.eye(len(hands))
    assert float(distance.min()) > 0.1
    first = torch.cat([Part().draws(seed, step, 8).rand(8) for seed in (0, 1) for step in (0, 1)])
    assert len(set(first.tolist())) == 32


def test_steps_larger_than_a_block_are_drawn_whole() -> None:
    (sample,) = rendered_steps(SMOKE, make_rendered(SMOKE), 0, 1, BLOCK["cpu"] + 2)
    assert len(sample) == BLOCK["cpu"] + 2
