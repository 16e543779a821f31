"""A depth frame as a sensor delivers it, and how to read one from a file."""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dataloader.camera import Camera
from util.errors import UserError
from util.reading import read_plain

NEAREST_MM, FARTHEST_MM = np.float32(1e-3), np.float32(1e6)
"""What lies nearer than a micrometre, or further off than a kilometre, was not measured."""
MOST_PIXELS = 1 << 26
"""Of an image: more are refused before they are decoded; depth sensors have up to 2^20 or so."""


@dataclass(frozen=True)
class DepthFrame:
    """One depth image and the camera that took it."""

    depth_mm: np.ndarray
    """(h, w), uint16 or float32, millimetres; 0 = no reading."""
    camera: Camera
    """The camera, without batch axis."""
    name: str = ""
    """Where it came from."""

    def mirrored(self) -> "DepthFrame":
        """Flipped left to right, as a left hand (or a data set stored mirrored) needs to look like a right one."""
        width = self.depth_mm.shape[1]
        return DepthFrame(np.ascontiguousarray(self.depth_mm[:, ::-1]), self.camera.mirrored(width), self.name)


def decode_image(path: Path, remedy: str = "unpack it again") -> np.ndarray:
    """Decode a PNG or TIFF with the type and channels that it has: (h, w) or (h, w, channels), blue first.

    Raises:
        UserError: the file is missing, truncated, no image of these kinds, or larger than any depth sensor's.
    """
    stored = read_plain(path, remedy)
    try:
        # the header alone: how much memory decoding takes is known before it is asked for
        # (a damaged TIFF makes its reader complain once a tag; the filter is the whole process's, so PNGs go without)
        quiet = nullcontext() if stored.startswith(b"\x89PNG") else warnings.catch_warnings(action="ignore")
        with quiet, Image.open(BytesIO(stored), formats=("PNG", "TIFF")) as header:
            width, height = header.size
    except Exception as error:  # a damaged header makes its readers stumble anywhere
        if isinstance(error, Image.DecompressionBombError):
            raise UserError(f"{path} is larger than a depth sensor's images: {remedy}.") from None
        raise UserError(f"{path} is no readable image: {remedy}.") from error
    if width * height > MOST_PIXELS:
        raise UserError(f"{path} is {width}x{height}, larger than a depth sensor's images: {remedy}.")
    try:
        image = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or not image.size:
        raise UserError(f"{path} is no readable image: {remedy}.")
    return image


def depth_from(stored: np.ndarray, unit_mm: float) -> np.ndarray:
    """Stored numbers -> mm, 0 = no reading: uint16 as stored where that is the same, otherwise float32.

    Numbers that are not finite, below `NEAREST_MM`, or beyond `FARTHEST_MM` are no reading.
    """
    if stored.dtype == np.uint16 and unit_mm == 1.0:
        return stored
    with np.errstate(over="ignore", invalid="ignore"):
        depth = stored.astype(np.float32) * np.float32(unit_mm)
    return np.where((depth >= NEAREST_MM) & (depth <= FARTHEST_MM), depth, np.float32(0))


def read_depth_png(path: Path, size: tuple[int, int] | None = None, unit_mm: float = 1.0) -> np.ndarray:
    """Read a 16-bit grey PNG as (h, w) depth: uint16 as stored when a unit is 1 mm, otherwise float32 millimetres.

    Args:
        path: the file.
        size: (width, height) that it must have, if that is known.
        unit_mm: millimetres a stored unit.

    Raises:
        UserError: the file is missing, no readable image, not 16-bit grey, or of another size.
    """
    image = decode_image(path)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise UserError(f"{path} is not a 16-bit grey PNG with depth in it: check that it belongs to this data set.")
    height, width = image.shape
    if size is not None and (width, height) != size:
        raise UserError(f"{path} is {width}x{height}, not {size[0]}x{size[1]}: check that it belongs to this data set.")
    return image if unit_mm == 1.0 else image.astype(np.float32) * unit_mm
