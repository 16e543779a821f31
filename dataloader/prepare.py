"""A data set's listing -> frames ready to be cropped: read once, the hand located, its part kept and mapped from disk.

Where the data set gives no centre the hand locator finds one. Prepared frames lie in a folder of the data set's own
(`.prepared`, or data.cache); they are made anew when an image, a label, a setting or a rule of preparing changes, and
then replace what they were made for. `--data.no-keep` keeps nothing on disk.
"""

import hashlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from config import DataConfig
from dataloader import crop, frame, locate, packing, patch
from dataloader.listing import Box, Listing
from dataloader.locate import locate_hand
from dataloader.packing import save_packed
from dataloader.patch import StoredFrame, Vector, cut_patch
from dataloader.store import FrameStore
from dataloader.tables import NEAREST_MM
from util.errors import UserError
from util.reading import inside

LOG = logging.getLogger(__name__)

MIN_PIXELS = 600
"""Where nobody labelled the frames: those whose crop shows fewer pixels of the hand are left out."""
KEPT = ".prepared"
"""Folder of prepared frames in the data set's own."""
CHUNK = 64
"""Frames a process prepares at a time."""
FEW_FRAMES = 512
"""Up to this many are prepared without starting other processes."""

NO_HAND, TOO_SMALL, EMPTY = "no hand found", "too few hand pixels", "nothing inside the cube"


def prepare(listing: Listing, config: DataConfig, size: int = 128) -> FrameStore:
    """Frames of a listing, ready to be cropped.

    The first call reads every image (`config.workers` processes); later calls with the same files and settings map the
    result from disk, unless `config.keep` is false. `dropped` counts frames that were left out, by reason.

    Raises:
        UserError: an image is missing or damaged, a labelled frame shows nothing inside its cube (unless
            `config.drop_empty`), no frame is left, or the disk is full.
    """
    if config.keep and config.cache is None and not (config.follow_links or _own(listing)):
        raise UserError(
            f"{listing.root / KEPT} is a link that leads out of the data set: name its folder as --data.cache DIR."
        )
    for notice in listing.notices:
        LOG.warning("%s", notice)
    folder = prepared_folder(listing, config, size) if config.keep else None
    if folder is not None and folder.is_dir():
        return _checked(FrameStore.load(folder), listing)
    dropped: Counter[str] = Counter(listing.dropped)
    frames = _frames(listing, config, size, dropped)
    rest = {"size": size, "joint_set": listing.joint_set, "mirrored_width": listing.mirrored_width}
    if folder is None or not _writable(folder.parent):
        store = FrameStore.from_frames(frames, **rest)
        return _checked(replace(store, dropped=tuple(dropped.items())), listing)
    try:
        save_packed(folder, frames, rest, dropped)
    except OSError as error:
        raise UserError(
            f"Prepared frames cannot be written to {folder.parent} ({error}): make room there, choose another "
            "--data.cache DIR, or add --data.no-keep."
        ) from error
    for outdated in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*"):
        if outdated != folder:
            shutil.rmtree(outdated, ignore_errors=True)
    LOG.info("%s %s: prepared frames kept in %s (%s)", listing.data_set, listing.split, folder, readable_size(folder))
    return _checked(FrameStore.load(folder), listing)


def prepared_folder(listing: Listing, config: DataConfig, size: int = 128) -> Path:
    """Where prepared frames of a listing are kept: `.../NAME-SPLIT-SETTINGS-STATE`.

    STATE changes with the images (size and time), the labels and the rules of preparing; SETTINGS with what is asked
    for.
    """
    asked = (str(listing.root.resolve()), size, config.min_pixels, config.drop_empty, listing.joint_set)
    settings = hashlib.sha256(repr((asked, listing.cubes_mm.tobytes(), listing.files)).encode()).hexdigest()[:8]
    state = hashlib.sha256(repr((listing.camera, listing.labelled, listing.dropped)).encode())
    for array in (listing.centres_mm, listing.boxes, listing.joints_mm):
        state.update(b"none" if array is None else array.tobytes())
    for module in (crop, frame, locate, packing, patch):
        state.update(Path(module.__file__ or "").read_bytes())
    for rule in (Path(__file__), *listing.rules):
        state.update(rule.read_bytes())
    for index in range(len(listing)):
        state.update(_stamp(listing.path(index)))
    folder = config.cache or listing.root / KEPT
    return folder / f"{listing.data_set}-{listing.split}-{settings}-{state.hexdigest()[:12]}"


def readable_size(folder: Path) -> str:
    """What a folder's files take, in MB or GB."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def prepare_frame(listing: Listing, index: int, least_pixels: int, size: int) -> StoredFrame | str:
    """One frame, or the reason why it shows too little.

    The hand is looked for in the frame's box; without one in the cube around its centre; without either in the whole
    image. The data set's own centre is kept where there is one.

    Raises:
        UserError: the image is missing or damaged.
    """
    depth = listing.depth(index)
    x, y, z = (float(edge) for edge in listing.cubes_mm[index])
    cube = (x, y, z)
    given = None if listing.centres_mm is None else listing.centres_mm[index]
    centre = None if given is None or np.isnan(given).any() else (float(given[0]), float(given[1]), float(given[2]))
    if centre is not None and centre[2] < NEAREST_MM:
        raise UserError(f"{listing.path(index)} has a hand whose centre is not before the camera: mend its labels.")
    height, width = depth.shape
    left, top, right, bottom = 0, 0, width, height
    if listing.boxes is not None:
        left, top, right, bottom = (int(edge) for edge in listing.boxes[index])
    elif centre is not None:
        left, top, right, bottom = _window(listing, centre, cube, (width, height))
    region = depth[top:bottom, left:right]
    if listing.boxes is None and centre is not None:
        region = np.where(np.abs(region.astype(np.float32) - centre[2]) <= cube[2] / 2, region, 0)
    hand = locate_hand(region, listing.camera, (left, top), max(cube)) if region.any() else None
    if hand is None:
        return EMPTY if centre is not None else NO_HAND
    # what one pixel of the hand becomes in the crop: samples a millimetre over pixels a millimetre, squared
    if hand.observed.sum() * (size / cube[0] * hand.centre_mm[2] / listing.camera[0]) ** 2 < least_pixels:
        return TOO_SMALL
    observed = np.zeros(depth.shape, bool)
    observed[top:bottom, left:right] = hand.observed
    joints_mm = None if listing.joints_mm is None else listing.joints_mm[index]
    return cut_patch(depth, listing.camera, centre or hand.centre_mm, cube, listing.files[index], observed, joints_mm)


def _window(listing: Listing, centre: Vector, cube: Vector, size: tuple[int, int]) -> Box:
    """Pixels that the cube around a centre can show."""
    fx, fy, cx, cy = listing.camera
    u, v = fx * centre[0] / centre[2] + cx, fy * centre[1] / centre[2] + cy
    across, down = fx * cube[0] / (2 * centre[2]), fy * cube[1] / (2 * centre[2])
    left, right = (min(max(ceil(u + side * across), 0), size[0]) for side in (-1, 1))
    top, bottom = (min(max(ceil(v + side * down), 0), size[1]) for side in (-1, 1))
    return left, top, right, bottom


def _frames(listing: Listing, config: DataConfig, size: int, dropped: Counter[str]) -> Iterator[StoredFrame]:
    """Prepared frames in the listing's order; what is left out is counted in `dropped` on the way."""
    least = config.min_pixels if config.min_pixels is not None else 0 if listing.labelled else MIN_PIXELS
    title = f"preparing {listing.data_set} {listing.split}"
    progress = tqdm(total=len(listing), desc=title, unit="frame", disable=None)
    located = 0
    for index, found in enumerate(_prepared(listing, least, size, config.workers)):
        progress.update()
        if isinstance(found, StoredFrame):
            located += listing.centres_mm is None or bool(np.isnan(listing.centres_mm[index]).any())
            yield found
        elif listing.labelled and not config.drop_empty:
            raise UserError(
                f"{listing.path(index)} has {found}: check its centre and the data set's files, or leave such frames "
                "out with --data.drop-empty."
            )
        else:
            dropped[found] += 1
    progress.close()
    if located:
        LOG.info("%s: no centre is given for %d frames; the hand locator found it", title, located)


def _prepared(listing: Listing, least: int, size: int, workers: int) -> Iterator[StoredFrame | str]:
    work = partial(_prepare_part, least=least, size=size)
    parts = (listing.part(range(at, min(at + CHUNK, len(listing)))) for at in range(0, len(listing), CHUNK))
    if workers <= 1 or len(listing) <= FEW_FRAMES:
        for part in parts:
            yield from work(part)
        return
    # spawn: a forked child would inherit torch's and OpenCV's threads in whatever state they are in
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        try:
            for results in pool.map(work, parts):
                yield from results
        except BrokenProcessPool as error:
            raise UserError(
                f"A process that prepares {listing.data_set} died (out of memory?): run it again with fewer "
                "--data.workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare_part(part: Listing, least: int, size: int) -> list[StoredFrame | str]:
    return [prepare_frame(part, index, least, size) for index in range(len(part))]


def _checked(store: FrameStore, listing: Listing) -> FrameStore:
    if len(store) == 0:
        reasons = ", ".join(f"{number} {reason}" for reason, number in store.dropped) or "none is listed"
        raise UserError(
            f"{listing.root} has no frame to {listing.split} on ({reasons}): run python -m dataloader "
            f"{listing.data_set} --root {listing.root}, or lower --data.min-pixels."
        )
    return store


def _own(listing: Listing) -> bool:
    """Whether prepared frames are kept in the data set's own folder, not where a link in it leads."""
    return not (listing.root / KEPT).is_symlink() or inside(listing.root, listing.root / KEPT)


def _writable(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        return True
    LOG.warning("%s cannot be written to, so prepared frames are not kept: set --data.cache DIR.", folder)
    return False


def _stamp(path: Path) -> bytes:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return b"missing"  # what reads it says so
    return f"{found.st_size} {found.st_mtime_ns} ".encode()
