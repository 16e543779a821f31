"""The generator that corrects a crop, its noise, and the discriminator that goes with it."""

from pathlib import Path

import pytest
import torch

from model.correcting import BLOCKS, GAPS, GRAINS, REACH, CorrectingGenerator, grain
from model.discriminator import PatchDiscriminator
from model.transfer import load_generator, new_generator, translate
from training.transfer_losses import matching
from util.checkpoint import read_generator, save_weights
from util.published import GeneratorSize


@pytest.fixture
def depth() -> torch.Tensor:
    """Two crops with a square each, one further away."""
    depth = torch.ones(2, 1, 64, 64)
    depth[0, :, 20:40, 16:48] = torch.linspace(-0.2, 0.2, 32)
    depth[1, :, 24:44, 10:30] = 0.5
    return depth


def test_begins_with_some_of_each_noise_and_the_hand_in_its_place(depth: torch.Tensor) -> None:
    with torch.no_grad():
        made = translate(CorrectingGenerator(8, 1), depth)
    hand = depth < 1
    assert 0.005 < float(((made < 1) != hand)[hand].float().mean()) < 0.15
    both = hand & (made < 1)
    assert 0.005 < float((made - depth)[both].abs().mean()) < 0.05
    assert abs(float((made - depth)[both].mean())) < 0.01


def with_scores(generator: CorrectingGenerator, scores: dict[int, float]) -> CorrectingGenerator:
    """The generator with all readings but the named ones ruled out, and nothing moved along the ray."""
    with torch.no_grad():
        bias = generator.answer.bias
        assert bias is not None
        bias[: 1 + len(GRAINS)] = 0.0
        bias[1 + len(GRAINS) :] = -50.0
        for k, score in scores.items():
            bias[1 + len(GRAINS) + k] = score
        generator.answer.weight.zero_()
    return generator


def test_chooses_the_crops_own_readings_or_none(depth: torch.Tensor) -> None:
    generator = CorrectingGenerator(8, 1)
    with torch.no_grad():
        assert torch.equal(with_scores(generator, {0: 0.0})(depth), depth)
        assert bool((with_scores(generator, {1 + len(BLOCKS): 0.0})(depth) == 1).all())


def test_blocks_read_one_place_near_their_centre(depth: torch.Tensor) -> None:
    generator = CorrectingGenerator(8, 1)
    place = torch.arange(64.0).expand(64, 64) / 100 - 0.5
    ramp = torch.stack([place, place.T])[:, None]
    for k, side in enumerate(BLOCKS):
        made = with_scores(generator, {1 + k: 0.0})(ramp).detach()
        blocks = made[..., : 64 // side * side, : 64 // side * side].unfold(2, side, side).unfold(3, side, side)
        assert bool((blocks == blocks[..., :1, :1]).all())
        assert 1 <= (made - ramp).abs().max() * 100 <= REACH + 1e-3
    wide = torch.nn.functional.max_pool2d((depth < 1).float(), 2 * REACH + 1, 1, REACH) > 0
    with torch.no_grad():
        moved = with_scores(generator, {len(BLOCKS): 0.0})(depth) < 1
    assert not bool((moved & ~wide).any()) and bool((moved & ~(depth < 1)).any())


def test_gaps_open_by_blocks(depth: torch.Tensor) -> None:
    flat = torch.zeros(1, 1, 60, 60)
    with torch.no_grad():
        made = with_scores(CorrectingGenerator(8, 1), {0: 0.0, len(BLOCKS) + len(GAPS): 0.0})(flat)
    assert 0.2 < float((made == 1).float().mean()) < 0.8
    blocks = (made == 1).unfold(2, GAPS[-1], GAPS[-1]).unfold(3, GAPS[-1], GAPS[-1]).float().mean((-1, -2))
    # the crop's own readings draw lots for each sample, so a block is not lost as a whole; but they differ
    alone = (made == 1).float().var() / GAPS[-1] ** 2
    assert float(blocks.var()) > 3 * float(alone)


def test_the_same_crop_is_translated_the_same_way_alone_or_among_others(depth: torch.Tensor) -> None:
    generator = CorrectingGenerator(8, 1)
    with torch.no_grad():
        together, alone = generator(depth), generator(depth[1:])
    assert torch.allclose(together[1:], alone, atol=1e-6)


def test_grain_is_noise(depth: torch.Tensor) -> None:
    noise = grain(torch.cat([depth, depth + 0.001]), 64)
    assert noise.min() >= -1 and noise.max() <= 1
    assert abs(float(noise.mean())) < 0.05 and float(noise.std()) == pytest.approx(3**-0.5, abs=0.03)
    neighbours = [(noise[..., 1:], noise[..., :-1]), (noise[..., 1:, :], noise[..., :-1, :]), (noise[:2], noise[2:])]
    for one, other in neighbours:
        assert abs(float((one * other).mean())) < 0.05 * float(noise.var())


def test_gradients_along_the_ray_are_those_of_finite_differences() -> None:
    generator = CorrectingGenerator(2, 1).double()
    depth = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    weight = generator.answer.weight
    moving = torch.zeros(len(weight), 1, 1, 1, dtype=torch.bool)
    moving[: 1 + len(GRAINS)] = True  # the others choose a reading, which is so at once

    def answer(some: torch.Tensor) -> torch.Tensor:
        mixed = torch.where(moving, some, weight.detach())
        return torch.func.functional_call(generator, {"answer.weight": mixed}, (depth,))

    torch.autograd.gradcheck(answer, (weight,))


def test_the_gradient_of_a_choice_is_that_of_its_chances(depth: torch.Tensor) -> None:
    generator = CorrectingGenerator(8, 1)
    generator(depth).sum().backward()
    gradient = generator.answer.bias.grad  # type: ignore[union-attr]
    assert gradient is not None
    gaps, own = gradient[-len(GAPS) :], gradient[1 + len(GRAINS)]
    # more readings lost: more of the background's depth; more of the crop's own: less of it
    assert bool((gaps > 0).all()) and float(own) < 0


def test_comes_back_from_its_file(tmp_path: Path, depth: torch.Tensor) -> None:
    generator = new_generator(GeneratorSize(4, 2, correcting=True)).eval()
    path = tmp_path / "generator.safetensors"
    save_weights(path, generator.state_dict(), {"generator": generator.size._asdict()})
    assert "correcting" in read_generator(path).about()
    again = load_generator(path)
    assert isinstance(again, CorrectingGenerator) and again.size == generator.size
    with torch.no_grad():
        assert torch.equal(again(depth), generator(depth))


def test_a_discriminator_of_two_halvings_judges_patches_of_34_samples() -> None:
    judge = PatchDiscriminator(4, 2, detail=8.0, spectral=True).eval()
    image = torch.zeros(1, 1, 64, 64, requires_grad=True)
    verdicts = judge(image + 0.01 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0)))
    middle = verdicts.shape[-1] // 2
    verdicts[0, 0, middle, middle].backward()
    assert image.grad is not None
    rows = image.grad[0, 0].abs().sum(1).nonzero().flatten()
    # two more samples on either side come with the mean of 3x3 samples
    assert int(rows[-1] - rows[0]) + 1 == 34 + 2


def test_matching_is_nothing_for_the_same_crops_and_grows_with_noise() -> None:
    judge = PatchDiscriminator(8, 2, detail=8.0, spectral=True)
    random = torch.Generator().manual_seed(0)
    flat, noise = torch.zeros(4, 1, 64, 64), torch.randn(4, 1, 64, 64, generator=random)
    real = judge.judged(flat + 0.03 * noise)[1]
    with torch.no_grad():
        assert float(matching(real, real)) == 0
        costs = [float(matching(real, judge.judged(flat + much * noise.flip(0))[1])) for much in (0.03, 0.02, 0.0)]
    assert costs[0] < costs[1] < costs[2]
