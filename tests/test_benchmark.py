"""The benchmark: frames the same for any number of processes, labelled truly, unlike pre-training's; their use."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from config import EXPERIMENTS, AugmentConfig, BenchmarkConfig, DarkConfig, DataConfig, OpticsConfig
from dataloader.augment import Augmentation
from dataloader.datasets import benchmark
from dataloader.datasets.benchmark import load_benchmark
from dataloader.store import FrameStore
from render.dark_things import behind_dark_things
from render.poor_optics import PoorOptics, slope, smooth
from render.shapes import on_target_side
from training.sources import load_frames
from util.errors import UserError

TINY = BenchmarkConfig(train_frames=70, test_frames=40)
MEMORY = DataConfig(name="benchmark", keep=False, workers=1)
ARRAYS = ("pixels", "observed_bits", "starts", "shapes", "origins", "cameras", "centres_mm", "joints_mm", "vertices_mm")


@pytest.fixture(scope="module")
def train() -> FrameStore:
    return load_benchmark(TINY, MEMORY, "train")


def joints_mm(store: FrameStore) -> np.ndarray:
    assert store.joints_mm is not None
    return store.joints_mm


def same(one: FrameStore, other: FrameStore) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in (*ARRAYS, "names"))


def test_frames_do_not_depend_on_processes_nor_on_how_many_are_asked_for(train, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "FEW_FRAMES", 0)
    kept = DataConfig(name="benchmark", cache=tmp_path, workers=2)
    two = load_benchmark(TINY, kept, "train")
    assert same(two, train)
    (folder,) = tmp_path.iterdir()
    written = (folder / "pixels.u16").stat().st_mtime_ns
    assert same(load_benchmark(TINY, replace(kept, workers=1), "train"), train)
    assert (folder / "pixels.u16").stat().st_mtime_ns == written, "made once"
    fewer = load_benchmark(replace(TINY, train_frames=33), MEMORY, "train")
    assert np.array_equal(joints_mm(fewer), joints_mm(train)[:33]), "asking for fewer does not change them"


def test_splits_and_seeds_share_nothing(train):
    test = load_benchmark(TINY, MEMORY, "test")
    other = load_benchmark(replace(TINY, seed=1), MEMORY, "test")
    rows = [tuple(np.round(hand.ravel(), 3)) for store in (train, test, other) for hand in joints_mm(store)]
    assert len(set(rows)) == len(train) + 2 * len(test) == 150
    assert not set(train.names) & set(test.names)


FIXED = {
    "train": (
        [(55.1, -25.7, 504.7), (-48.1, 28.6, 455.1)],
        [(-25.6, -78.2, 554.5), (-69.3, 38.3, 371.9)],
        [4989, 3142],
    ),
    "test": ([(34.3, -32.7, 562.4), (56.3, 81.9, 838.4)], [(76.9, 5.3, 554.1), (86.4, -5.5, 842.1)], [1691, 2734]),
}
"""Of the first two frames: centre, tip of the index finger, pixels with a reading. Rows are only comparable on the
same frames: when these change, the table of docs/benchmark.md starts anew."""


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_frames_are_those_that_rows_were_measured_on(split: Literal["train", "test"]):
    store = load_benchmark(BenchmarkConfig(train_frames=2, test_frames=2), MEMORY, split)
    centres, tips, seen = FIXED[split]
    assert np.abs(store.centres_mm - centres).max() < 2
    assert np.abs(joints_mm(store)[:, 16] - tips).max() < 1
    patches = [store.pixels[at : at + h * w] for at, (h, w) in zip(store.starts, store.shapes, strict=True)]
    assert [int((patch > 0).sum()) for patch in patches] == pytest.approx(seen, rel=0.02)


def test_kept_frames_are_told_apart_by_what_makes_them(tmp_path):
    one = benchmark._digest(TINY, 40, None)
    assert one == benchmark._digest(replace(TINY, train_frames=5, test_frames=9), 40, None)
    others = (
        replace(TINY, seed=1),
        replace(TINY, optics=OpticsConfig(flying_mm=60.0)),
        replace(TINY, sensor=replace(TINY.sensor, error_px=0.1)),
        replace(TINY, dark=DarkConfig(chance=0.1)),
    )
    assert len({one, benchmark._digest(TINY, 41, None), *(benchmark._digest(c, 40, None) for c in others)}) == 6


def test_labels_fit_the_depth(train):
    sample = train.batch(range(70))
    crop, vertices_mm, observed = sample.crop, sample.vertices_mm, sample.observed
    u, v, z = crop.pixels_from_mm(vertices_mm).unbind(-1)
    at = v.round().clamp(0, 127) * 128 + u.round().clamp(0, 127)
    there = crop.depth_mm.flatten(1).gather(1, at.long())
    inside = (there > 0) & (crop.uvd_from_mm(vertices_mm).abs() < 0.95).all(-1)
    behind = (z - there)[inside]
    assert float(inside.float().mean()) > 0.6
    assert float((behind > -10).float().mean()) > 0.85, "labels lie on what is seen or behind it"
    assert float((behind.abs() < 10).float().mean()) > 0.3
    points = crop.mm_from_pixels(torch.stack([u, v, there], -1))
    assert torch.isfinite(points).all()
    share = observed.flatten(1).float().mean(1)
    assert float(share.min()) > 0.015 and float(share.max()) < 0.6
    joints_uvd = crop.uvd_from_mm(sample.joints_mm)
    assert float((joints_uvd.abs() < 1).all(-1).float().mean()) > 0.95, "the cube holds the hand"


def test_nothing_is_shared_with_the_source_of_the_ladder():
    config = BenchmarkConfig()
    assert (config.sampler.paths, config.sampler.shapes) == ("target", "target")
    assert config.sampler.free_share == config.sampler.named_share == 0
    drawn = torch.tensor([0.0, 1.0, 0, -2.0, 2.0, 0, 0, 0, 0, 0])
    assert bool(on_target_side(config.sampler, drawn))
    for experiment in (EXPERIMENTS[name] for name in ("ladder-pretrain", "ladder-self", "ladder-transfer")):
        assert experiment.data.name == "benchmark"
        assert (experiment.sampler.paths, experiment.sampler.shapes) == ("pretrain", "pretrain")
        rendered = experiment.rendered
        assert not rendered.noise
        for name in ("length_mm", "width", "thickness", "taper"):
            (a, b), (c, d) = getattr(config.forearm, name), getattr(rendered.forearm, name)
            assert b < c or d < a, name
        assert (rendered.occluders.spheres_chance, rendered.occluders.object_chance) == (0, 0)
    with pytest.raises(UserError, match=r"benchmark\.sampler"):
        load_benchmark(replace(config, sampler=EXPERIMENTS["demo"].sampler), MEMORY, "test")
    with pytest.raises(UserError, match="at least one"):
        load_benchmark(replace(config, test_frames=0), MEMORY, "test")


def test_only_scoring_and_full_supervision_see_labels():
    experiment = replace(EXPERIMENTS["smoke"], data=MEMORY)
    hidden = load_frames(experiment, "train")
    assert hidden.joints_mm is None and hidden.vertices_mm is None
    assert load_frames(experiment, "test").joints_mm is not None
    labelled = load_frames(replace(experiment, source="labelled"), "train")
    assert labelled.joints_mm is not None and labelled.vertices_mm is not None
    turned = labelled.batch([0], torch.Generator().manual_seed(0), Augmentation(AugmentConfig(weights=(1, 0, 0, 0))))
    plain = labelled.batch([0])
    assert turned.joints_mm is not None and plain.joints_mm is not None
    assert not torch.equal(turned.joints_mm, plain.joints_mm), "labels turn with the crop"


def sphere(side: int = 64, radius: float = 25.0) -> torch.Tensor:
    """A ball of 50 mm radius at 600 mm in front of a wall of nothing, two pixels a millimetre."""
    at = torch.arange(side) - side / 2
    squared = radius**2 - at[:, None] ** 2 - at**2
    return torch.where(squared > 0, 600 - 2 * squared.clamp(min=0).sqrt(), 0.0)[None]


def none_lost(depth_mm: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return depth_mm


def optics(**settings) -> PoorOptics:
    off = {"blur_px": (0.01, 0.01), "stray": (0.0, 0.0), "grazing": (0.0, 0.0), "flying": (0.0, 0.0)}
    return PoorOptics(OpticsConfig(**{**off, **settings}), 300.0, none_lost)


def test_each_error_of_the_optics_acts_where_it_should():
    ball, draw = sphere(), lambda: torch.Generator().manual_seed(0)
    assert torch.allclose(optics()(ball, draw()), ball)
    steep = torch.rad2deg(torch.atan(slope(ball) / 2))
    seen = optics(grazing=(1.0, 1.0))(ball, draw())
    lost = (ball > 0) & (seen == 0)
    assert lost.sum() > 50 and float(steep[lost].min()) >= 50
    assert torch.equal(seen[~lost], ball[~lost])
    flying = optics(flying=(1.0, 1.0))(ball, draw())
    changed = flying != ball
    assert bool((ball[changed] == 0).any()), "beside the edge"
    assert bool((flying[changed] > 0).all()) and float(flying[changed].max()) < 600 + 70
    assert not bool(changed[:, 24:40, 24:40].any()), "not inside a surface"
    two = torch.cat([torch.full((1, 64, 32), 600.0), torch.full((1, 64, 32), 630.0)], 2)
    between = optics(blur_px=(1.0, 1.0))(two, draw())
    assert 602 < float(between[0, 32, 31]) < float(between[0, 32, 32]) < 628
    assert torch.allclose(between[..., :20], two[..., :20], atol=1e-3)
    pulled = optics(stray=(0.1, 0.1))(two, draw())
    assert 600.5 < float(pulled[0, 32, 30]) < 602 and 628 < float(pulled[0, 32, 33]) < 629.5


def test_smoothing_minds_only_what_is_there():
    image = torch.zeros(2, 16, 16)
    image[:, 4:12, 4:12] = 500.0
    blurred = smooth(image, torch.tensor([1.0, 2.0]))
    assert torch.allclose(blurred[:, 4:12, 4:12], torch.tensor(500.0), atol=1e-2)
    assert float(blurred[0, 0, 0]) == 0


def test_a_dark_thing_is_a_bar_across_a_joint():
    joints_uvz = torch.tensor([[[32.0, 32.0, 600.0]]]).expand(40, 1, 3)
    config = DarkConfig(chance=1.0, width_mm=(20.0, 20.0), length_mm=(60.0, 60.0))
    hidden = behind_dark_things(joints_uvz, 64, 300.0, config, torch.Generator().manual_seed(0))
    assert bool(hidden[:, 31:33, 31:33].all())
    area = hidden.flatten(1).sum(1).float() * 2.0 * 2.0  # 2 mm a pixel
    assert float((area - 1200).abs().max()) < 250
    never = behind_dark_things(joints_uvz, 64, 300.0, DarkConfig(chance=0.0), torch.Generator().manual_seed(0))
    assert not bool(never.any())
