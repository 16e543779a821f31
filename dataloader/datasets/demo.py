"""The demo data set: frames of a simulated sensor, made at load time, the same ones every time.

Nothing in it is shared with pre-training but the hand model: hands lie on other paths between postures and on the
other side of shape space, forearms are longer and slimmer than any drawn there, and the sensor errs in its own way.
Labels are kept for scoring.
"""

from typing import Literal

import torch

from config import DemoConfig
from dataloader.patch import StoredFrame
from dataloader.simulated import CHUNK, SimulatedFrames
from dataloader.store import FrameStore
from render.hand_layer import HandLayer
from render.structured_light import StructuredLight
from util.errors import UserError

SEEDS = {"train": 1, "test": 2}
"""Added to twice the config's seed: the two splits never share a stream of random numbers."""


def load_demo(config: DemoConfig, layer: HandLayer, split: Literal["train", "test"]) -> FrameStore:
    """Make the frames of a split; they depend on the config and the hand model alone.

    Raises UserError when the sampler is set to postures or shapes that pre-training may use, or no frame is asked for.
    """
    wanted = checked_frames(config, split, "demo")
    generator = torch.Generator().manual_seed(2 * config.seed + SEEDS[split])
    maker = SimulatedFrames(config, layer, StructuredLight(config.sensor))
    frames: list[StoredFrame] = []
    while len(frames) < wanted:
        frames += maker.frames(CHUNK, generator, split, len(frames))
    return FrameStore.from_frames(frames[:wanted], config.size)


def checked_frames(config: DemoConfig, split: Literal["train", "test"], name: str) -> int:
    """How many frames of a split are asked for.

    Raises UserError when it is none, or the sampler is set to postures or shapes that pre-training may use.
    """
    if config.sampler.paths != "target" or config.sampler.shapes != "target":
        raise UserError(
            f"{name}.sampler.paths and {name}.sampler.shapes must stay 'target': pre-training uses the others."
        )
    wanted = config.train_frames if split == "train" else config.test_frames
    if wanted <= 0:
        raise UserError(f"{name}.{split}_frames is {wanted}: ask for at least one frame.")
    return wanted
