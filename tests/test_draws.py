"""Numbers of samples: spread as they should be, each sample's own, and of a torch generator what torch draws."""

import pytest
import torch

from util import draws
from util.draws import SampleDraws

N = 100_000


def own(first: int = 0, last: int = N, seed: int = 0) -> SampleDraws:
    places = torch.arange(first, last)
    return SampleDraws.of("test", seed, rows=(torch.full_like(places, 3), places))


def test_numbers_are_spread_evenly_and_are_strangers_to_each_other() -> None:
    numbers = own().rand(N, 6)
    assert float(numbers.min()) >= 0 and float(numbers.max()) < 1
    cells = torch.bincount((numbers[:, :2] * 32).long() @ torch.tensor([32, 1]), minlength=1024)
    assert float(((cells - N / 1024) ** 2).sum() / (N / 1024)) == pytest.approx(1023, abs=5 * 2046**0.5)
    beside = torch.cat([numbers[1:], numbers[:-1], own(seed=1).rand(N, 6)[1:]], 1)
    apart = torch.corrcoef(beside.T) - torch.eye(18)
    assert float(apart.abs().max()) < 5.5 / N**0.5
    normal = own().randn(N, 2)
    assert float(normal.mean().abs()) < 0.02 and float(normal.std()) == pytest.approx(1, abs=0.02)
    assert float((normal**4).mean()) == pytest.approx(3, abs=0.1)
    whole = own().randint(-3, 4, N)
    assert torch.bincount(whole + 3).tolist() == pytest.approx([N / 7] * 7, rel=0.05)
    keys = own().randint(-(2**31), 2**31, N)
    assert abs(float(keys.double().mean())) < 0.02 * 2**31 and int(keys.max() - keys.min()) > 0.99 * 2**32
    weights = torch.tensor([1.0, 0.0, 3.0])
    chosen = torch.bincount(draws.choice(own(), weights, N), minlength=3) / N
    assert chosen.tolist() == pytest.approx([0.25, 0, 0.75], abs=0.01)
    assert set(draws.row_choice(own(0, 50), torch.eye(50)[:, :20] + 1e-12, 4)[:20].diff().flatten().tolist()) == {0}


def test_what_a_sample_gets_is_its_own() -> None:
    whole, half = own(0, 8), own(4, 8)
    for shape in ((3,), (2, 5), ()):
        assert torch.equal(whole.rand(8, *shape)[4:], half.rand(4, *shape))
    some = whole.fork().at(torch.tensor([6, 4, 6]), torch.tensor([0, 0, 1]))
    same = half.fork().at(torch.tensor([2, 0, 2]), torch.tensor([0, 0, 1]))
    numbers = some.rand(3, 4)
    assert torch.equal(numbers, same.rand(3, 4)) and not torch.equal(numbers[0], numbers[2])
    assert torch.equal(whole.rand(8)[4:], half.rand(4)), "a fork changes nothing"
    with pytest.raises(ValueError, match="8 samples"):
        whole.rand(4)


def test_a_generator_of_torch_draws_what_torch_draws() -> None:
    one, other = (torch.Generator().manual_seed(5) for _ in range(2))
    assert torch.equal(draws.rand(one, 2, 3), torch.rand(2, 3, generator=other))
    assert torch.equal(draws.randn(one, 4), torch.randn(4, generator=other))
    assert torch.equal(draws.randint(one, 2, 9, 5), torch.randint(2, 9, (5,), generator=other))
    weights = torch.rand(4)
    drawn = torch.multinomial(weights, 6, replacement=True, generator=other)
    assert torch.equal(draws.choice(one, weights, 6), drawn)
    assert draws.fork(one) is one and draws.at(one, torch.tensor([1])) is one
