"""The benchmark's target frames: a poor simulated sensor that pre-training never sees, and the truth behind it.

Hands lie on other paths between postures and on the other side of shape space than pre-training's; each has a forearm;
some are partly hidden by dark things; the sensor is structured light behind poor optics. docs/benchmark.md tells what
is fixed. Labels are kept: scoring and supervised training may read them, nothing else.

Frames are made once, a chunk at a time, each from a seed of its own, so that they do not depend on how many processes
make them, and are kept in `data.cache` (runs/.prepared).
"""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import torch
from torch import Tensor
from tqdm import tqdm

from config import BenchmarkConfig, DataConfig
from dataloader import locate, packing, patch, simulated
from dataloader.datasets.demo import checked_frames
from dataloader.packing import save_packed
from dataloader.patch import StoredFrame
from dataloader.simulated import CHUNK, SimulatedFrames
from dataloader.store import FrameStore
from render import dark_things, poor_optics, structured_light
from render.dark_things import behind_dark_things
from render.hand_layer import HandLayer
from render.hand_model import OPEN_HAND, load_hand_model
from render.poor_optics import PoorOptics
from render.structured_light import StructuredLight
from util.errors import UserError
from util.streams import stream

LOG = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parents[2] / "runs" / ".prepared"
"""Where frames are kept unless data.cache says otherwise."""
FEW_FRAMES = 256
"""Up to this many are made without starting other processes."""


class BenchmarkFrames(SimulatedFrames):
    """Hands before the benchmark's sensor."""

    def __init__(self, config: BenchmarkConfig, layer: HandLayer) -> None:
        light = config.sensor
        super().__init__(config, layer, PoorOptics(config.optics, light.focal_px, StructuredLight(light)))
        self.dark = config.dark

    def before_sensor(self, depth_mm: Tensor, joints_uvz: Tensor, generator: torch.Generator) -> Tensor:
        hidden = behind_dark_things(joints_uvz, depth_mm.shape[-1], self.config.sensor.focal_px, self.dark, generator)
        return depth_mm * ~hidden


def load_benchmark(
    config: BenchmarkConfig, data: DataConfig, split: Literal["train", "test"], hand: Path | None = None
) -> FrameStore:
    """Frames of a split: made by `data.workers` processes the first time, afterwards mapped from disk.

    Raises:
        UserError: no frame is asked for, the sampler is set to what pre-training may use, or the disk is full.
    """
    wanted = checked_frames(config, split, "benchmark")
    frames = _frames(config, split, wanted, hand, data.workers)
    if not data.keep:
        return FrameStore.from_frames(frames, config.size)
    folder = (data.cache or FOLDER) / f"benchmark-{split}-{_digest(config, wanted, hand)}"
    if not folder.is_dir():
        try:
            save_packed(folder, frames, {"size": config.size, "joint_set": "mano21", "mirrored_width": 0}, {})
        except OSError as error:
            raise UserError(
                f"Frames of the benchmark cannot be written to {folder.parent} ({error}): make room there, choose "
                "another --data.cache DIR, or add --data.no-keep."
            ) from error
        LOG.info("benchmark %s: %d frames kept in %s", split, wanted, folder)
    return FrameStore.load(folder)


def make_chunk(maker: SimulatedFrames, split: Literal["train", "test"], chunk: int) -> list[StoredFrame]:
    """The frames from number CHUNK x chunk on, CHUNK of them; the same whatever was made before."""
    generator = stream("benchmark", maker.config.seed, split, chunk)
    frames: list[StoredFrame] = []
    with _one_thread():
        while len(frames) < CHUNK:
            frames += maker.frames(CHUNK, generator, split, CHUNK * chunk + len(frames))
    return frames[:CHUNK]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out alike in every process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _frames(
    config: BenchmarkConfig, split: Literal["train", "test"], wanted: int, hand: Path | None, workers: int
) -> Iterator[StoredFrame]:
    left = wanted
    progress = tqdm(total=wanted, desc=f"making benchmark {split}", unit="frame", disable=None)
    for frames in _chunks(config, split, ceil(wanted / CHUNK), hand, workers if wanted > FEW_FRAMES else 1):
        progress.update(len(frames[:left]))
        yield from frames[:left]
        left -= len(frames)
    progress.close()


def _chunks(
    config: BenchmarkConfig, split: Literal["train", "test"], chunks: int, hand: Path | None, workers: int
) -> Iterator[list[StoredFrame]]:
    if workers <= 1:
        maker = BenchmarkFrames(config, HandLayer(load_hand_model(hand)))
        yield from (make_chunk(maker, split, chunk) for chunk in range(chunks))
        return
    work = partial(_chunk_of_process, split)
    # spawn: a forked child would inherit torch's and OpenCV's threads in whatever state they are in
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_process, (config, hand)) as pool:
        try:
            yield from pool.map(work, range(chunks))
        except BrokenProcessPool as error:
            raise UserError(
                "A process that makes the benchmark died (out of memory?): run it again with fewer --data.workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_MAKERS: list[SimulatedFrames] = []
"""What a process that makes frames makes them with; empty elsewhere."""


def _start_process(config: BenchmarkConfig, hand: Path | None) -> None:
    cv2.setNumThreads(1)
    _MAKERS.append(BenchmarkFrames(config, HandLayer(load_hand_model(hand))))


def _chunk_of_process(split: Literal["train", "test"], chunk: int) -> list[StoredFrame]:
    return make_chunk(_MAKERS[0], split, chunk)


def _digest(config: BenchmarkConfig, wanted: int, hand: Path | None) -> str:
    """Changes with the settings, the hand model and the rules by which frames are made."""
    either = replace(config, train_frames=wanted, test_frames=wanted)  # the other split's number does not matter
    state = hashlib.sha256(repr(either).encode())
    state.update((hand or OPEN_HAND).read_bytes())
    for module in (locate, packing, patch, simulated, structured_light, poor_optics, dark_things):
        state.update(Path(module.__file__ or "").read_bytes())
    state.update(Path(__file__).read_bytes())
    return state.hexdigest()[:12]
