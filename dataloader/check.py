"""What an installed data set holds: counts, splits, what is missing, and some crops to look at."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from config import DataConfig
from dataloader.datasets.catalogue import Split, list_split
from dataloader.listing import Listing
from dataloader.prepare import prepare_frame, prepared_folder, readable_size
from dataloader.store import FrameStore
from util.draw import Picture, depth_picture, draw_skeleton, grid
from util.errors import UserError
from util.reading import is_plain

SPLITS: tuple[Split, ...] = ("train", "test")
SAMPLES = 3
NAMED = 3
"""Missing images that are named."""
ZOOM, SIZE = 2, 128


@dataclass
class CheckResult:
    """What came out: lines for a terminal, and crops."""

    lines: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    complete: int = 0
    """Splits in which nothing is missing."""
    seconds: float = 0.0


def check(config: DataConfig, samples: int = SAMPLES) -> CheckResult:
    """Look at every file that both splits name, and crop some frames of each.

    What is wrong becomes a line of the result; nothing is raised for it.
    """
    result, started = CheckResult(), time.perf_counter()
    for split in SPLITS:
        try:
            listing = list_split(config, split)
        except UserError as error:
            result.lines.append(f"{split:6} cannot be used: {error}")
            continue
        lines, whole = [], True
        for line, good in _findings(listing, config):
            lines.append(line)
            whole = whole and good
        crops, faults = _crops(listing, samples)
        result.lines += [f"{split:6} {line}" for line in lines + faults]
        result.pictures += crops
        result.complete += whole and not faults
    result.seconds = time.perf_counter() - started
    return result


def contact_sheet(result: CheckResult, columns: int = SAMPLES) -> Picture | None:
    """The crops in one picture, None when there is none."""
    return grid(result.pictures, columns) if result.pictures else None


def _findings(listing: Listing, config: DataConfig) -> Iterator[tuple[str, bool]]:
    """(line, whether nothing is missing in what it tells)."""
    n = len(listing)
    parts = ", ".join(
        f"{name} ({number})"
        for name, number in sorted(Counter(listing.groups).items(), key=lambda item: (len(item[0]), item[0]))
    )
    yield f"{n} frames" + (f": {parts}" if parts else ""), n > 0
    for reason, number in listing.dropped.items():
        yield f"left out: {number} frames, {reason}", True
    for notice in listing.notices:
        yield f"notice: {notice}", True
    camera = " ".join(f"{number:g}" for number in listing.camera)
    cubes = " ".join(f"{edge:g}" for edge in sorted({float(edge) for edge in listing.cubes_mm.ravel()}))
    stored = "flipped left to right" if listing.mirrored_width else "as stored"
    yield f"images: {stored}, camera {camera}, cube {cubes} mm", True
    located = n if listing.centres_mm is None else int(np.isnan(listing.centres_mm).any(axis=1).sum())
    yield f"centres: {n - located} given, {located} to be located by depth", True
    labels = f"{len(listing.joints)} joints ({listing.joint_set})" if listing.joints_mm is not None else "none"
    yield f"labels: {labels}", True
    yield _parameters(listing)
    missing = [name for name in listing.files if not is_plain(listing.root / name)]
    named = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
    yield f"files: {n - len(missing)} of {n} are there" + (f", MISSING {named}" if missing else ""), not missing
    kept = prepared_folder(listing, config)
    yield (
        "prepared: " + (f"{readable_size(kept)} in {kept}" if kept.is_dir() else "not yet, the first run does it"),
        True,
    )


def _parameters(listing: Listing) -> tuple[str, bool]:
    try:
        params = listing.read_parameters()
    except UserError as error:
        return f"hand parameters: {error}", False
    return ("hand parameters: none" if params is None else f"hand parameters: {len(params.pose)} frames"), True


def _crops(listing: Listing, samples: int) -> tuple[list[Picture], list[str]]:
    """Pictures of crops spread over the listing, with their labels; and what went wrong."""
    pictures, faults = [], []
    for index in sorted(set(np.linspace(0, len(listing) - 1, min(samples, len(listing))).astype(int).tolist())):
        try:
            found = prepare_frame(listing, index, 0, SIZE)
        except UserError as error:
            faults.append(str(error))
            continue
        if isinstance(found, str):
            faults.append(f"{listing.path(index)} has {found}")
            continue
        sample = FrameStore.from_frames([found], SIZE, joint_set=listing.joint_set).batch([0])
        picture = depth_picture(sample.crop.depth[0, 0], ZOOM)
        if sample.joints_mm is not None:
            joints_uvd = sample.crop.uvd_from_mm(sample.joints_mm)[0]
            picture = draw_skeleton(picture, joints_uvd, listing.joints, ZOOM)
        pictures.append(picture)
    return pictures, faults
