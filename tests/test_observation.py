"""The distance to a silhouette agrees with OpenCV's and vanishes on it."""

import cv2
import numpy as np
import torch

from training.observation import OUTSIDE_LIMIT, outside_distance


def test_outside_distance_is_the_euclidean_one():
    generator = torch.Generator().manual_seed(0)
    foreground = torch.rand(4, 1, 64, 64, generator=generator) > 0.995
    ours = outside_distance(foreground, 64)
    for mask, mine in zip(foreground[:, 0], ours[:, 0], strict=True):
        theirs = cv2.distanceTransform((~mask).numpy().astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        assert np.allclose(np.minimum(theirs * 2 / 64, OUTSIDE_LIMIT), mine, atol=1e-5)


def test_nothing_in_view_is_far_everywhere():
    assert (outside_distance(torch.zeros(1, 1, 128, 128, dtype=torch.bool)) == OUTSIDE_LIMIT).all()


def test_coarse_cells_with_any_foreground_are_inside():
    foreground = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    foreground[0, 0, 41, 77] = True
    distance = outside_distance(foreground, 64)
    assert distance[0, 0, 20, 38] == 0
    assert (distance > 0).sum() == 64 * 64 - 1
