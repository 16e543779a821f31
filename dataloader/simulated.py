"""Frames of a simulated sensor: hands with forearms before it, what it reports, and the hand found in that.

As in data sets of real frames, a hand box comes with each frame; centre and observed hand are found in it by the depth
alone. Labels are kept.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from config import DemoConfig, RenderedConfig
from dataloader.camera import Camera
from dataloader.locate import locate_hand
from dataloader.patch import StoredFrame, cut_patch
from dataloader.rendered import PlacedHands, place_hands
from render.forearm import Forearm
from render.hand_layer import HandLayer
from render.rasterise import rasterise
from render.sampler import HandSampler

CHUNK = 32
"""Frames made at once."""

Sensor = Callable[[Tensor, torch.Generator], Tensor]
"""(true depth (b, h, w) in mm, 0 = nothing; generator) -> the depth that the sensor reports."""


class SimulatedFrames:
    """Hands before a simulated sensor."""

    def __init__(self, config: DemoConfig, layer: HandLayer, sensor: Sensor) -> None:
        self.config, self.layer, self.sensor = config, layer, sensor
        light = config.sensor
        self.intrinsics = (light.focal_px, light.focal_px, light.width / 2, light.height / 2)
        self.camera = Camera.of(*self.intrinsics)
        self.sampler = HandSampler(layer, config.sampler)
        self.forearm = Forearm(layer, config.forearm)
        self.placement = RenderedConfig(range_mm=config.range_mm, aside_deg=config.aside_deg)

    @torch.no_grad()
    def frames(self, n: int, generator: torch.Generator, split: str, first: int) -> list[StoredFrame]:
        """Up to n frames: those in which the sensor saw a hand; named split/NUMBER from `first` on."""
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
        joints_uvz = self.camera.expand(len(hands.joints_mm)).project(hands.joints_mm)
        joints_uvz = torch.cat([joints_uvz[..., :2] - corners[:, None], joints_uvz[..., 2:]], -1)
        shown = self.before_sensor(depth_mm * in_image, joints_uvz, generator)
        return self.sensor(shown, generator), corners, box.round().clamp(0, side)

    def before_sensor(self, depth_mm: Tensor, joints_uvz: Tensor, generator: torch.Generator) -> Tensor:
        """What else stands before the sensor, (n, s, s) -> the same; joints_uvz (n, 21, 3): pixels of it, mm."""
        return depth_mm
