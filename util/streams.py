"""Generators of random numbers, one for each purpose, that have nothing in common."""

import hashlib

import torch


def stream(*names: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of these names (a seed, a purpose, a step, ...): the same every time, unlike any other's.

    device: its own; generators of two devices give different numbers.

    The names are hashed, since a CPU generator of torch takes no notice of a seed's upper 32 bits: seeds made of a high
    and a low half would all give the numbers of the low one.
    """
    return torch.Generator(device).manual_seed(number(*names, size=4) & 0xFFFFFFFF)


def number(*names: int | str, size: int) -> int:
    """A whole number of `size` bytes, signed, that stands for these names."""
    digest = hashlib.blake2b(repr(names).encode(), digest_size=size).digest()
    return int.from_bytes(digest, "little", signed=True)
