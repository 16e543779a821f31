"""Patches of many frames one behind another: in memory, or as three files from which pixels are mapped, not read.

Folder of a prepared split: `pixels.u16` (uint16 depth of all patches), `observed.bits` (one bit a pixel; empty without
masks), `frames.npz` (what belongs to single frames). It takes its name when it is complete, so what has it is whole.
"""

import fcntl
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.patch import StoredFrame
from util.arrays import read_npz
from util.errors import UserError
from util.files import PART
from util.joints import JOINT_SETS
from util.reading import open_plain, readable

PER_FRAME = (
    *("starts", "shapes", "bases_mm", "units_mm", "origins", "cameras", "centres_mm", "cubes_mm", "names"),
    *("joints_mm", "vertices_mm"),
)
"""Arrays of a `FrameStore` with one entry a frame."""
PIXELS, BITS, FRAMES = "pixels.u16", "observed.bits", "frames.npz"
STARTING = 60.0
"""Seconds after which a folder that nobody has locked is nobody's."""
MOST_BYTES = 1 << 33
"""Of what belongs to single frames: a surface a frame, and a million frames."""
MOST_EDGE, MOST_SIZE = 1 << 15, 1 << 12
"""Longest edges of a patch and of a crop."""
ALIGNED = 8
"""Patches start at multiples of this, so that each one's mask starts with a whole byte."""


def pack(frames: Iterable[StoredFrame]) -> dict[str, Any]:
    """Pixels, masks and per-frame arrays of a `FrameStore`, in memory."""
    pixels, bits = io.BytesIO(), io.BytesIO()
    arrays = _write(frames, pixels, bits)
    packed = np.frombuffer(bits.getbuffer(), np.uint8) if bits.tell() else None
    return {"pixels": np.frombuffer(pixels.getbuffer(), np.uint16), "observed_bits": packed, **arrays}


def save_packed(folder: Path, frames: Iterable[StoredFrame], rest: dict[str, Any], dropped: Mapping[str, int]) -> None:
    """Write frames to a folder as they come, so that they need not fit into memory.

    Args:
        folder: must not exist; gets its name in the last step. Another process that finished it first wins.
        frames: read once.
        rest: size, joint_set and mirrored_width of the `FrameStore`.
        dropped: reason -> number; read after the frames.

    Raises:
        OSError: the folder cannot be written to, or the disk is full; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=PART))
    temporary.chmod(0o755)  # mkdtemp makes it private
    held = os.open(temporary, os.O_RDONLY)
    _lock(held)
    try:
        with (temporary / PIXELS).open("wb") as pixels, (temporary / BITS).open("wb") as bits:
            arrays = _write(frames, pixels, bits)
        arrays = {name: array for name, array in arrays.items() if array is not None}
        with (temporary / FRAMES).open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                size=np.array(rest["size"]),
                joint_set=np.array(rest["joint_set"]),
                mirrored_width=np.array(rest["mirrored_width"]),
                reasons=np.array(list(dropped), np.str_),
                counts=np.array(list(dropped.values()), np.int64),
                **arrays,
            )
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / FRAMES).is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(held)


def load_packed(folder: Path) -> dict[str, Any]:
    """Fields of the `FrameStore` in a folder that `save_packed` wrote; pixels are mapped from the file.

    Raises:
        UserError: a file is missing, damaged or something else.
    """
    remedy = "delete it and it is made anew"
    try:
        arrays: dict[str, Any] = dict(read_npz(folder / FRAMES, remedy, most=MOST_BYTES))
        pixels, bits = (_mapped(folder / name, kind, remedy) for name, kind in ((PIXELS, np.uint16), (BITS, np.uint8)))
        reasons, counts = arrays.pop("reasons"), arrays.pop("counts")
        rest: dict[str, Any] = {name: int(arrays.pop(name)) for name in ("size", "mirrored_width")}
        rest["joint_set"] = str(arrays.pop("joint_set"))
        dropped = tuple((str(reason), int(count)) for reason, count in zip(reasons, counts, strict=True))
        _check_frames(arrays, pixels, bits)
        if rest["joint_set"] not in JOINT_SETS or not 0 < rest["size"] <= MOST_SIZE or rest["mirrored_width"] < 0:
            raise ValueError("its settings are none")
    except (UserError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = str(error).removesuffix(f": {remedy}.")
        raise UserError(f"{folder} holds no whole set of prepared frames ({readable(reason)}): {remedy}.") from error
    return {"pixels": pixels, "observed_bits": bits if len(bits) else None, **arrays, **rest, "dropped": dropped}


def _mapped(path: Path, kind: type, remedy: str) -> np.ndarray:
    """Numbers of a file, mapped for reading; an empty array of an empty file."""
    with open_plain(path, remedy) as file:
        size = os.fstat(file.fileno()).st_size
        if size % np.dtype(kind).itemsize:
            raise UserError(f"{path} ends within a pixel: {remedy}.")
        return np.memmap(path, kind, "r") if size else np.zeros(0, kind)  # by its name: the store looks after it


def _check_frames(arrays: dict[str, np.ndarray], pixels: np.ndarray, bits: np.ndarray) -> None:
    """Raise ValueError or KeyError where per-frame arrays are not those of a store with these pixels and masks."""
    n = len(arrays["names"])
    for name, (kind, shape) in _KINDS.items():
        if arrays[name].shape != (n, *shape) or arrays[name].dtype != kind:
            raise ValueError(f"{name} has shape {arrays[name].shape} and type {arrays[name].dtype}")
    if unknown := arrays.keys() - set(PER_FRAME):
        raise ValueError(f"it holds {min(unknown)} besides")
    for name in ("joints_mm", "vertices_mm"):
        if name in arrays and (arrays[name].shape[0::2] != (n, 3) or arrays[name].dtype != np.float32):
            raise ValueError(f"{name} has shape {arrays[name].shape}")
    numbers = [arrays[name] for name in ("bases_mm", "units_mm", "cameras", "centres_mm", "cubes_mm")]
    if not all(np.isfinite(part).all() for part in numbers) or (arrays["cubes_mm"] <= 0).any():
        raise ValueError("a frame's numbers are not finite, or its cube is none")
    if (arrays["centres_mm"][:, 2] <= 0).any() or (arrays["cameras"][:, :2] == 0).any():
        raise ValueError("a hand is not before its camera")
    starts, shapes = arrays["starts"], arrays["shapes"]
    if (starts < 0).any() or (starts % ALIGNED).any() or (shapes < 0).any() or (shapes > MOST_EDGE).any():
        raise ValueError("a frame has no place")
    if (starts > len(pixels) - shapes.prod(axis=1)).any() or 0 < len(bits) * ALIGNED < len(pixels):
        raise ValueError("shorter than its frames")


def _lock(descriptor: int) -> bool:
    """Make an open folder this process's own until the descriptor is closed or the process ends, in whatever way.

    False where it is another's, or the disk knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes that were killed left of their writing of this folder."""
    for left in folder.parent.glob(f".{folder.name}.*{PART}"):
        with suppress(OSError):
            if left.stat().st_mtime > time.time() - STARTING:
                continue
            descriptor = os.open(left, os.O_RDONLY)
            try:
                if _lock(descriptor):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _write(frames: Iterable[StoredFrame], pixels: io.BufferedIOBase, bits: io.BufferedIOBase) -> dict[str, Any]:
    """Write patches and masks; returns the per-frame arrays, None where not every frame has one.

    Without a mask for every frame `bits` is left empty.
    """
    per_frame: dict[str, list] = {name: [] for name in PER_FRAME}
    start, masked = 0, True
    for frame in frames:
        padding = -frame.patch.size % ALIGNED
        pixels.write(np.pad(frame.patch.ravel(), (0, padding)).astype("<u2").tobytes())
        masked = masked and frame.observed is not None
        if masked and frame.observed is not None:
            bits.write(np.packbits(np.pad(frame.observed.ravel(), (0, padding))).tobytes())
        values = (
            *(start, frame.patch.shape, frame.base_mm, frame.unit_mm, frame.origin, frame.camera),
            *(frame.centre_mm, frame.cube_mm, frame.name, frame.joints_mm, frame.vertices_mm),
        )
        for name, value in zip(PER_FRAME, values, strict=True):
            per_frame[name].append(value)
        start += frame.patch.size + padding
    if start == 0:  # an empty file cannot be mapped
        pixels.write(bytes(2 * ALIGNED))
        bits.write(bytes(1))
    if not masked or not per_frame["starts"]:
        bits.seek(0)
        bits.truncate()
    return {name: _column(name, values) for name, values in per_frame.items()}


_KINDS: dict[str, tuple[type, tuple[int, ...]]] = {
    "starts": (np.int64, ()),
    "shapes": (np.int64, (2,)),
    "bases_mm": (np.float32, ()),
    "units_mm": (np.float32, ()),
    "origins": (np.int64, (2,)),
    "cameras": (np.float32, (4,)),
    "centres_mm": (np.float32, (3,)),
    "cubes_mm": (np.float32, (3,)),
}
"""Type and shape of one frame's entry."""


def _column(name: str, values: list) -> np.ndarray | None:
    if name == "names":
        return np.array(values, np.str_)
    if name in _KINDS:
        kind, shape = _KINDS[name]
        return np.array(values, kind).reshape(-1, *shape)
    known = [value for value in values if value is not None]
    return np.stack(known).astype(np.float32) if known and len(known) == len(values) else None
