"""Frames of a listing, cropped, beside what published loaders return for them."""

from pathlib import Path

import numpy as np
import torch

from dataloader.camera import Camera
from dataloader.crop import crop_frame
from dataloader.listing import Listing


def assert_as_published(listing: Listing, expected: Path) -> None:
    """Crops, centres, cubes and joints of a listing are those of an expected_*.npz."""
    known = np.load(expected)
    assert listing.centres_mm is not None and listing.joints_mm is not None and listing.labelled
    assert len(listing) == len(known["image"])
    assert np.abs(listing.centres_mm - known["center_mm"]).max() <= 1e-4
    assert np.array_equal(listing.cubes_mm, known["cube_mm"])
    for i in range(len(listing)):
        centre_mm = torch.from_numpy(listing.centres_mm[i]).float()
        cube_mm = torch.from_numpy(listing.cubes_mm[i]).float()
        crop = crop_frame(listing.read(listing.path(i)), Camera.of(*listing.camera), centre_mm, cube_mm)
        different = np.abs(crop.depth.numpy() - known["image"][i]) > 1e-4
        assert crop.foreground.sum() > 600 and different.mean() <= 0.005, listing.files[i]
        assert np.allclose(crop.crop_from_image.numpy(), known["crop_from_image"][i], rtol=1e-6, atol=1e-4)
        joints_mm = torch.from_numpy(listing.joints_mm[i]).float()
        assert np.abs(crop.xyz_from_mm(joints_mm).numpy() - known["joint_xyz"][i]).max() <= 1e-4
        assert np.abs(crop.uvd_from_mm(joints_mm).numpy() - known["joint_uvd"][i]).max() <= 1e-4
