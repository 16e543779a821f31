"""What a translation must keep: each term is 0 for none, lets a sensor's own changes pass, and pulls at all others."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from config import NetworkConfig, TransferConfig
from dataloader.camera import Camera
from dataloader.crop import HandCrop, empty_crop
from model.discriminator import PatchDiscriminator
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from training import transfer_losses
from training.reader import Reader
from training.transfer_losses import ImagePool, Kept

SIZE, RANGE_MM = 32, 500.0
CONFIG = TransferConfig(flicker_px=2, band_mm=5.0)
BAND = 5.0 / 125
"""The band in half cubes at that range."""


def scene() -> tuple[HandCrop, Tensor]:
    """One crop: a hand, a finger in front of it, a forearm below; and joints (uvd) on the hand alone."""
    crop = empty_crop(
        Camera.of(475.0, 475.0, 320.0, 240.0).expand(1),
        torch.tensor([[0.0, 0.0, RANGE_MM]]),
        torch.full((1, 3), 250.0),
        SIZE,
    )
    depth = torch.ones(1, 1, SIZE, SIZE)
    depth[..., 8:20, 8:20] = 0.1
    depth[..., 10:16, 10:13] = -0.3
    depth[..., 24:32, 12:18] = 0.9  # too far behind the joints to be the hand
    joints = torch.tensor([[[-0.45, -0.45, 0.1], [0.2, 0.2, 0.1], [-0.3, -0.2, -0.3]]])
    return crop.with_depth(depth), joints


def kept(config: TransferConfig = CONFIG) -> Kept:
    crop, joints = scene()
    return Kept.of(crop, joints, config)


def both(of: Kept, translated: Tensor) -> tuple[float, float]:
    return float(transfer_losses.silhouette(of, translated)), float(transfer_losses.depth(of, translated))


def tiny_reader(double: bool = False, foreground_softmax: bool = True) -> Reader:
    torch.manual_seed(0)
    config = NetworkConfig(
        widths=(4, 4, 4, 4),
        decoder_widths=(4, 4, 4),
        stages=1,
        head_width=8,
        precision="fp32",
        foreground_softmax=foreground_softmax,
    )
    network = DualBranchNetwork(config, HandLayer(load_hand_model()))
    for head in (network.stage(0).pixel.offsets, network.stage(0).pixel.closeness):
        torch.nn.init.normal_(head.weight, std=0.5)  # at 0.001 hardly anything depends on the image
    return Reader(network.double() if double else network)


def test_the_hand_is_what_its_joints_say() -> None:
    of = kept()
    assert of.hand[0, 0, 10, 10] and not of.hand[0, 0, 28, 15] and not of.hand[0, 0, 0, 0]
    assert of.empty[0, 0, 12, 22] and not of.empty[0, 0, 12, 21], "from three samples beside the hand on"
    assert not of.empty[0, 0, 28, 28] and not of.empty[0, 0, 12, 31], "only around the joints"
    crop, _ = scene()
    everything = Kept.of(crop, None, CONFIG)
    assert everything.hand[0, 0, 28, 15] and everything.empty[0, 0, 12, 31]


def chequered(like: Tensor) -> Tensor:
    """1 and -1, in turns."""
    place = torch.arange(like.shape[-1])
    return (1 - 2 * ((place[:, None] + place) % 2)).to(like)


def test_what_a_sensor_does_is_free() -> None:
    of = kept()
    depth = of.depth
    flat = depth.new_zeros(1, 1, SIZE, SIZE)
    flat[..., 14:20, 14:20] = 1
    cases = {
        "nothing": depth,
        "noise within the band": torch.where(of.hand, depth + 0.9 * BAND * chequered(depth), depth),
        "a rim of two samples lost": depth.masked_fill(torch.nn.functional.max_pool2d(depth, 5, 1, 2) > 0.99, 1.0),
        "a rim of two samples gained": -torch.nn.functional.max_pool2d(-depth, 5, 1, 2),
        "a small hole": depth.index_fill(2, torch.tensor([17, 18]), 1.0),
        "flying pixels between finger and palm": depth.clone(),
        "forearm gone": torch.where(of.hand, depth, 1.0),
        "forearm elsewhere": depth.roll(8, 3).where(torch.arange(SIZE)[:, None] > 23, depth),
    }
    cases["flying pixels between finger and palm"][..., 10:16, 13] = -0.1
    cases["flying pixels between finger and palm"][..., 10:16, 20:22] = 0.6
    for name, translated in cases.items():
        assert both(of, translated) == (0.0, 0.0), name


def test_what_a_sensor_does_not_do_costs() -> None:
    of = kept()
    depth = of.depth
    deeper = torch.where(of.hand, depth + 2 * BAND, depth)
    assert float(transfer_losses.depth(of, deeper)) > 0.1 * BAND
    assert float(transfer_losses.silhouette(of, deeper)) > 0
    gone = depth.clone()
    gone[..., 10:20, 14:20] = 1.0
    assert float(transfer_losses.silhouette(of, gone)) > 0.01
    assert float(transfer_losses.depth(of, gone)) == 0, "missing readings are not wrong ones"
    new = depth.clone()
    new[..., 8:20, 22] = 0.1
    assert both(of, new)[0] > 0.01 and both(of, new)[1] == 0
    nearer = torch.where(of.hand, depth - 2 * BAND, depth)
    assert float(transfer_losses.depth(of, nearer)) > 0.1 * BAND


def test_the_band_grows_with_the_squared_range() -> None:
    crop, joints = scene()
    far = HandCrop(crop.depth, crop.camera, 2 * crop.centre_mm, crop.cube_mm, crop.crop_from_image)
    assert float(Kept.of(far, joints, CONFIG).band) == pytest.approx(4 * float(Kept.of(crop, joints, CONFIG).band))
    assert float(Kept.of(crop, joints, CONFIG).band) == pytest.approx(BAND)


def test_every_term_pulls_at_the_image() -> None:
    of = kept()
    generator = torch.Generator().manual_seed(1)
    wrong = (of.depth + 0.6 * torch.randn(of.depth.shape, generator=generator)).clamp(-1, 0.95)
    reader = tiny_reader()
    source = reader(of.depth)
    for name in ("silhouette", "depth", "joints", "features"):
        translated = wrong.clone().requires_grad_()
        term = getattr(transfer_losses, name)
        value = term(of, translated) if name in ("silhouette", "depth") else term(source, reader(translated))
        value.backward()
        assert value.item() > 0 and translated.grad is not None and translated.grad.abs().sum() > 0, name
        before = value.item()
        after = translated.detach() - 0.2 * translated.grad / translated.grad.abs().amax().clamp_min(1e-9) * 0.05
        again = term(of, after) if name in ("silhouette", "depth") else term(source, reader(after))
        assert float(again) < before, f"{name} falls along its gradient"
    assert all(p.grad is None for p in reader.network.parameters()), "the reader stays as it is"


def test_a_reader_reads_what_its_network_does() -> None:
    crop, _ = scene()
    nothing = crop.with_depth(torch.ones_like(crop.depth))
    for sharp in (True, False):
        reader = tiny_reader(foreground_softmax=sharp)
        for seen in (crop, nothing):
            expected = reader.network(seen, 1)[0].pixel_uvd
            assert torch.allclose(reader(seen.depth).joints_uvd, expected, atol=1e-4)


def test_reading_the_same_image_costs_nothing() -> None:
    reader, depth = tiny_reader(), kept().depth
    assert float(transfer_losses.joints(reader(depth), reader(depth))) == 0
    assert float(transfer_losses.features(reader(depth), reader(depth))) == 0


def test_gradients_are_those_of_finite_differences() -> None:
    of = kept()
    floats = {
        name: value.double() for name, value in vars(of).items() if name in ("depth", "nearest", "farthest", "band")
    }
    double = replace(of, **floats)
    noise = torch.randn(of.depth.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    wrong = 0.9 * (double.depth + 0.5 * noise).tanh()  # no two samples alike: at ties there is no one gradient
    reader = tiny_reader(double=True)
    source = reader(double.depth)
    terms = {
        "silhouette": lambda image: transfer_losses.silhouette(double, image),
        "depth": lambda image: transfer_losses.depth(double, image),
        "joints": lambda image: transfer_losses.joints(source, reader(image)),
        "features": lambda image: transfer_losses.features(source, reader(image)),
    }
    for name, term in terms.items():
        assert torch.autograd.gradcheck(term, wrong.clone().requires_grad_(), eps=1e-7, atol=1e-5, fast_mode=True), name


def test_the_game_is_least_squares() -> None:
    ones, half = torch.ones(2, 1, 3, 3), torch.full((2, 1, 3, 3), 0.5)
    assert float(transfer_losses.genuine(ones)) == 0 and float(transfer_losses.genuine(half)) == 0.25
    assert float(transfer_losses.told_apart(ones, 0 * ones)) == 0
    assert float(transfer_losses.told_apart(half, half)) == 0.25


def test_a_discriminator_judges_patches_of_70_samples() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(4)
    assert judge(torch.rand(2, 1, 128, 128)).shape == (2, 1, 14, 14)
    for norm in [m for m in judge.modules() if isinstance(m, torch.nn.InstanceNorm2d)]:
        norm.forward = lambda input: input  # its statistics are those of the whole crop
    image = torch.rand(1, 1, 128, 128, requires_grad=True)
    judge(image)[0, 0, 7, 7].backward()
    assert image.grad is not None
    seen = image.grad[0, 0].nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [70, 70]
    assert judge(image.detach(), bf16=True).dtype == torch.float32


def test_the_pool_shows_old_images_every_second_time() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = ImagePool(50)
    shown: list[float] = []
    for step in range(500):
        images = torch.full((4, 1, 2, 2), float(4 * step)) + torch.arange(4.0).view(4, 1, 1, 1)
        given = pool.exchange(images, generator)
        assert given.shape == images.shape
        new = given == images
        if step < 12:
            assert bool(new.all()), "until the pool is full"
        shown += new.flatten(1)[:, 0].float().tolist() if step >= 13 else []
    assert len(pool.images) == 50
    assert sum(shown) / len(shown) == pytest.approx(0.5, abs=0.04)
    ages = [1999 - float(image.mean()) for image in pool.images]
    assert sum(ages) / 50 == pytest.approx(100, abs=40), "each is replaced once in a hundred images"


def test_a_pool_goes_on_where_it_was() -> None:
    pool, other = ImagePool(3), ImagePool(3)
    pool.exchange(torch.rand(3, 1, 2, 2), torch.Generator().manual_seed(0))
    other.load(pool.state(), torch.device("cpu"))
    images = torch.rand(5, 1, 2, 2)
    first, second = (p.exchange(images, torch.Generator().manual_seed(1)) for p in (pool, other))
    assert torch.equal(first, second)
    assert torch.equal(ImagePool(0).exchange(images, torch.Generator()), images)


def test_a_wider_flicker_lets_more_pass() -> None:
    of = kept()
    gone = of.depth.masked_fill(torch.nn.functional.max_pool2d(of.depth, 7, 1, 3) > 0.99, 1.0)
    assert float(transfer_losses.silhouette(of, gone)) > 0
    assert float(transfer_losses.silhouette(kept(replace(CONFIG, flicker_px=3)), gone)) == 0


def test_a_hand_that_moves_as_a_whole_costs_though_each_reading_stays_within_the_band() -> None:
    of = kept()
    moved = torch.where(of.hand, of.depth + 0.9 * BAND, of.depth)
    assert both(of, moved)[1] == pytest.approx(0.7 * BAND, abs=0.02 * BAND)
