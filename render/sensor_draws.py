"""What sensor noise draws for a batch of images before any pixel is looked at, and the constants of the noise."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from config import SensorConfig
from util import draws
from util.draws import Draws

REFERENCE_MM = 500.0
"""Range at which strengths in millimetres hold."""
NOTHING_MM = 1e5
"""Stands for the depth of what reads nothing when depths are compared."""
BLEND_MM = 10.0
"""Smoothing pulls less on what differs from its neighbourhood by more than this."""
REACH_MM = 40.0
"""A flying pixel lies at most this far behind the surface it belongs to."""
STEEP, GRAZING_SLOPE = 1.4, 3.7
"""Slopes (mm of depth per mm sideways) at which grazing losses start and are complete: 55 and 75 degrees."""
SUPPORT_MM, SUPPORT = 15.0, 3
"""A pixel is supported by a neighbour within this depth; that many of eight are enough to keep it."""
FIELD_CELL, BLOB_CELL = 8, 4
"""Sensor pixels between two nodes of the slowly varying fields, and of the field whose low patches are holes."""

# Columns of SensorDraws.of_image.
CELL_V, CELL_U, PHASE_V, PHASE_U, ROWS, COLUMNS = range(6)
"""Height and width of a sensor pixel in samples; where the first one begins before the first sample; their numbers."""
JITTER, SMOOTHING, FLYING, EROSION, SHADOW, GRAZING, SPECKLE, HOLES, AXIAL, WOBBLE, STEP, LONE = range(6, 18)
"""Each image's own strengths: shares, millimetres at its range, jitter as a width in sensor pixels; holes as the height
of their field below which they lie; lone 1 or 0."""
CELL_MM, JUMP_MM = range(18, 20)
"""Side of a sensor pixel at the surface; a step between neighbours that no surface of a hand makes."""

FOR_JITTER, FOR_LOSSES, FOR_FLYING, FOR_AXIAL = range(4)
"""What a pixel's own random numbers are for; they come of its image's key, the purpose and its place."""


@dataclass(frozen=True)
class SensorDraws:
    """Random numbers of a batch of images."""

    of_image: Float[Tensor, "b 20"]
    """Numbers that hold for a whole image."""
    keys: Int32[Tensor, " b"]
    """What a pixel's own random numbers start from."""
    fields: Float[Tensor, "b 2 n n"]
    """Uniform nodes, bilinear between: how losses at edges vary, and the wobble."""
    blobs: Float[Tensor, "b m m"]
    """Normal nodes, bilinear between: holes are where the field is low."""

    @staticmethod
    def of(
        config: SensorConfig,
        depth_mm: Float[Tensor, "b h w"],
        pixel_mm: Float[Tensor, " b"],
        generator: Draws,
    ) -> "SensorDraws":
        """Draw on the CPU, whatever the device of the images: the numbers do not depend on it."""
        b, h, w = depth_mm.shape
        unit = draws.rand(generator, b, 17)
        keys = draws.randint(generator, -(2**31), 2**31, b, dtype=torch.int32)
        fields = draws.rand(generator, b, 2, *(2 * [max(h, w) // FIELD_CELL + 2]))
        blobs = draws.randn(generator, b, *(2 * [max(h, w) // BLOB_CELL + 2]))
        unit, keys, fields, blobs = (tensor.to(depth_mm.device) for tensor in (unit, keys, fields, blobs))

        size, aspect = 1 + (config.coarseness - 1) * unit[:, 0], 0.85 + 0.3 * unit[:, 1]
        # a hand box stretched to a square stretches its pixels
        cells = torch.stack([size * aspect, size / aspect], 1).clamp(min=1)
        if config.coarseness <= 1:
            cells = torch.ones_like(cells)
        phases = cells * unit[:, 2:4] * (cells > 1)
        counts = torch.stack([(h + phases[:, 0]) / cells[:, 0], (w + phases[:, 1]) / cells[:, 1]], 1).ceil()
        bounds = (
            *(2 * config.jitter_px, config.smoothing, config.flying, config.erosion, config.shadow, config.grazing),
            *(config.speckle, config.holes, config.axial_mm, config.wobble_mm, config.quantisation_mm),
        )
        strengths = torch.stack([bound * unit[:, 4 + k] for k, bound in enumerate(bounds)], 1)
        jitter, smoothing, flying, erosion, shadow, grazing, speckle, holes, axial, wobble, step = strengths.unbind(1)
        lone = (unit[:, 15] < config.lone).float()
        # bilinear interpolation shrinks a field's spread to 2/3 on average: to 0.19 for uniform nodes
        holes = torch.special.ndtri(holes) * (2 / 3)
        seen = (depth_mm > 0).sum((1, 2)).clamp(min=1)
        growth = (depth_mm.sum((1, 2)) / seen / REFERENCE_MM).square()
        cell_mm = pixel_mm * cells.prod(1).sqrt()
        columns = [
            *(cells[:, 0], cells[:, 1], phases[:, 0], phases[:, 1], counts[:, 0], counts[:, 1]),
            *(jitter, smoothing, flying, erosion, shadow, grazing, speckle, holes),
            *(axial * growth, wobble * growth / 0.19, step * growth, lone, cell_mm, 8 + 2 * cell_mm),
        ]
        return SensorDraws(torch.stack(columns, 1), keys, fields, blobs)
