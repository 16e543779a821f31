"""Crops without a hand, as a hand finder may cut them out: random solids and bare arms, seen by the same sensors."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from config import RenderedConfig, SamplerConfig, SensorConfig
from dataloader.crop import HandCrop, empty_crop
from dataloader.rendered import RenderedHands, draw_cameras, place_hands, visible_centre
from render.forearm import Forearm
from render.hand_layer import HandLayer
from render.occluders import with_object
from render.rasterise import rasterise
from render.solids import solids_mm
from util import draws
from util.draws import Draws

ARMS = 0.25
"""Share of bare arms: forearms of rendered hands, without the hand."""
ARM_MM = (60.0, 250.0)
"""Their length."""
AREA_MM2 = (2500.0, 40_000.0)
"""What is smaller or larger is drawn again: no hand finder would take it for a hand."""
ROUNDS = 4
"""Times that what has no hand's size is drawn again; then it stays."""


class OtherThings:
    """Draws things that are no hands into crops, with the cameras, ranges, sensors and cuts of rendered hands."""

    def __init__(self, layer: HandLayer, sampler: SamplerConfig, sensor: SensorConfig, config: RenderedConfig) -> None:
        self.hands, self.config = RenderedHands(layer, sampler, sensor, config), config
        self.forearm = Forearm(layer, replace(config.forearm, chance=1.0, length_mm=ARM_MM))

    @torch.no_grad()
    def batch(self, n: int, generator: Draws) -> HandCrop:
        """n crops; the same state of the generator gives the same ones."""
        config = self.config
        camera = draw_cameras(n, config.focal_px, generator)
        low, high = config.cube_scale
        cube_mm = (config.cube_mm * (low + (high - low) * draws.rand(generator, n, 1))).expand(n, 3)
        arms = draws.happens(generator, n, ARMS)
        z = config.range_mm[0] + (config.range_mm[1] - config.range_mm[0]) * draws.rand(generator, n)
        crop = empty_crop(camera, torch.stack([torch.zeros(n), torch.zeros(n), z], 1), cube_mm, config.size)
        depth_mm = self._solids(crop, generator)
        rows = arms.nonzero()[:, 0]
        if len(rows) > 0:
            crop, depth_mm = self._with_arms(crop, depth_mm, rows, generator)
        return crop.with_depth_mm(self._as_seen(crop, depth_mm, generator))

    def _solids(self, crop: HandCrop, generator: Draws) -> Float[Tensor, "n s s"]:
        """Random solids, their mean depth at the crop's centre but for a shift; 0 = nothing."""
        n, reach_mm = len(crop.centre_mm), crop.cube_mm[:, 0]
        shape = torch.zeros(n, crop.size, crop.size)
        left = torch.arange(n)
        for _ in range(ROUNDS):
            shape[left] = solids_mm(len(left), crop.size, self.config.cube_mm, generator)
            area = torch.isfinite(shape[left]).flatten(1).float().mean(1) * reach_mm[left] ** 2
            left = left[(area < AREA_MM2[0]) | (area > AREA_MM2[1])]
            if len(left) == 0:
                break
        there = torch.isfinite(shape)
        flat = torch.where(there, shape, 0.0).flatten(1).sum(1) / there.flatten(1).sum(1).clamp_min(1)
        shift = self.config.centre_shift_mm * (2 * draws.rand(generator, n) - 1)
        depth_mm = shape - flat[:, None, None] + (crop.centre_mm[:, 2] + shift)[:, None, None]
        return torch.where(there, depth_mm, 0.0)

    def _with_arms(
        self, crop: HandCrop, depth_mm: Tensor, rows: Tensor, generator: Draws
    ) -> tuple[HandCrop, Float[Tensor, "n s s"]]:
        """Bare arms in some rows' place, centred on what is seen of them."""
        hands, n = self.hands, len(rows)
        placed = place_hands(hands.layer, hands.sampler.sample(n, generator), self.config, generator)
        surface = self.forearm.attach(placed.vertices_mm, generator)
        faces = self.forearm.faces[len(hands.layer.faces) :]
        centre_mm = crop.centre_mm.clone()
        centre_mm[rows] = visible_centre(surface, faces) + self.config.centre_shift_mm * (
            2 * draws.rand(generator, n, 3) - 1
        )
        crop = empty_crop(crop.camera, centre_mm, crop.cube_mm, crop.size)
        depth_mm[rows] = rasterise(crop.select(rows).pixels_from_mm(surface), faces, crop.size)
        return crop, depth_mm

    def _as_seen(self, crop: HandCrop, depth_mm: Tensor, generator: Draws) -> Tensor:
        """What a rendered hand goes through as well: an object beside it, the sensor, the cut of a stored hand box."""
        occluders, n = self.config.occluders, len(depth_mm)
        shared = draws.happens(generator, n, occluders.object_chance).nonzero()[:, 0]
        if len(shared) > 0:
            centre_z, half_mm = crop.centre_mm[shared, 2], crop.cube_mm[shared, 2] / 2
            depth_mm[shared] = with_object(depth_mm[shared], centre_z, half_mm, draws.at(generator, shared))
        if self.config.noise:
            depth_mm = self.hands.sensor(depth_mm, generator, crop.cube_mm[:, 0] / crop.size)
        return depth_mm * ~self._cut(n, crop.size, generator)

    def _cut(self, n: int, size: int, generator: Draws) -> Bool[Tensor, "n size size"]:
        """Samples outside an upright box, in as many images as those of rendered hands are cut."""
        drawn = draws.rand(generator, n, 5)
        room = (0.02 + 0.3 * drawn[:, :4]) * size
        room = torch.where(drawn[:, 4:] < self.config.occluders.box_chance, room, -1.0)
        at = torch.arange(size, dtype=torch.float32)
        across = (at < room[:, :1]) | (at > size - room[:, 1:2])
        down = (at < room[:, 2:3]) | (at > size - room[:, 3:4])
        return down[:, :, None] | across[:, None, :]
