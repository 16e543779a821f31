"""Streams of random numbers repeat, and differ for different names."""

import torch

from util.streams import stream


def numbers(*names: int | str) -> tuple[float, ...]:
    return tuple(torch.rand(3, generator=stream(*names)).tolist())


def test_a_stream_repeats() -> None:
    assert numbers("steps", 3, 7) == numbers("steps", 3, 7)


def test_streams_of_other_names_have_other_numbers() -> None:
    names = [(purpose, seed, step) for purpose in ("a", "b") for seed in (0, 1, 1 << 32) for step in (0, 1, 1 << 32)]
    assert len({numbers(*name) for name in names}) == len(names)


def test_upper_halves_of_seeds_do_nothing_in_torch() -> None:
    """Why names are hashed: once this fails, plain seeds will do."""
    one, other = (torch.rand(3, generator=torch.Generator().manual_seed(seed)) for seed in (7, (5 << 32) + 7))
    assert torch.equal(one, other)
