"""Hands fitted to crops, and a network that learns from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from config import EXPERIMENTS, WEIGHTS
from dataloader.sample import HandSample
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from training.fitted import FITS, fit_frames
from training.hand_fit import HandFit
from training.run import run
from training.setup import make_fabric, make_network, make_rendered
from training.sources import load_frames
from util.errors import UserError
from util.files import read_json

SMOKE = replace(EXPERIMENTS["smoke"], source="fitted", first=None)
TINY = replace(SMOKE, fitted=replace(SMOKE.fitted, frames=8, steps=2, surface_mm=50.0, iou=0.05))


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    """The open hand."""
    return HandLayer(load_hand_model(None))


@pytest.fixture(scope="module")
def sample() -> HandSample:
    """Clean rendered hands, forearms and all."""
    return make_rendered(EXPERIMENTS["ladder-pretrain"]).batch(4, torch.Generator().manual_seed(3))


def test_a_displaced_hand_finds_back(sample: HandSample, layer: HandLayer) -> None:
    assert sample.params is not None and sample.joints_mm is not None
    crop = sample.crop
    moved = replace(sample.params, translation=sample.params.translation + 0.06, pose=sample.params.pose * 0.8)
    pixel_xyz = crop.xyz_from_mm(sample.joints_mm)

    def error_mm(params: HandParams, steps: int) -> torch.Tensor:
        found = HandFit(layer, steps)(crop, crop.foreground, params, pixel_xyz)
        assert torch.equal(found.pixel_xyz, pixel_xyz)
        return (crop.mm_from_xyz(found.joints_xyz) - sample.joints_mm).norm(dim=-1).mean()  # type: ignore[operator]

    before, after = error_mm(moved, 0), error_mm(moved, 25)
    assert before > 8 and after < before / 2


def test_hands_that_explain_no_frame_are_told(layer: HandLayer) -> None:
    network, _ = make_network(TINY, make_fabric(TINY), WEIGHTS / "compact.safetensors")
    frames = load_frames(TINY, "train")
    fits = fit_frames(network, frames, layer, TINY.fitted)
    n = len(fits["chosen"])
    assert 0 < n <= len(frames) and fits["joints_mm"].shape == (n, 21, 3) and fits["vertices_mm"].shape[0] == n
    with pytest.raises(UserError, match="No frame is explained"):
        fit_frames(network, frames, layer, replace(TINY.fitted, iou=0.99))


def test_it_trains_and_goes_on_with_the_same_hands(tmp_path: Path) -> None:
    half = replace(TINY, optim=replace(TINY.optim, steps=2))
    start = WEIGHTS / "compact.safetensors"
    run(half, tmp_path / "a", load_model=start)
    with np.load(tmp_path / "a" / FITS) as kept:
        first = {name: kept[name] for name in kept.files}
    results = run(TINY, tmp_path / "a", resume=True, load_model=start)
    assert set(results) >= {"before", "after", "held_out_rendered_mm"}
    assert read_json(tmp_path / "a" / "results.json")["after"]["stage2_model"]["n_frames"] > 0
    with np.load(tmp_path / "a" / FITS) as kept:
        for name in kept.files:
            assert np.array_equal(kept[name], first[name])
    logged = b"".join(file.read_bytes() for file in (tmp_path / "a" / "tensorboard").iterdir())
    assert b"fitted/stage1/maps" in logged
    np.savez(tmp_path / "a" / FITS, **(first | {"chosen": first["chosen"] + 1000}))
    with pytest.raises(UserError, match="hands of other frames"):
        run(replace(TINY, optim=replace(TINY.optim, steps=6)), tmp_path / "a", resume=True, load_model=start)
