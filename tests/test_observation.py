"""The distance to a silhouette agrees with OpenCV's and with a search over all rows, and vanishes on it."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.observation import OUTSIDE_LIMIT, outside_distance


def test_outside_distance_is_the_euclidean_one():
    generator = torch.Generator().manual_seed(0)
    foreground = torch.rand(4, 1, 64, 64, generator=generator) > 0.995
    ours = outside_distance(foreground, 64)
    for mask, mine in zip(foreground[:, 0], ours[:, 0], strict=True):
        theirs = cv2.distanceTransform((~mask).numpy().astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        assert np.allclose(np.minimum(theirs * 2 / 64, OUTSIDE_LIMIT), mine, atol=1e-5)


def slow_outside_distance(foreground: Tensor, side: int) -> Tensor:
    """Each cell against every other of its column, each of which knows how far its own row's foreground is."""
    coarse = F.max_pool2d(foreground.float(), foreground.shape[-1] // side).bool()
    place = torch.arange(side)
    apart = (place[:, None] - place).abs().float()
    along_row = torch.where(coarse.unsqueeze(-2), apart, 4.0 * side).amin(-1)
    squared = (along_row.square().transpose(-1, -2).unsqueeze(-2) + apart.square()).amin(-1).transpose(-1, -2)
    return (squared.sqrt() * (2.0 / side)).clamp_max(OUTSIDE_LIMIT)


@pytest.mark.parametrize(("size", "side"), [(128, 64), (128, 32), (64, 64), (60, 30)])
@pytest.mark.parametrize("share", [0.1, 0.01, 0.0005, 0.0])
def test_outside_distance_equals_the_slow_one(size, side, share):
    foreground = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(1)) < share
    assert torch.equal(outside_distance(foreground, side), slow_outside_distance(foreground, side))


def test_nothing_in_view_is_far_everywhere():
    assert (outside_distance(torch.zeros(1, 1, 128, 128, dtype=torch.bool)) == OUTSIDE_LIMIT).all()


def test_coarse_cells_with_any_foreground_are_inside():
    foreground = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    foreground[0, 0, 41, 77] = True
    distance = outside_distance(foreground, 64)
    assert distance[0, 0, 20, 38] == 0
    assert (distance > 0).sum() == 64 * 64 - 1
