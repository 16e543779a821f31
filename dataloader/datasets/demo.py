"""The demo data set: frames of a simulated sensor, made at load time, the same ones every time.

Nothing in it is shared with pre-training but the hand model: hands lie on other paths between postures and on the
other side of shape space, forearms are longer and slimmer than any drawn there, and the sensor errs in its own way. As
in data sets of real frames, a hand box comes with each frame; centre and observed hand are found in it by the depth
alone. Labels are kept for scoring.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from config import DemoConfig, RenderedConfig
from dataloader.camera import Camera
from dataloader.locate import locate_hand
from dataloader.patch import StoredFrame, cut_patch
from dataloader.rendered import PlacedHands, place_hands
from dataloader.store import FrameStore
from render.forearm import Forearm
from render.hand_layer import HandLayer
from render.rasterise import rasterise
from render.sampler import HandSampler
from render.structured_light import StructuredLight
from util.errors import UserError

CHUNK = 32
"""Frames made at once."""
SEEDS = {"train": 1, "test": 2}
"""Added to twice the config's seed: the two splits never share a stream of random numbers."""


def load_demo(config: DemoConfig, layer: HandLayer, split: Literal["train", "test"]) -> FrameStore:
    """Make the frames of a split; they depend on the config and the hand model alone.

    Raises UserError when the sampler is set to postures or shapes that pre-training may use, or no frame is asked for.
    """
    if config.sampler.paths != "target" or config.sampler.shapes != "target":
        raise UserError("demo.sampler.paths and demo.sampler.shapes must stay 'target': pre-training uses the others.")
    wanted = config.train_frames if split == "train" else config.test_frames
    if wanted <= 0:
        raise UserError(f"demo.{split}_frames is {wanted}: ask for at least one frame.")
    generator = torch.Generator().manual_seed(2 * config.seed + SEEDS[split])
    maker = _Maker(config, layer)
    frames: list[StoredFrame] = []
    while len(frames) < wanted:
        frames += maker.frames(CHUNK, generator, split, len(frames))
    return FrameStore.from_frames(frames[:wanted], config.size)


class _Maker:
    """Hands before the simulated sensor."""

    def __init__(self, config: DemoConfig, layer: HandLayer) -> None:
        self.config, self.layer = config, layer
        light = config.sensor
        self.intrinsics = (light.focal_px, light.focal_px, light.width / 2, light.height / 2)
        self.camera = Camera.of(*self.intrinsics)
        self.sampler = HandSampler(layer, config.sampler)
        self.forearm = Forearm(layer, config.forearm)
        self.sensor = StructuredLight(light)
        self.placement = RenderedConfig(range_mm=config.range_mm, aside_deg=config.aside_deg)

    @torch.no_grad()
    def frames(self, n: int, generator: torch.Generator, split: str, first: int) -> list[StoredFrame]:
        """Up to n frames: those in which the sensor saw a hand."""
        params = self.sampler.sample(n, generator)
        hands = place_hands(self.layer, params, self.placement, generator)
        depth_mm, corners, boxes = self._seen(hands, generator)
        frames: list[StoredFrame] = []
        for k in range(n):
            left, top = (int(number) for number in corners[k])
            u0, v0, u1, v1 = (int(number) for number in boxes[k])
            window = depth_mm[k].numpy()
            found = locate_hand(window[v0:v1, u0:u1], self.intrinsics, (left + u0, top + v0), self.config.cube_mm)
            if found is None or int(found.observed.sum()) < self.config.least_pixels:
                continue
            observed = np.zeros(window.shape, bool)
            observed[v0:v1, u0:u1] = found.observed
            fx, fy, cx, cy = self.intrinsics
            frame = cut_patch(
                window,
                (fx, fy, cx - left, cy - top),
                found.centre_mm,
                (self.config.cube_mm, self.config.cube_mm, self.config.cube_mm),
                f"{split}/{first + len(frames):05d}",
                observed,
                hands.joints_mm[k].numpy(),
                hands.vertices_mm[k].numpy(),
            )
            origin = (frame.origin[0] + left, frame.origin[1] + top)
            frames.append(replace(frame, camera=self.intrinsics, origin=origin))
        return frames

    def _seen(self, hands: PlacedHands, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What the sensor reports in a window around each hand, and where.

        Depth (n, s, s) in mm; the window's first pixel (u, v), (n, 2); the hand's box in the window, (n, 4): first u
        and v, last u and v plus one.
        """
        light, side = self.config.sensor, self.config.window_px
        surface_uvz = self.camera.expand(len(hands.joints_mm)).project(
            self.forearm.attach(hands.vertices_mm, generator)
        )
        hand_uv = surface_uvz[:, : hands.vertices_mm.shape[1], :2]
        corners = ((hand_uv.amin(1) + hand_uv.amax(1) - side) / 2).floor()
        # the rasteriser's samples lie at whole coordinates, the sensor's pixels at their centres
        inside_uv = surface_uvz[..., :2] - corners[:, None] - 0.5
        depth_mm = rasterise(torch.cat([inside_uv, surface_uvz[..., 2:]], -1), self.forearm.faces, side)
        steps = torch.arange(side)
        u, v = corners[:, :1] + steps, corners[:, 1:] + steps
        in_image = ((v >= 0) & (v < light.height))[:, :, None] & ((u >= 0) & (u < light.width))[:, None, :]
        margins = self.config.box_margin_px * torch.rand(len(corners), 4, generator=generator)
        box = torch.cat([hand_uv.amin(1) - margins[:, :2], hand_uv.amax(1) + margins[:, 2:]], 1) - corners.repeat(1, 2)
        return self.sensor(depth_mm * in_image, generator), corners, box.round().clamp(0, side)
