"""The network from crop to millimetres in operations that a graph can hold: no kernel, no list of seen cells.

`ExportedNetwork` says what predicting/engine.py's engine says; the renderer of its second stage is `drawn_inverse`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dataloader.camera import Camera
from dataloader.crop import FOREGROUND_BELOW, HandCrop, normalised_depth
from model.network import DualBranchNetwork, StageMaps, StageOutput
from model.offset_maps import Cells, read_maps, write_maps_at
from predicting.engine import EngineAnswer, answer_of
from render.rasterise_torch import MIN_DOUBLE_AREA, NEAR_MM
from training.reader import read_foreground

CELLS_A_WINDOW = 8
"""A triangle is tested at a window of (side / this)^2 cells; larger ones at every cell."""


class ExportableCrop(HandCrop):
    """A crop whose window is inverted in closed form."""

    def mm_from_pixels(self, points_uvz: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """(u, v in crop samples, z mm) -> camera frame (mm)."""
        matrix = self.crop_from_image
        a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
        scale = 1 / (a * d - b * c).unsqueeze(-1)
        u, v = ((points_uvz[..., axis] - matrix[..., axis, 2, None]) * scale for axis in range(2))
        x = d.unsqueeze(-1) * u - b.unsqueeze(-1) * v
        y = a.unsqueeze(-1) * v - c.unsqueeze(-1) * u
        return self.camera.unproject(torch.stack([x, y, points_uvz[..., 2]], -1))


class ExportedNetwork(nn.Module):
    """Crops as tensors -> an engine's answer, of the last stage that the network has."""

    def __init__(self, network: DualBranchNetwork) -> None:
        """network: of one or two stages, in float32."""
        super().__init__()
        self.network = network

    def forward(
        self,
        depth: Float[Tensor, "b 1 s s"],
        focal: Float[Tensor, "b 2"],
        principal: Float[Tensor, "b 2"],
        centre_mm: Float[Tensor, "b 3"],
        cube_mm: Float[Tensor, "b 3"],
        crop_from_image: Float[Tensor, "b 3 3"],
    ) -> EngineAnswer:
        """The fields of a HandCrop and of its camera."""
        crop = ExportableCrop(depth, Camera(focal, principal), centre_mm, cube_mm, crop_from_image)
        network = self.network
        stem = network.stem(depth)
        maps = network.stage(0)(stem)
        side = maps.maps.shape[-1]
        output = self._read(0, crop, maps, side)
        if network.config.stages == 2:
            rendered = self._model_depth(crop, output.vertices_xyz, side)
            seen = _maps_of(crop.uvd_from_xyz(output.joints_xyz), rendered)
            fused = network.fusion(torch.cat([stem, maps.decoded, maps.maps, seen], 1))
            output = self._read(1, crop, network.stage(1)(fused), side)
        return answer_of(network, crop, output)

    def _read(self, stage: int, crop: HandCrop, answer: StageMaps, side: int) -> StageOutput:
        network = self.network
        cells = _cells(crop.depth[:, 0, :: crop.size // side, :: crop.size // side])
        rows = answer.maps.flatten(2).transpose(1, 2)
        pixel_uvd = (read_foreground if network.config.foreground_softmax else read_maps)(rows, cells)
        pixel_xyz = crop.xyz_from_uvd(pixel_uvd)
        hand = network.stage(stage).head(answer.pooled, pixel_xyz)
        vertices_xyz, joints_xyz = hand.mesh_xyz(network.layer, network.unit_mm(crop))
        return StageOutput(rows[0], cells, pixel_uvd, pixel_xyz, hand, vertices_xyz, joints_xyz)

    def _model_depth(self, crop: HandCrop, vertices_xyz: Tensor, side: int) -> Float[Tensor, "b side side"]:
        """The hand as the sensor would see it, at the maps' cells: every (size / side)-th sample from index 0."""
        pixels = crop.pixels_from_mm(crop.mm_from_xyz(vertices_xyz))
        pixels = torch.cat([pixels[..., :2] / (crop.size // side), pixels[..., 2:]], -1)
        inverse = drawn_inverse(pixels, self.network.layer.faces, side)
        depth_mm = torch.where(inverse > 0, 1 / inverse.clamp_min(1e-9), 0.0)
        return normalised_depth(depth_mm, crop.centre_mm, crop.cube_mm)


def drawn_inverse(
    vertices_uvz: Float[Tensor, "b v 3"], faces: Int[Tensor, "f 3"], side: int
) -> Float[Tensor, "b side side"]:
    """Inverse depth (1 / mm) of what render/rasterise.py draws, 0 where there is nothing; by the same rules.

    Every triangle is tested at the cells of a window at its bounding box's start, and those that do not fit into theirs
    at all cells; of what a cell meets the largest inverse depth stays.
    """
    corners = vertices_uvz.double()[:, faces.flatten()].unflatten(1, (-1, 3))  # (b, f, 3, 3)
    low = corners[..., :2].amin(2).ceil().clamp(min=0)
    high = corners[..., :2].amax(2).floor().clamp(max=side - 1)
    window = side // CELLS_A_WINDOW
    fits = ((high - low) < window).all(-1)
    place = torch.arange(window, dtype=low.dtype, device=low.device)
    y, x = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    x, y = low[..., :1] + x, low[..., 1:] + y  # (b, f, window^2)
    there = (x <= high[..., :1]) & (y <= high[..., 1:]) & fits.unsqueeze(-1)
    met = torch.where(there, _met(corners, x, y), 0.0)
    cell = torch.where(there, y * side + x, 0.0).long()
    image = met.new_zeros(met.shape[0], side * side).scatter_reduce(1, cell.flatten(1), met.flatten(1), "amax")

    item, face = torch.where(~fits)
    place = torch.arange(side, dtype=low.dtype, device=low.device)
    y, x = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    met = _met(corners[item, face], x.unsqueeze(0), y.unsqueeze(0))  # (n, side^2)
    image = image.scatter_reduce(0, item.unsqueeze(1).expand(-1, side * side), met, "amax")
    return image.unflatten(1, (side, side))


def _met(
    corners: Float[Tensor, "*n 3 3"], x: Float[Tensor, "*_ cells"], y: Float[Tensor, "*_ cells"]
) -> Float[Tensor, "*n cells"]:
    """Inverse depth at which triangles (u, v, z) meet the rays of cells, 0 where they do not; float32."""
    (a_u, a_v, a_z), (b_u, b_v, b_z), (c_u, c_v, c_z) = (
        (corner.unsqueeze(-1) for corner in row.unbind(-1)) for row in corners.unbind(-2)
    )
    area = (b_u - a_u) * (c_v - a_v) - (b_v - a_v) * (c_u - a_u)
    nearest, farthest = a_z.minimum(b_z).minimum(c_z), a_z.maximum(b_z).maximum(c_z)
    drawn = (area.abs() > MIN_DOUBLE_AREA) & (area.abs() < torch.inf) & (nearest > NEAR_MM) & (farthest < torch.inf)
    turn = area.sign()
    inside = drawn
    for (from_u, from_v), (to_u, to_v) in (
        ((b_u, b_v), (c_u, c_v)),
        ((c_u, c_v), (a_u, a_v)),
        ((a_u, a_v), (b_u, b_v)),
    ):
        inside = inside & (turn * ((to_u - from_u) * (y - from_v) - (to_v - from_v) * (x - from_u)) >= 0)
    scale, a_q = 1 / torch.where(drawn, area, 1.0), 1 / torch.where(drawn, a_z, 1.0)
    b_q, c_q = 1 / torch.where(drawn, b_z, 1.0) - a_q, 1 / torch.where(drawn, c_z, 1.0) - a_q
    q_x = (b_q * (c_v - a_v) - c_q * (b_v - a_v)) * scale
    q_y = (c_q * (b_u - a_u) - b_q * (c_u - a_u)) * scale
    return torch.where(inside, q_x * (x - a_u) + q_y * (y - a_v) + a_q, 0.0).float()


def _cells(coarse: Float[Tensor, "b n n"]) -> Cells:
    """All cells of the maps over this depth; which of them are seen is not listed."""
    side = coarse.shape[-1]
    axis = (torch.arange(side, device=coarse.device, dtype=coarse.dtype) + 0.5) / (side / 2) - 1
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    uvd = torch.stack([u.expand_as(coarse), v.expand_as(coarse), coarse], -1).flatten(1, 2)
    return Cells(uvd, uvd[..., 2] < FOREGROUND_BELOW, torch.zeros(0, dtype=torch.long), [])


def _maps_of(joints_uvd: Float[Tensor, "b 21 3"], coarse: Float[Tensor, "b n n"]) -> Float[Tensor, "b 84 n n"]:
    """Maps of known joints over the depth of all cells."""
    cells, side = _cells(coarse), coarse.shape[-1]
    joints = joints_uvd.unsqueeze(1).expand(-1, side * side, -1, -1).flatten(0, 1)
    rows = write_maps_at(joints, cells.uvd.flatten(0, 1)).unflatten(0, (-1, side * side))
    return (rows * cells.foreground.unsqueeze(-1)).transpose(1, 2).unflatten(-1, (side, side))
