"""Frames in memory: what goes in comes out, as crops."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dataloader.camera import Camera
from dataloader.crop import crop_frame
from dataloader.packing import BITS, FRAMES, PIXELS, save_packed
from dataloader.patch import StoredFrame, cut_patch
from dataloader.store import FrameStore
from util.errors import UserError

CAMERA = (463.889, 463.889, 320.0, 240.0)
CUBE = (250.0, 250.0, 250.0)
CENTRES = [(-40.0, 20.0, 450.0), (150.0, -90.0, 520.0), (-280.0, 200.0, 410.0)]


def _frame(index: int) -> np.ndarray:
    """(480, 640) a bumpy blob around each centre before a wall, uint16 as a sensor stores it."""
    x, y, z = CENTRES[index]
    fx, fy, cx, cy = CAMERA
    v, u = np.mgrid[:480, :640]
    distance = np.hypot(u - fx * x / z - cx, v - fy * y / z - cy)
    surface = z + 30 * np.sin(u / 9) * np.cos(v / 7)
    return np.where(distance < 90, surface, 1500).astype(np.uint16)


def _stored(index: int, labels: bool = False) -> StoredFrame:
    depth = _frame(index)
    joints = np.full((21, 3), index, np.float32) if labels else None
    vertices = np.full((779, 3), index, np.float32) if labels else None
    seen = (depth < 1000) & (np.arange(480)[:, None] % 2 == 0)
    return cut_patch(depth, CAMERA, CENTRES[index], CUBE, f"frame {index}", seen, joints, vertices)


@pytest.fixture(scope="module")
def store() -> FrameStore:
    """Three frames with masks and labels."""
    return FrameStore.from_frames([_stored(index, labels=True) for index in range(3)], dropped=(("too small", 4),))


@pytest.mark.parametrize("index", range(3))
def test_a_plain_crop_is_the_crop_of_the_whole_frame(store: FrameStore, index: int) -> None:
    sample = store.batch([index])
    whole = crop_frame(
        _frame(index).astype(np.float32), Camera.of(*CAMERA), torch.tensor(CENTRES[index]), torch.tensor(CUBE)
    )
    assert ((sample.crop.depth[0] - whole.depth).abs() > 1e-5).float().mean() < 0.001
    assert torch.equal(sample.crop.crop_from_image[0], whole.crop_from_image)
    assert torch.allclose(sample.crop.centre_mm[0], whole.centre_mm)


def test_masks_labels_and_names_come_along(store: FrameStore) -> None:
    sample = store.batch([2, 0])
    assert sample.frames == ("frame 2", "frame 0")
    assert sample.joints_mm is not None and sample.joints_mm[:, 0, 0].tolist() == [2, 0]
    assert sample.vertices_mm is not None and sample.vertices_mm.shape == (2, 779, 3)
    assert sample.observed is not None
    # every second sensor row was marked, so about half of the hand's samples are
    share = sample.observed.sum() / sample.crop.foreground.sum()
    assert 0.4 < share < 0.6 and not (sample.observed & ~sample.crop.foreground).any()


def test_patches_hold_only_what_a_crop_can_show(store: FrameStore) -> None:
    deepest = store.bases_mm + store.units_mm * store.pixels.max()
    assert (deepest < 1000).all(), "the wall is behind every cube"
    assert (store.shapes < 185).all()
    assert len(store) == 3 and store.dropped == (("too small", 4),)


def test_a_subset_shares_the_pixels(store: FrameStore) -> None:
    part = store.subset(torch.tensor([2, 1]))
    assert len(part) == 2 and part.pixels is store.pixels
    assert torch.equal(part.batch([0, 1]).crop.depth, store.batch([2, 1]).crop.depth)
    assert part.batch([1]).frames == ("frame 1",)


def _kept(folder: Path, frames: list[StoredFrame], size: int = 128) -> FrameStore:
    save_packed(folder, iter(frames), {"size": size, "joint_set": "nyu14", "mirrored_width": 640}, {"too small": 4})
    return FrameStore.load(folder)


def test_stores_on_disk_serve_the_same_crops(store: FrameStore, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    again = _kept(folder, [_stored(index, labels=True) for index in range(3)])
    assert isinstance(again.pixels, np.memmap) and isinstance(again.observed_bits, np.memmap)
    first, second = store.batch(range(3)), again.batch(range(3))
    assert torch.equal(first.crop.depth, second.crop.depth)
    assert first.observed is not None and second.observed is not None
    assert torch.equal(first.observed, second.observed)
    assert again.dropped == store.dropped and second.frames == first.frames
    assert (again.mirrored_width, again.joint_set, second.joint_set) == (640, "nyu14", "nyu14")
    assert list(tmp_path.iterdir()) == [folder], "nothing temporary is left"


def test_without_masks_and_labels_there_are_none(tmp_path: Path) -> None:
    frames = [_stored(1), cut_patch(_frame(0), CAMERA, CENTRES[0], CUBE)]
    sample = _kept(tmp_path / "kept", frames, size=64).batch([1])
    assert sample.observed is None and sample.joints_mm is None and sample.vertices_mm is None
    assert sample.crop.depth.shape == (1, 1, 64, 64)


def test_an_empty_patch_is_a_crop_of_background(tmp_path: Path) -> None:
    empty = cut_patch(np.zeros((480, 640), np.uint16), CAMERA, CENTRES[0], CUBE)
    sample = FrameStore.from_frames([empty, _stored(1)]).batch([0, 1])
    assert not sample.crop.foreground[0].any() and sample.crop.foreground[1].any()
    assert not _kept(tmp_path / "kept", [empty]).batch([0]).crop.foreground.any()


@pytest.mark.parametrize("step_mm", [1.0, 0.125])
def test_depth_in_fractions_that_sensors_use_is_kept_exactly(step_mm: float) -> None:
    depth = np.round(_frame(0) / step_mm) * step_mm + 3 * step_mm
    kept = cut_patch(depth.astype(np.float32), CAMERA, CENTRES[0], CUBE)
    u, v = kept.origin
    height, width = kept.patch.shape
    again = kept.base_mm + kept.unit_mm * (kept.patch.astype(np.float64) - 1)
    there = kept.patch > 0
    assert there.mean() > 0.7 and np.array_equal(again[there], depth[v : v + height, u : u + width][there])


def test_whatever_stands_before_the_cube_counts_as_its_front() -> None:
    depth = _frame(0)
    depth[230:250, 270:290] = 150
    crop = FrameStore.from_frames([cut_patch(depth, CAMERA, CENTRES[0], CUBE)]).batch([0]).crop
    assert (crop.depth == -1).sum() > 20


@pytest.mark.parametrize("file", [PIXELS, BITS, FRAMES])
@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, file: str, damage: str) -> None:
    _kept(tmp_path / "kept", [_stored(index) for index in range(2)])
    path = tmp_path / "kept" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3] if damage == "truncated" else b"PK\x03\x04 odd")
    with pytest.raises(UserError, match=r"kept holds no whole set of prepared frames .* delete it"):
        FrameStore.load(tmp_path / "kept")


def test_what_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def frames() -> Iterator[StoredFrame]:
        yield _stored(0)
        raise UserError("the second image is damaged")

    with pytest.raises(UserError, match="second image"):
        save_packed(tmp_path / "kept", frames(), {"size": 128, "joint_set": "mano21", "mirrored_width": 0}, {})
    assert not list(tmp_path.iterdir())
