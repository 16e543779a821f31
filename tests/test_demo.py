"""The demo's frames: the same every time, labelled truly, and disjoint from what pre-training draws."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from config import EXPERIMENTS, WEIGHTS, DemoConfig, ForearmConfig, SamplerConfig, SensorConfig
from dataloader.datasets.demo import load_demo
from dataloader.points import all_points_xyz
from dataloader.store import FrameStore
from render import structured_light
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.postures import POSTURES, paths
from render.sampler import HandSampler
from render.shapes import on_target_side
from util.errors import UserError

TINY = DemoConfig(train_frames=40, test_frames=20)


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(load_hand_model())


@pytest.fixture(scope="module")
def train(layer: HandLayer) -> FrameStore:
    return load_demo(TINY, layer, "train")


def joints_mm(store: FrameStore) -> np.ndarray:
    assert store.joints_mm is not None
    return store.joints_mm


def test_same_frames_every_time(layer: HandLayer, train: FrameStore) -> None:
    again = load_demo(TINY, layer, "train")
    fewer = load_demo(replace(TINY, train_frames=10), layer, "train")
    assert len(train) == 40
    assert (again.pixels == train.pixels).all()
    assert (joints_mm(again) == joints_mm(train)).all()
    assert (joints_mm(fewer) == joints_mm(train)[:10]).all(), "asking for fewer does not change them"
    test = load_demo(TINY, layer, "test")
    assert len(test) == 20
    assert not (joints_mm(test)[:10] == joints_mm(train)[:10]).any()
    other = load_demo(replace(TINY, train_frames=10, seed=1), layer, "train")
    for known in (train, test):
        assert not (joints_mm(other) == joints_mm(known)[:10]).any()
    assert len({*train.names, *test.names}) == 60


def test_labels_fit_the_depth(train: FrameStore) -> None:
    sample = train.batch(range(40))
    crop, vertices_mm, observed = sample.crop, sample.vertices_mm, sample.observed
    assert vertices_mm is not None
    assert observed is not None
    u, v, z = crop.pixels_from_mm(vertices_mm).unbind(-1)
    at = v.round().clamp(0, 127) * 128 + u.round().clamp(0, 127)
    there = crop.depth_mm.flatten(1).gather(1, at.long())
    inside = (there > 0) & (crop.uvd_from_mm(vertices_mm).abs() < 0.95).all(-1)
    behind = (z - there)[inside]
    assert float(inside.float().mean()) > 0.7
    assert float((behind > -8).float().mean()) > 0.9, "labels lie on what is seen or behind it"
    assert float((behind.abs() < 8).float().mean()) > 0.3
    # the observed hand, found by depth alone, is mostly the true one
    points_mm = crop.mm_from_xyz(all_points_xyz(crop))[:, ::5]
    near = torch.cdist(points_mm, vertices_mm).amin(-1) < 15
    seen = observed.flatten(1)[:, ::5]
    assert float((near & seen).sum() / seen.sum()) > 0.8


def test_postures_paths_are_disjoint_from_those_of_pretraining() -> None:
    target, others = set(paths(DemoConfig().sampler.paths)), set(paths("pretrain"))
    assert target
    assert others
    assert not target & others
    assert target | others == set(paths("all"))
    assert {name for path in target for name in path} <= set(POSTURES)
    config = DemoConfig().sampler
    assert config.free_share == 0
    assert config.named_share == 0, "no hand stands at a posture that pre-training's paths end in"


def test_shapes_are_disjoint_from_those_of_pretraining(layer: HandLayer) -> None:
    demo = HandSampler(layer, DemoConfig().sampler).sample(60, torch.Generator().manual_seed(0))
    other = HandSampler(layer, SamplerConfig(paths="pretrain", shapes="pretrain")).sample(
        60, torch.Generator().manual_seed(0)
    )
    assert bool(on_target_side(DemoConfig().sampler, demo.shape).all())
    assert not bool(on_target_side(SamplerConfig(), other.shape).any())


def test_forearms_are_disjoint_from_those_of_pretraining() -> None:
    demo, other = DemoConfig().forearm, ForearmConfig()
    for name in ("length_mm", "width", "thickness", "taper"):
        (a, b), (c, d) = getattr(demo, name), getattr(other, name)
        assert b < c or d < a, name


def test_the_sensor_shares_no_kind_of_noise_with_pretraining() -> None:
    assert not {field.name for field in fields(DemoConfig().sensor)} & {field.name for field in fields(SensorConfig)}
    assert "sensor" not in {name.rsplit(".")[-1] for name in vars(structured_light)}


def test_every_experiment_keeps_the_demo_apart() -> None:
    for name, experiment in EXPERIMENTS.items():
        if experiment.data.name == "demo":
            assert (experiment.sampler.paths, experiment.sampler.shapes) == ("pretrain", "pretrain"), name
        if experiment.data.name in ("demo", "benchmark"):  # of which those weights have seen all shapes and postures
            assert experiment.start != WEIGHTS / "sensor.safetensors", name
        assert experiment.rendered.forearm == ForearmConfig(), name


def test_settings_that_would_mix_them_are_refused(layer: HandLayer) -> None:
    for sampler in (SamplerConfig(paths="all", shapes="target"), SamplerConfig(paths="target", shapes="pretrain")):
        with pytest.raises(UserError, match="target"):
            load_demo(replace(TINY, sampler=sampler), layer, "train")
    with pytest.raises(UserError, match="at least one"):
        load_demo(replace(TINY, test_frames=0), layer, "test")
