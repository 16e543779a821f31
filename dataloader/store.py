"""Frames at the sensor's resolution, cut generously around the hand, and served as batches of crops.

Crops are resampled from the sensor's own pixels each time, so that an augmented crop is as sharp as a plain one. All
patches lie one behind another in one array, in memory or mapped from a file; a batch is a single gather from it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataloader.augment import Augmentation, Change
from dataloader.camera import Camera
from dataloader.crop import empty_crop, published_grid
from dataloader.packing import PER_FRAME, load_packed, pack
from dataloader.patch import StoredFrame
from dataloader.sample import HandSample
from util.draws import Draws
from util.errors import UserError


@dataclass(frozen=True)
class FrameStore:
    """Packed frames; n frames, p pixels in all. Subsets share the pixels of the store they come from."""

    pixels: np.ndarray
    """(p,) uint16, all patches row by row, each from a multiple of 8 on; see `StoredFrame.patch`."""
    observed_bits: np.ndarray | None
    """(p / 8,) uint8, `np.packbits` of the observed-hand masks, where a rule fixed them."""
    starts: np.ndarray
    """(n,) int64, first pixel of each patch."""
    shapes: np.ndarray
    """(n, 2) int64, height and width of each patch."""
    bases_mm: np.ndarray
    """(n,) float32, depth of each patch's value 1."""
    units_mm: np.ndarray
    """(n,) float32, depth step of each patch."""
    origins: np.ndarray
    """(n, 2) int64, sensor pixel (u, v) of each patch's first pixel."""
    cameras: np.ndarray
    """(n, 4) float32, fx fy cx cy."""
    centres_mm: np.ndarray
    """(n, 3) float32, centre of each cube."""
    cubes_mm: np.ndarray
    """(n, 3) float32, edges of each cube."""
    names: np.ndarray
    """(n,) str, name of each frame."""
    joints_mm: np.ndarray | None = None
    """(n, joints, 3) float32 labels, camera frame."""
    vertices_mm: np.ndarray | None = None
    """(n, 779, 3) float32 labels, camera frame."""
    joint_set: str = "mano21"
    """Joint set of the labels (`util.joints.JOINT_SETS`)."""
    mirrored_width: int = 0
    """Width of the images if they were flipped left to right when read, else 0 (`Listing.mirrored_width`)."""
    size: int = 128
    """Side of the crops served."""
    dropped: tuple[tuple[str, int], ...] = ()
    """(reason, number) of frames that the loader left out."""

    @staticmethod
    def from_frames(
        frames: Iterable[StoredFrame],
        size: int = 128,
        dropped: tuple[tuple[str, int], ...] = (),
        joint_set: str = "mano21",
        mirrored_width: int = 0,
    ) -> "FrameStore":
        """Pack frames in memory; masks and labels are kept when every frame has them."""
        rest = {"size": size, "dropped": dropped, "joint_set": joint_set, "mirrored_width": mirrored_width}
        return FrameStore(**pack(frames), **rest)

    @staticmethod
    def load(folder: Path) -> "FrameStore":
        """Frames that `dataloader.packing.save_packed` wrote; pixels are mapped from the file, not read.

        Raises:
            UserError: a file is missing, damaged or something else.
        """
        return FrameStore(**load_packed(folder))

    def __len__(self) -> int:
        return len(self.starts)

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> "FrameStore":
        """The chosen frames, in the given order; pixels are shared, not copied."""
        chosen = np.asarray(indices, np.int64)
        parts = {name: getattr(self, name) for name in PER_FRAME}
        return replace(self, **{name: part[chosen] for name, part in parts.items() if part is not None})

    def batch(
        self,
        indices: Sequence[int] | np.ndarray | Tensor,
        generator: Draws | None = None,
        augment: Augmentation | None = None,
    ) -> HandSample:
        """Crops of the chosen frames, augmented when `augment` is given (it then needs the generator).

        `observed` comes with plain crops only: it is for scoring. Labels turn with the crop; parameters are not kept.

        Raises:
            ValueError: `augment` without `generator`.
            UserError: the files that pixels are mapped from have become shorter.
        """
        self._still_whole()
        chosen = np.asarray(indices, np.int64)
        if augment is not None and generator is None:
            raise ValueError("augmentation needs a generator")
        change = Change.none(len(chosen))
        if augment is not None and generator is not None:
            change = augment.draw(len(chosen), generator)
        numbers = torch.from_numpy(self.cameras[chosen])
        camera = Camera(numbers[:, :2], numbers[:, 2:])
        cube_mm = torch.from_numpy(self.cubes_mm[chosen]) * change.cube_factor[:, None]
        window = empty_crop(camera, change.centre(torch.from_numpy(self.centres_mm[chosen])), cube_mm, self.size)
        if augment is None:
            grid = published_grid(camera, window.centre_mm, cube_mm, self.size)
        else:
            turned = change.image_from_turned(camera.to(torch.float64))
            grid = turned @ torch.linalg.inv(window.crop_from_image.double())
        places, inside = self._places(chosen, grid)
        steps = np.where(inside, np.take(self.pixels, places, mode="clip"), 0)
        unit, base = self.units_mm[chosen, None, None], self.bases_mm[chosen, None, None]
        depth_mm = np.where(steps > 0, steps * unit + (base - unit), np.float32(0))
        crop = window.with_depth_mm(torch.from_numpy(depth_mm))
        observed = None
        if self.observed_bits is not None and augment is None:
            bits = np.take(self.observed_bits, places >> 3, mode="clip") >> (7 - (places & 7)).astype(np.uint8)
            observed = torch.from_numpy((bits & 1).astype(bool) & inside)[:, None] & crop.foreground
        labels = [
            None if known is None else change.turned(torch.from_numpy(known[chosen]))
            for known in (self.joints_mm, self.vertices_mm)
        ]
        names = tuple(str(name) for name in self.names[chosen])
        return HandSample(crop, labels[0], labels[1], None, observed, names, self.joint_set)

    def _still_whole(self) -> None:
        """Look before reading: where a mapped file has lost its end, the system would end the process.

        A file that has only lost its name (prepared anew by somebody, say) is still there for who has mapped it.
        """
        for mapped in (self.pixels, self.observed_bits):
            if not isinstance(mapped, np.memmap) or mapped.filename is None:
                continue
            path = Path(mapped.filename)
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UserError(f"{path} cannot be read any more ({error.strerror}): check its disk.") from error
            if size < mapped.nbytes:
                raise UserError(f"{path} has become shorter while it was read: delete {path.parent}, it is made anew.")

    def _places(self, chosen: np.ndarray, image_from_crop: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Index into `pixels` of each crop sample (n, s, s), and whether it falls on the patch at all."""
        matrix = image_from_crop.numpy().copy()
        matrix[:, :2, 2] -= self.origins[chosen]
        # a sample that falls exactly on a pixel's edge belongs to the pixel behind it, whatever rounding made of it
        matrix[:, :2, 2] += 1e-3
        linear = matrix[..., None, None].astype(np.float32)
        steps = np.arange(self.size, dtype=np.float32)
        u, v = (
            np.floor((linear[:, k, 1] * steps[:, None] + linear[:, k, 2]) + linear[:, k, 0] * steps).astype(np.int32)
            for k in (0, 1)
        )
        height, width = (self.shapes[chosen, k].astype(np.int32)[:, None, None] for k in (0, 1))
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        return np.where(inside, v * width + u + self.starts[chosen][:, None, None], 0), inside
