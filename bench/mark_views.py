"""Enlarged depth frames to read finger tips off: cut out around the hand, shaded, under a grid of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from config import DataConfig
from dataloader.datasets.catalogue import list_split
from dataloader.listing import Listing
from dataloader.prepare import prepare
from dataloader.store import FrameStore
from util.draw import Picture, draw_text
from util.errors import UserError
from util.joints import FINGER_COLOURS
from util.marks import Marks

PANEL = 780
"""Side that an enlarged frame may have, picture pixels."""
MARGIN = 8
"""Pixels of the image shown around what lies in the hand's cube."""
RULER = 34
"""Picture pixels beside a frame that hold the grid's numbers."""
STEP = 10
"""Pixels of the image between lines of the grid."""
FINE_PX, COARSE_PX = 1.2, 6.0
"""Standard deviations of the smoothing that takes off noise, and of the surroundings that a relief is seen against."""
HEAD = 24
"""Picture pixels above a frame that hold its name."""
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class View:
    """A part of a frame as stored, around the hand."""

    name: str
    """File of the frame, relative to its data set's folder."""
    depth_mm: np.ndarray
    """(h, w) float32, 0 = no reading or outside the cube around the hand."""
    corner: tuple[int, int]
    """Pixel (u, v) of the stored image that the part begins with."""

    @property
    def zoom(self) -> int:
        """Picture pixels a pixel of the image."""
        return max(2, PANEL // max(self.depth_mm.shape))

    def place(self, u: float, v: float) -> tuple[int, int]:
        """Place in the stored image -> pixel of a panel."""
        return round((u - self.corner[0]) * self.zoom) + RULER, round((v - self.corner[1]) * self.zoom) + RULER


@dataclass(frozen=True)
class Folder:
    """Frames of a data set that the phase test scores."""

    listing: Listing
    store: FrameStore

    @staticmethod
    def open(root: Path, names: Sequence[str] = (), every: int = 1) -> "Folder":
        """Test frames of a folder of SHREC'17 or of one's own frames, their hands located as for training and test.

        Args:
            root: the folder.
            names: files of frames, relative to it; where none is named, every `every`-th of all from the middle of the
                first so many on.

        Raises:
            UserError: it is neither, cannot be read, has no such frame, or no hand is found in any.
        """
        shrec = (root / "train_gestures.txt").is_file()
        if not shrec and not (root / "camera.json").is_file():
            raise UserError(f"{root} has neither train_gestures.txt nor camera.json: name a folder of frames.")
        config = DataConfig(name="shrec" if shrec else "frames", root=root, keep=False, workers=1)
        listing = list_split(config, "test")
        row_of = {file: row for row, file in enumerate(listing.files)}
        if absent := [name for name in names if name not in row_of]:
            raise UserError(f"{root} has no test frame {absent[0]}: check the names of frames.")
        rows = [row_of[name] for name in dict.fromkeys(names)] or list(range(every // 2, len(listing), every))
        return Folder(listing, prepare(listing.part(rows), config))

    @property
    def names(self) -> list[str]:
        """Files of the frames whose hand was found."""
        return [str(name) for name in self.store.names]

    def view(self, name: str) -> View:
        """The part of a frame around its hand.

        Raises:
            UserError: no hand was found in the frame.
        """
        if name not in self.names:
            raise UserError(f"{self.listing.root / name} shows no hand large enough: leave the frame out.")
        index, width = self.names.index(name), self.listing.mirrored_width
        depth = self.listing.read(self.listing.root / name).astype(np.float32)
        depth = depth[:, ::-1] if width else depth
        fx, fy, cx, cy = self.store.cameras[index]
        x, y, z = self.store.centres_mm[index]
        u, v = fx * x / z + cx, fy * y / z + cy
        u = width - u if width else u
        across, down, deep = self.store.cubes_mm[index] / 2
        left, right = (int(np.clip(u + side * fx * across / z, 0, depth.shape[1])) for side in (-1, 1))
        top, bottom = (int(np.clip(v + side * fy * down / z, 0, depth.shape[0])) for side in (-1, 1))
        near = np.where(np.abs(depth - z) <= deep, depth, np.float32(0))
        column, row, columns, rows = cv2.boundingRect((near[top:bottom, left:right] > 0).view(np.uint8))
        corner = max(left + column - MARGIN, 0), max(top + row - MARGIN, 0)
        shown = near[corner[1] : top + row + rows + MARGIN, corner[0] : left + column + columns + MARGIN]
        return View(name, np.ascontiguousarray(shown), corner)


def sheet(view: View, marks: Marks | None = None) -> Picture:
    """A frame under its name, twice: coloured by depth and shaded, and its relief in grey; with marks on both if given.

    A mark is a small ring around its place, in its finger's colour, with the first letter of its joint beside it.
    """
    panels = [_ruled(picture, view) for picture in (_coloured(view), _relief(view))]
    if marks is not None:
        known = marks.of([view.name])
        for joint, (u, v) in zip(known.joints, known.uv, strict=True):
            colour = FINGER_COLOURS.get(joint.split("_")[0], WHITE)
            x, y = view.place(float(u), float(v))
            for panel in panels:
                cv2.circle(panel, (x, y), 7, WHITE, 3, cv2.LINE_AA)
                cv2.circle(panel, (x, y), 7, colour, 1, cv2.LINE_AA)
                cv2.circle(panel, (x, y), 1, colour, -1)
                draw_text(panel, joint[0], (x + 9, y - 6), 0.6, WHITE)
    both = np.concatenate(panels, axis=1)
    head = np.full((HEAD, both.shape[1], 3), 255, np.uint8)
    draw_text(head, view.name, (8, 17), 0.5)
    return np.concatenate([head, both])


def together(pictures: Sequence[Picture], columns: int) -> Picture:
    """Pictures of any sizes in rows of `columns`, each in the upper left of its place."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    page = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return page


def _smoothed(view: View, sigma: float) -> np.ndarray:
    """(h, w) depth, mm, averaged over the readings around."""
    weight = cv2.GaussianBlur((view.depth_mm > 0).astype(np.float32), (0, 0), sigma)
    return cv2.GaussianBlur(view.depth_mm, (0, 0), sigma) / np.maximum(weight, 1e-3)


def _coloured(view: View) -> Picture:
    """Near is red and far is blue, stretched over the hand; slopes are shaded."""
    there, smooth = view.depth_mm > 0, _smoothed(view, FINE_PX)
    low, high = np.percentile(view.depth_mm[there], (1, 99))
    nearness = (255 * (1 - np.clip((smooth - low) / max(high - low, 1), 0, 1))).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(nearness, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    slope_v, slope_u = np.gradient(smooth)
    light = (1 + 0.35 * slope_u + 0.5 * slope_v) / np.sqrt(1 + slope_u**2 + slope_v**2)
    shaded = colours * np.clip(0.35 + 0.65 * light, 0.3, 1.15)[..., None]
    return np.where(there[..., None], np.clip(shaded, 0, 255), 0).astype(np.uint8)


def _relief(view: View) -> Picture:
    """Bright where nearer than what is around."""
    proud = _smoothed(view, COARSE_PX) - _smoothed(view, FINE_PX)
    grey = np.where(view.depth_mm > 0, np.clip(128 + 9 * proud, 20, 255), 0).astype(np.uint8)
    return grey[..., None].repeat(3, axis=-1)


def _ruled(picture: Picture, view: View) -> Picture:
    """Enlarged, with a grid and its numbers, pixels of the stored image, on every side."""
    zoom, (left, top) = view.zoom, view.corner
    height, width = view.depth_mm.shape
    page = np.full((height * zoom + 2 * RULER, width * zoom + 2 * RULER, 3), 255, np.uint8)
    inside = page[RULER:-RULER, RULER:-RULER]
    inside[:] = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
    every = STEP if zoom * STEP >= 30 else 2 * STEP
    for axis, (start, length) in enumerate(((left, width), (top, height))):
        for at in range(-(-start // STEP) * STEP, start + length, STEP):
            place = (at - start) * zoom
            line = inside[:, place] if axis == 0 else inside[place]
            strength = 0.55 if at % (5 * STEP) == 0 else 0.28
            line[:] = (line * (1 - strength) + 255 * strength).astype(np.uint8)
            if at % every == 0:
                across = ((place + RULER - 12, 22), (place + RULER - 12, page.shape[0] - 12))
                down = ((2, place + RULER + 4), (page.shape[1] - RULER + 2, place + RULER + 4))
                for corner in (across, down)[axis]:
                    draw_text(page, str(at), corner, 0.4)
    return page
