"""Crops a second of one worker: from files the plain way, prepared in a first epoch, and from then on.

    python bench/loading.py [--files N] [--shrec DIR] [--json]

The plain way decodes a frame, draws an augmentation and resamples the crop with OpenCV, one frame after another, as a
data loader's worker does; ours decodes once and then gathers batches from the mapped pixels. Frames: 640x480, 16 bit, a
rendered hand before a noisy wall that fills the image (the hardest to decode); with --shrec also real ones. Files and
prepared pixels are in the page cache for both. Both serve the same frames, compared before anything is timed.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from config import AugmentConfig, DataConfig, RenderedConfig, SamplerConfig  # noqa: E402
from dataloader.augment import Augmentation, Change  # noqa: E402
from dataloader.camera import Camera  # noqa: E402
from dataloader.crop import empty_crop, normalised_depth  # noqa: E402
from dataloader.datasets.catalogue import list_split  # noqa: E402
from dataloader.listing import Listing  # noqa: E402
from dataloader.prepare import prepare  # noqa: E402
from dataloader.rendered import place_hands  # noqa: E402
from dataloader.store import FrameStore  # noqa: E402
from render.hand_layer import HandLayer  # noqa: E402
from render.hand_model import load_hand_model  # noqa: E402
from render.rasterise import rasterise  # noqa: E402
from render.sampler import HandSampler  # noqa: E402
from util.cli import parse_settings, run_entry  # noqa: E402

SIZE = (640, 480)
CAMERA = (475.0, 475.0, 320.0, 240.0)
WALL_MM, NOISE_MM = 1200.0, 8.0
BATCH = 32
ROUNDS = 5
HEAD = f"{'':8}{'frames':>8}{'plain':>10}{'first epoch':>14}{'later':>10}{'later/plain':>14}{'differ':>10}\n"


@dataclass(frozen=True)
class Settings:
    """What is timed."""

    files: int = 1000
    """Frames that are written, and read again."""
    shrec: Path | None = None
    """Folder of an unpacked SHREC'17 data set, to time as many real frames too."""
    json: bool = False
    """End with one line of JSON."""


def write_frames(folder: Path, n: int, seed: int = 0) -> None:
    """A data set of the kind `frames`: n depth images of hands before a noisy wall."""
    generator, noise = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    layer = HandLayer(load_hand_model())
    sampler = HandSampler(layer, SamplerConfig())
    camera = Camera.of(*CAMERA)
    centres = []
    for at in range(0, n, BATCH):
        hands = place_hands(layer, sampler.sample(BATCH, generator), RenderedConfig(), generator)
        uvz = camera.expand(BATCH).project(hands.vertices_mm)
        for k in range(min(BATCH, n - at)):
            corner = (uvz[k, :, :2].amin(0) - 8).floor()
            side = int((uvz[k, :, :2].amax(0) - corner).max().ceil()) + 8
            # the rasteriser's samples lie at whole coordinates, the sensor's pixels at their centres
            window = torch.cat([uvz[k, :, :2] - corner - 0.5, uvz[k, :, 2:]], -1)
            seen = rasterise(window[None], layer.faces, side)[0].numpy()
            depth = WALL_MM + NOISE_MM * noise.standard_normal(SIZE[::-1])
            rows, columns = np.arange(side) + int(corner[1]), np.arange(side) + int(corner[0])
            inside = ((rows >= 0) & (rows < SIZE[1]))[:, None] & ((columns >= 0) & (columns < SIZE[0])) & (seen > 0)
            v, u = np.nonzero(inside)
            depth[rows[v], columns[u]] = seen[v, u] + noise.standard_normal(len(v))
            cv2.imwrite(str(folder / f"{at + k:05d}.png"), np.rint(depth).astype(np.uint16))
            centres.append(hands.vertices_mm[k].mean(0).tolist())
    lines = [f"{k:05d}.png {x:.3f} {y:.3f} {z:.3f}" for k, (x, y, z) in enumerate(centres)]
    (folder / "centres.txt").write_text("\n".join(lines) + "\n")
    fx, fy, cx, cy = CAMERA
    (folder / "camera.json").write_text(json.dumps({"fx": fx, "fy": fy, "cx": cx, "cy": cy}))


def plain_crop(listing: Listing, index: int, change: Change, centre_mm: torch.Tensor) -> torch.Tensor:
    """Decode, augment and crop one frame: (128, 128) in [-1, 1]."""
    depth = listing.read(listing.path(index))
    camera = Camera.of(*listing.camera).expand(1)
    cube_mm = torch.from_numpy(listing.cubes_mm[index : index + 1]).float() * change.cube_factor[:, None]
    window = empty_crop(camera, change.centre(centre_mm[None]), cube_mm)
    turned = change.image_from_turned(camera.to(torch.float64))
    grid = (turned @ torch.linalg.inv(window.crop_from_image.double()))[0].numpy()
    # a coordinate on a pixel's edge belongs to the pixel behind it; OpenCV rounds to the nearest pixel centre
    grid[:2, 2] += 1e-3 - 0.5
    crop = cv2.warpAffine(depth, grid[:2], (128, 128), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return normalised_depth(torch.from_numpy(crop.astype(np.float32)), window.centre_mm[0], window.cube_mm[0])


def plain_epoch(listing: Listing, centres_mm: torch.Tensor, augment: Augmentation) -> None:
    """All frames, one by one."""
    generator = torch.Generator().manual_seed(1)
    for index in range(len(centres_mm)):
        plain_crop(listing, index, augment.draw(1, generator), centres_mm[index])


def later_epoch(store: FrameStore, augment: Augmentation) -> None:
    """All frames of a prepared store, in batches."""
    generator = torch.Generator().manual_seed(1)
    for at in range(0, len(store), BATCH):
        store.batch(range(at, min(at + BATCH, len(store))), generator, augment)


def disagreement(listing: Listing, store: FrameStore, augment: Augmentation, n: int = 64) -> float:
    """Share of crop samples on which the two ways differ, over n frames, each with one augmentation for both."""
    different = []
    for index in range(min(n, len(store))):
        change = augment.draw(1, torch.Generator().manual_seed(index))
        plain = plain_crop(listing, index, change, torch.from_numpy(store.centres_mm[index]))
        ours = store.batch([index], torch.Generator().manual_seed(index), augment).crop.depth[0, 0]
        different.append(float(((plain - ours).abs() > 1e-3).float().mean()))
    return float(np.mean(different))


def measure(name: str, data: DataConfig, n: int) -> dict[str, str | float]:
    """Crops a second of each way over about n frames spread over a data set; medians of ROUNDS epochs in turns."""
    listing = list_split(data, "train")
    listing = listing.part(range(0, len(listing), max(len(listing) // n, 1)))
    for index in range(len(listing)):  # into the page cache
        listing.path(index).read_bytes()
    first_s = _seconds(lambda: prepare(listing, data))
    store = prepare(listing, data)
    places = {file: index for index, file in enumerate(listing.files)}
    listing = listing.part([places[file] for file in store.names.tolist()])
    centres_mm, augment = torch.from_numpy(store.centres_mm), Augmentation(AugmentConfig())
    different = disagreement(listing, store, augment)
    plain, later = [], []
    for _ in range(ROUNDS):
        later.append(len(store) / _seconds(lambda: later_epoch(store, augment)))
        plain.append(len(store) / _seconds(lambda: plain_epoch(listing, centres_mm, augment)))
    return {
        "name": name,
        "frames": len(store),
        "plain_per_s": float(np.median(plain)),
        "first_per_s": len(store) / first_s,
        "later_per_s": float(np.median(later)),
        "ratio": float(np.median(later) / np.median(plain)),
        "kept_kb_per_frame": store.pixels.nbytes * (17 / 16) / len(store) / 1000,
        "different": different,
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(words: Sequence[str]) -> None:
    """Write frames, time both ways, print a table."""
    settings = parse_settings(Settings, Settings(), words, "python bench/loading.py", __doc__ or "")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), settings.files)
        rows.append(measure("noisy", DataConfig(name="frames", root=Path(folder), workers=1), settings.files))
        if settings.shrec is not None:
            shrec = DataConfig(name="shrec", root=settings.shrec, workers=1, cache=Path(folder) / "prepared")
            rows.append(measure("shrec", shrec, settings.files))
    sys.stdout.write("crops a second of one worker, augmentation on\n")
    sys.stdout.write(HEAD)
    for row in rows:
        sys.stdout.write(
            f"{row['name']:8}{row['frames']:8}{row['plain_per_s']:10.0f}{row['first_per_s']:14.0f}"
            f"{row['later_per_s']:10.0f}{row['ratio']:14.1f}{row['different']:10.2%}   kept: "
            f"{row['kept_kb_per_frame']:.0f} kB a frame\n"
        )
    if settings.json:
        sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
