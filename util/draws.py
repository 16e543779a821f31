"""Random numbers that belong to samples: what one gets depends on its own key alone, not on its neighbours in a batch.

So a batch can be cut into parts and spread over processes, and every sample stays what it was. The numbers are a hash
of the sample's key and of how many were drawn for it before, on every device alike.

Functions take a generator of torch as well, from which a batch draws its numbers one after another.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from util.streams import number

STEP = -0x61C8864680B583EB
"""The odd number that counts (2^64 by the golden ratio, as a signed one)."""
PER_DRAW = 1 << 24
"""How many values a real number in [0, 1) has: what float32 holds."""


class SampleDraws:
    """The random numbers of n samples, drawn one after another; `at` and `fork` lead to others, independent of them.

    Attributes:
        keys: (n,) int64, one for each sample.
    """

    def __init__(self, keys: Int64[Tensor, " n"]) -> None:
        self.keys = keys
        self._drawn, self._forked = 0, 0

    @staticmethod
    def of(*names: int | str, rows: Sequence[Int[Tensor, " n"]]) -> "SampleDraws":
        """names: a purpose, a seed, ...; rows: numbers of each sample, such as its step and its place in the step."""
        keys = torch.full_like(rows[0], number(*names, size=8), dtype=torch.int64)
        for own in rows:
            keys = _mixed(keys ^ _mixed(own.to(torch.int64) * STEP + STEP))
        return SampleDraws(keys)

    def __len__(self) -> int:
        return len(self.keys)

    def fork(self) -> "SampleDraws":
        """Other numbers of the same samples; how many of them are drawn changes nothing of what is drawn here."""
        self._forked += 1
        return SampleDraws(_mixed(self.keys + _steps(self._forked)))

    def at(self, chosen: Int[Tensor, " k"], attempt: Int[Tensor, " k"] | int = 0) -> "SampleDraws":
        """Numbers of chosen samples (some perhaps several times), others for each attempt."""
        return SampleDraws(_mixed(_mixed(self.keys[chosen]) + _steps(attempt)))

    def bits(self, *shape: int) -> Int[Tensor, "*shape"]:
        """32 random bits each, as int32; the first axis is the samples'."""
        if shape[0] != len(self):
            raise ValueError(f"{len(self)} samples cannot draw numbers of shape {shape}")
        many = math.prod(shape[1:])
        counter = torch.arange(self._drawn, self._drawn + many, dtype=torch.int32, device=self.keys.device)
        self._drawn += many
        low, high = (part.to(torch.int32).unsqueeze(1) for part in (self.keys, self.keys >> 32))
        # the finaliser "lowbias32" of C. Wellons' hash-prospector, the other half of the key in its middle
        x = counter * -0x61C88647 + low
        x ^= _shifted(x, 16)
        x *= 0x21F0AAAD
        x ^= _shifted(x, 15)
        x ^= high
        x *= 0x735A2D97
        x ^= _shifted(x, 15)
        x *= 0x21F0AAAD
        x ^= _shifted(x, 16)
        return x.view(shape)

    def rand(self, *shape: int) -> Float[Tensor, "*shape"]:
        """Uniform in [0, 1)."""
        return _shifted(self.bits(*shape), 8).float().mul_(1 / PER_DRAW)

    def randn(self, *shape: int) -> Float[Tensor, "*shape"]:
        """Standard normal, within 5.3 deviations."""
        return torch.special.ndtri(self.rand(*shape) + 0.5 / PER_DRAW)

    def randint(self, low: int, high: int, *shape: int) -> Int[Tensor, "*shape"]:
        """Whole numbers from low to high - 1, int64."""
        return low + (((self.bits(*shape).to(torch.int64) & 0x7FFFFFFF) * (high - low)) >> 31)


Draws = torch.Generator | SampleDraws


def rand(draws: Draws, *shape: int, pin_memory: bool = False) -> Float[Tensor, "*shape"]:
    """Uniform in [0, 1)."""
    if isinstance(draws, torch.Generator):
        return torch.rand(shape, generator=draws, pin_memory=pin_memory)
    return draws.rand(*shape).pin_memory() if pin_memory else draws.rand(*shape)


def randn(draws: Draws, *shape: int) -> Float[Tensor, "*shape"]:
    """Standard normal."""
    return torch.randn(shape, generator=draws) if isinstance(draws, torch.Generator) else draws.randn(*shape)


def randint(draws: Draws, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Int[Tensor, "*shape"]:
    """Whole numbers from low to high - 1."""
    if isinstance(draws, torch.Generator):
        return torch.randint(low, high, shape, generator=draws, dtype=dtype)
    return draws.randint(low, high, *shape).to(dtype)


def choice(draws: Draws, weights: Float[Tensor, " k"], n: int) -> Int[Tensor, " n"]:
    """n places among the weights, with repetition, each as often as its weight says."""
    if isinstance(draws, torch.Generator):
        return torch.multinomial(weights, n, replacement=True, generator=draws)
    return _places(weights.expand(n, -1), draws.rand(n, 1)).squeeze(1)


def row_choice(draws: Draws, weights: Float[Tensor, "n k"], many: int) -> Int[Tensor, "n many"]:
    """The same with each sample's own weights, `many` places for each."""
    if isinstance(draws, torch.Generator):
        return torch.multinomial(weights, many, replacement=True, generator=draws)
    return _places(weights, draws.rand(len(weights), many))


def happens(draws: Draws, n: int, chance: float) -> Bool[Tensor, " n"]:
    """Whether something happens to each of n samples."""
    return rand(draws, n) < chance


def fork(draws: Draws) -> Draws:
    """`SampleDraws.fork`; a generator of torch is its own."""
    return draws if isinstance(draws, torch.Generator) else draws.fork()


def at(draws: Draws, chosen: Int[Tensor, " k"], attempt: int = 0) -> Draws:
    """`SampleDraws.at`; a generator of torch is its own."""
    return draws if isinstance(draws, torch.Generator) else draws.at(chosen, attempt)


def _places(weights: Float[Tensor, "n k"], share: Float[Tensor, "n m"]) -> Int[Tensor, "n m"]:
    """Where the running sum of weights passes a share of the whole."""
    reached = weights.double().cumsum(1)
    places = torch.searchsorted(reached, share.double() * reached[:, -1:], right=True)
    return places.clamp_max(weights.shape[1] - 1)


def _steps(times: Int[Tensor, " k"] | int) -> Int[Tensor, " k"] | int:
    """So many STEPs, within 64 bits."""
    return times * STEP if isinstance(times, Tensor) else (times * STEP + (1 << 63)) % (1 << 64) - (1 << 63)


def _mixed(x: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    x = (x ^ (x >> 30 & (1 << 34) - 1)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & (1 << 37) - 1)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31 & (1 << 33) - 1)


def _shifted(x: Int[Tensor, "*shape"], places: int) -> Int[Tensor, "*shape"]:
    """A shift to the right in which zeros come in from the left."""
    shifted = x >> places
    shifted &= (1 << 32 - places) - 1
    return shifted
