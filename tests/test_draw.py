"""Pictures show what they are given, where the conventions say."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from util.draw import (
    PAPER,
    depth_picture,
    difference_picture,
    draw_skeleton,
    grid,
    part_picture,
    shaded_picture,
    write_png,
)
from util.joints import FINGER_COLOURS, JOINT_SETS, MANO21, PALM_COLOUR

SIZE = 64


def sphere() -> torch.Tensor:
    """A ball in the middle of a crop."""
    u = torch.arange(SIZE) / (SIZE / 2) - 1
    squared = 0.25 - u[None, :] ** 2 - u[:, None] ** 2
    return torch.where(squared > 0, -squared.clamp(min=0).sqrt(), 1.0)


def test_near_is_brighter_and_nothing_is_paper() -> None:
    depth = torch.tensor([[-1.0, 0.0], [0.9, 1.0]])
    picture = depth_picture(depth, 1).astype(int)
    assert picture[0, 0].sum() > picture[0, 1].sum() > picture[1, 0].sum() > sum(PAPER)
    assert tuple(picture[1, 1]) == PAPER
    assert picture[0, 0, 0] >= picture[0, 0, 2], "near is warm"


def test_a_sample_is_a_square() -> None:
    picture = depth_picture(sphere(), 3)
    assert picture.shape == (3 * SIZE, 3 * SIZE, 3)
    assert (picture.reshape(SIZE, 3, SIZE, 3, 3) == picture[::3, ::3][:, None, :, None]).all()


def test_light_comes_from_above_left() -> None:
    picture = shaded_picture(sphere(), 1).astype(int).sum(axis=-1)
    middle, off = SIZE // 2, SIZE // 6
    assert picture[middle - off, middle] > picture[middle + off, middle]
    assert picture[middle, middle - off] > picture[middle, middle + off]
    assert picture[0, 0] == sum(PAPER)


def test_difference_tells_front_from_back() -> None:
    real = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]]).expand(6, 6)
    rendered = torch.tensor([[0.0, 0.3, -0.3, 1.0, 0.0, 1.0]]).expand(6, 6)
    agree, behind, before, real_only, rendered_only, nothing = difference_picture(real, rendered, zoom=1)[0].astype(int)
    assert agree.argmax() == 1
    assert behind.argmax() == 0
    assert before.argmax() == 2
    assert tuple(real_only) == PALM_COLOUR
    assert tuple(rendered_only) == FINGER_COLOURS["pinky"]
    assert tuple(nothing) == PAPER


def test_parts_have_their_fingers_colour() -> None:
    labels = torch.tensor([[-1, 0, 1, 2], [3, 6, 15, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    picture = part_picture(labels, 1)
    assert tuple(picture[0, 0]) == PAPER
    assert tuple(picture[0, 1]) == PALM_COLOUR
    assert tuple(picture[1, 0]) == FINGER_COLOURS["index"]
    assert tuple(picture[1, 1]) == FINGER_COLOURS["middle"]
    assert tuple(picture[1, 2]) == FINGER_COLOURS["thumb"]
    assert picture[0, 2].sum() < picture[0, 3].sum() < picture[1, 0].sum()


@pytest.mark.parametrize("zoom", [1, 3, 4])
def test_a_joint_lands_on_its_sample(zoom: int) -> None:
    joints = torch.full((21, 3), math.nan)
    sample_u, sample_v = 40, 12
    joints[9] = torch.tensor([sample_u / (SIZE / 2) - 1, sample_v / (SIZE / 2) - 1, 0.0])
    empty = np.zeros((SIZE * zoom, SIZE * zoom, 3), np.uint8)
    drawn = draw_skeleton(empty, joints, zoom=zoom)
    assert not empty.any(), "the picture given is left alone"
    rows, columns = np.nonzero(drawn.sum(axis=-1))
    assert (rows.min() + rows.max()) / 2 == pytest.approx(zoom * sample_v + (zoom - 1) / 2, abs=0.51)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(zoom * sample_u + (zoom - 1) / 2, abs=0.51)
    assert tuple(drawn[round(rows.mean()), round(columns.mean())]) == MANO21.colours[9]


@pytest.mark.parametrize("name", JOINT_SETS)
def test_every_set_can_be_drawn_over_the_edge_too(name: str) -> None:
    joints = torch.randn(len(JOINT_SETS[name]), 3, generator=torch.Generator().manual_seed(0)) * 2
    assert draw_skeleton(depth_picture(sphere()), joints, JOINT_SETS[name]).any()


def test_nearer_bones_cover_farther_ones() -> None:
    joints = torch.full((21, 3), math.nan)
    joints[1], joints[2] = torch.tensor([-0.5, 0.0, -0.5]), torch.tensor([0.5, 0.0, -0.5])  # index, near
    joints[4], joints[5] = torch.tensor([0.0, -0.5, 0.5]), torch.tensor([0.0, 0.5, 0.5])  # middle, far
    drawn = draw_skeleton(np.zeros((SIZE * 3, SIZE * 3, 3), np.uint8), joints)
    assert tuple(drawn[SIZE * 3 // 2 + 1, SIZE * 3 // 2 + 1]) == FINGER_COLOURS["index"]


def test_a_grid_holds_all_pictures() -> None:
    pictures = [np.full((10, 12, 3), value, np.uint8) for value in range(5)]
    page = grid(pictures, 3, gap=2)
    assert page.shape == (2 * 12 + 2, 3 * 14 + 2, 3)
    assert [page[7, 7 + 14 * k, 0] for k in range(3)] == [0, 1, 2]
    assert [page[19, 7 + 14 * k, 0] for k in range(3)] == [3, 4, 255]
    assert grid(pictures, 3, titles=["a", "b", "c"]).shape[0] > page.shape[0]
    with pytest.raises(ValueError, match="one size"):
        grid([pictures[0], pictures[0][:5]], 2)
    with pytest.raises(ValueError, match="at least one"):
        grid([], 2)


def test_a_png_keeps_its_colours(tmp_path: Path) -> None:
    picture = depth_picture(sphere())
    write_png(tmp_path / "new" / "a.png", picture)
    back = cv2.imread(str(tmp_path / "new" / "a.png"))
    assert back is not None
    assert np.array_equal(back[..., ::-1], picture)
