"""Depth frames of one's own, from whatever they are in: a file, a folder, a pattern, a stack of frames, a live sensor.

- An image (.png, .tif, .tiff) or array (.npy) of 16 bits or floats is one frame; a .npy of (n, h, w) is n frames.
- An .npz is a stack too: its only array of depth, or the one called depth, depth_mm, depths or frames.
- A folder is all of these in it and its sub-folders; a pattern (`run/*.png`) is those it matches.
- `realsense` is a RealSense sensor at this machine (dataloader/realsense.py).

0, negative, NaN, infinite numbers, and those beyond a kilometre, are no reading. Frames
are in natural order of their names, which are unique.
"""

import glob
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import numpy as np

from dataloader.camera import Camera
from dataloader.datasets.camera_file import read_camera
from dataloader.datasets.frames import ENDINGS, find_images, natural_order, read_stored
from dataloader.frame import DepthFrame, depth_from
from dataloader.locate import Intrinsics
from dataloader.named_cameras import named_camera, nominal_intrinsics
from util.arrays import read_npy, read_npz
from util.errors import UserError

Side = Literal["right", "left"]

STACK = ".npz"
"""Ending of a file with several arrays."""
STACK_NAMES = ("depth", "depth_mm", "depths", "frames")
"""What the array of frames is called where a file has several."""
CAMERA_FILE = "camera.json"
"""The camera of a folder's images, where neither a camera nor a sensor is given."""


@dataclass(frozen=True)
class Optics:
    """What turns stored numbers into millimetres before a camera."""

    camera: Intrinsics | str
    """fx, fy, cx, cy in pixels, or the name of a sensor."""
    unit_mm: float
    """Millimetres a stored unit."""

    def intrinsics(self, width: int, height: int) -> Intrinsics:
        """fx, fy, cx, cy for images of this size (UserError where the sensor has none)."""
        return nominal_intrinsics(self.camera, (width, height)) if isinstance(self.camera, str) else self.camera

    def frame(self, stored: np.ndarray, name: str) -> DepthFrame:
        """Stored numbers (h, w) as a frame."""
        height, width = stored.shape
        return DepthFrame(depth_from(stored, self.unit_mm), Camera.of(*self.intrinsics(width, height)), name)


class StoredFrames(Sequence):
    """Frames in files, each read when it is asked for.

    A sequence of DepthFrame; not called so, since a check of that type would read files.
    """

    def __init__(self, places: Sequence[tuple[str, Path, int | None]], optics: Optics, side: Side | None) -> None:
        self._places, self.optics = tuple(places), optics
        self.side: Side | None = side
        """The hand that the images look like, where a camera.json says it."""
        self._open: tuple[Path, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> DepthFrame: ...

    @overload
    def __getitem__(self, index: slice) -> "StoredFrames": ...

    def __getitem__(self, index: int | slice) -> "DepthFrame | StoredFrames":
        """A frame, or those of a slice. Raises UserError when a file is damaged or holds no depth."""
        if isinstance(index, slice):
            return StoredFrames(self._places[index], self.optics, self.side)
        name, path, row = self._places[index]
        stored = read_stored(path) if row is None else self._stack(path)[row]
        return self.optics.frame(np.asarray(stored), name)

    @cached_property
    def names(self) -> list[str]:
        """Name of each frame."""
        return [name for name, _, _ in self._places]

    def stamps(self) -> list[str]:
        """Number and name of each frame, and place, size and time of its file: what changes when the frame does.

        In their order, no two the same, and sorted as they stand.
        """
        of_file = {path: _stamp(path) for _, path, _ in self._places}
        return [f"{k:08d} {name} {of_file[path]}" for k, (name, path, _) in enumerate(self._places)]

    def _stack(self, path: Path) -> np.ndarray:
        """(n, h, w); the newest stack stays open, since its frames are asked for one after the other."""
        if self._open is None or self._open[0] != path:
            stack = _load(path)
            self._open = path, stack[None] if stack.ndim == 2 else stack
        return self._open[1]


def frames_of(source: str, camera: Intrinsics | str | None = None, unit_m: float | None = None) -> StoredFrames:
    """The stored frames that a word of the command line means.

    Args:
        source: a file, a folder or a pattern.
        camera: fx, fy, cx, cy in pixels, or a sensor's name; None = what camera.json beside the images says.
        unit_m: metres a stored unit; None = the sensor's or camera.json's, else a millimetre.

    Raises:
        UserError: there is nothing of this kind, no frame in it, no camera for it, or a stack holds no depth.
    """
    root, files = _files(source)
    optics, side = _optics(root, camera, unit_m)
    places: list[tuple[str, Path, int | None]] = []
    for file in files:
        name, count = file.relative_to(root).as_posix(), _count(file)
        digits = len(str((count or 1) - 1))
        places += [(name, file, None)] if count is None else [(f"{name}/{k:0{digits}}", file, k) for k in range(count)]
    if not places:
        raise UserError(f"{source} holds no frame: give images, .npy or .npz files of depth.")
    return StoredFrames(places, optics, side)


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return f"{path.absolute()} missing"  # what reads it says so
    return f"{path.absolute()} {found.st_size} {found.st_mtime_ns}"


def _load(path: Path) -> np.ndarray:
    """(n, h, w) or (h, w) numbers of an .npy or .npz file, as stored.

    Raises:
        UserError: it is damaged, or holds no depth, or several arrays of which none has a name of STACK_NAMES.
    """
    remedy = "write it again, as .npy if it is large, or remove it"
    if path.suffix.lower() == STACK:
        (stack,) = read_npz(path, remedy, lambda arrays: [_depth_of(arrays, path)]).values()
    else:
        stack = read_npy(path, remedy, mapped=True)
    if not _is_depth(stack):
        what = f"{stack.dtype} numbers in {'x'.join(map(str, stack.shape)) or 'no'} places"
        raise UserError(f"{path} holds {what}, not frames of 16-bit or float depth: give it as (n, h, w).")
    return stack


def _depth_of(arrays: dict[str, np.ndarray], path: Path) -> str:
    """The name of the array that is depth."""
    for name in STACK_NAMES:
        if name in arrays:
            return name
    fitting = [name for name, array in arrays.items() if _is_depth(array)]
    if len(fitting) != 1:
        listed = ", ".join(arrays) or "nothing"
        raise UserError(f"{path} holds {listed}: call the array of depth frames '{STACK_NAMES[0]}'.")
    return fitting[0]


def _is_depth(array: np.ndarray) -> bool:
    deep = array.dtype.kind == "f" or (array.dtype.kind in "ui" and array.dtype.itemsize >= 2)
    return deep and array.ndim in (2, 3) and array.size > 0


def _count(file: Path) -> int | None:
    """Frames in a stack; None for a file of one frame, which is not looked into yet."""
    suffix = file.suffix.lower()
    if suffix not in (".npy", STACK):
        return None
    stack = _load(file)
    if suffix == ".npy" and stack.ndim == 2:
        return None
    return 1 if stack.ndim == 2 else len(stack)


def _files(source: str) -> tuple[Path, list[Path]]:
    """Folder that names are relative to, and files in natural order of them.

    Raises:
        UserError: there is no such file or folder, nothing matches the pattern, or a file is of another kind.
    """
    path, endings = Path(source), (*ENDINGS, STACK)
    if path.is_dir():
        return path, [path / name for name in find_images(path, endings)]
    if path.is_file():
        if path.suffix.lower() not in endings:
            raise UserError(f"{source} is no depth image by its ending: give one of {', '.join(endings)}.")
        return path.parent, [path]
    found = sorted(Path(name) for name in glob.glob(source, recursive=True))  # noqa: PTH207  (an absolute pattern will do too)
    found = [file for file in found if file.is_file() and file.suffix.lower() in endings]
    if not found:
        wanted = "matches no depth image" if glob.has_magic(source) else "does not exist"
        raise UserError(f"{source} {wanted}: give a file, a folder or a pattern of {', '.join(endings)}.")
    root = Path(os.path.commonpath([file.parent for file in found]))
    return root, sorted(found, key=lambda file: natural_order(file.relative_to(root).as_posix()))


def _optics(root: Path, camera: Intrinsics | str | None, unit_m: float | None) -> tuple[Optics, Side | None]:
    """Camera and unit of the frames, and the hand they show where a camera.json says so.

    Raises:
        UserError: no camera is known, or a number is out of range.
    """
    side: Side | None = None
    if camera is None:
        if not (root / CAMERA_FILE).is_file():
            raise UserError(
                f"Nothing says what camera took {root}: give --camera FX FY CX CY or --sensor NAME, or write "
                f"{CAMERA_FILE} beside the images."
            )
        own = read_camera(root / CAMERA_FILE)
        camera, side = (own.fx, own.fy, own.cx, own.cy), "left" if own.flip else "right"
        unit_m = own.unit_mm / 1000 if unit_m is None else unit_m
    elif isinstance(camera, str):
        unit_m = named_camera(camera).unit_m if unit_m is None else unit_m
    unit_m = 0.001 if unit_m is None else unit_m
    if not (unit_m > 0 and math.isfinite(unit_m)):
        raise UserError(f"--unit {unit_m:g} is no length: give metres a stored unit, such as 0.001 for millimetres.")
    if not isinstance(camera, str) and not (all(map(math.isfinite, camera)) and min(camera[:2]) > 0):
        given = " ".join(f"{number:g}" for number in camera)
        raise UserError(f"--camera {given} is no camera: give FX FY CX CY in pixels, FX and FY above 0.")
    return Optics(camera, round(unit_m * 1000, 9)), side
