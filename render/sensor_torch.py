"""Slow twin of the kernels of sensor noise: whole batches at once, in plain torch."""

import torch
from jaxtyping import Float
from torch import Tensor

from render import sensor_draws as draws
from render.sensor_draws import SensorDraws


def noisy(depth_mm: Float[Tensor, "b h w"], drawn: SensorDraws) -> Float[Tensor, "b h w"]:
    """Noisy copies of depth images, with what was drawn for them."""
    b, h, w = depth_mm.shape
    of = [column[:, None, None] for column in drawn.of_image.unbind(1)]
    rows, columns = torch.arange(h + 1, device=depth_mm.device), torch.arange(w + 1, device=depth_mm.device)
    rows, columns = rows[:, None], columns[None, :]
    inside = (rows < of[draws.ROWS]) & (columns < of[draws.COLUMNS])

    def pair(purpose: int) -> tuple[Tensor, Tensor]:
        return _pair(drawn.keys[:, None, None].long(), purpose, rows, columns)

    v, u = ((k + 0.5) * of[cell] - of[phase] for k, cell, phase in (
        (rows, draws.CELL_V, draws.PHASE_V), (columns, draws.CELL_U, draws.PHASE_U)
    ))  # fmt: skip
    moved_v, moved_u = pair(draws.FOR_JITTER)
    v = (v.floor().clamp(min=0) + (moved_v - 0.5) * (of[draws.JITTER] * of[draws.CELL_V])).round().clamp(0, h - 1)
    u = (u.floor().clamp(min=0) + (moved_u - 0.5) * (of[draws.JITTER] * of[draws.CELL_U])).round().clamp(0, w - 1)
    z = depth_mm.flatten(1).gather(1, (v * w + u).long().flatten(1)).view_as(inside) * inside

    z = _smoothed(z, of[draws.SMOOTHING])
    has = z > 0
    around = _around(z, inside)  # itself, above, below, left, right; outside the grid it stands for its neighbours
    far = torch.where(around > 0, around, draws.NOTHING_MM)
    nearest, farthest = far.amin(0), far.amax(0)
    rim, foot = farthest - z > of[draws.JUMP_MM], z - nearest > of[draws.JUMP_MM]
    edge = torch.where(has, rim, nearest < draws.NOTHING_MM)
    chosen, how_far = pair(draws.FOR_FLYING)
    surface = torch.where(has, z, nearest)
    mixed = surface + how_far * (farthest - surface).clamp(max=draws.REACH_MM)
    read = torch.where(edge & (chosen < of[draws.FLYING]), mixed, z)

    loss = torch.maximum(rim * of[draws.EROSION], foot * of[draws.SHADOW])
    loss = loss * (2 * _field(drawn.fields[:, 0], draws.FIELD_CELL, rows, columns))
    step = (around[1:] - z).abs()
    middle_v = (rows > 0) & (rows < of[draws.ROWS] - 1)
    middle_u = (columns > 0) & (columns < of[draws.COLUMNS] - 1)
    slope = (step[:2].amin(0).square() * middle_v + step[2:].amin(0).square() * middle_u).sqrt()
    steep = (slope / of[draws.CELL_MM] - draws.STEEP) / (draws.GRAZING_SLOPE - draws.STEEP)
    loss = torch.maximum(loss, steep.clamp(0, 1) * of[draws.GRAZING])
    one, other = pair(draws.FOR_LOSSES)
    kept = (read > 0) & (one >= loss) & (other >= of[draws.SPECKLE])
    kept = kept & (_field(drawn.blobs, draws.BLOB_CELL, rows, columns) >= of[draws.HOLES])

    one, other = pair(draws.FOR_AXIAL)
    normal = (-2 * (one + 0.5 / 65536).log()).sqrt() * (6.2831853 * other).cos()
    read = read + of[draws.AXIAL] * normal
    read = read + of[draws.WOBBLE] * (_field(drawn.fields[:, 1], draws.FIELD_CELL, rows, columns) - 0.5)
    quantised = of[draws.STEP] > 0
    read = torch.where(quantised, (read / of[draws.STEP]).round() * of[draws.STEP], read).clamp(min=1.0) * kept

    supported = _support(read, inside) >= draws.SUPPORT
    read = read * (supported | (of[draws.LONE] <= 0))
    row = ((rows[:h] + 0.5 + of[draws.PHASE_V]) / of[draws.CELL_V]).floor().minimum(of[draws.ROWS] - 1)
    column = ((columns[:, :w] + 0.5 + of[draws.PHASE_U]) / of[draws.CELL_U]).floor().minimum(of[draws.COLUMNS] - 1)
    return read.flatten(1).gather(1, (row * (w + 1) + column).long().flatten(1)).view(b, h, w)


def _pair(key: Tensor, purpose: int, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Two uniform numbers of each cell: a counter, scrambled in 32-bit arithmetic."""
    state = (key + (purpose << 20) + (row << 10) + column) & 0xFFFFFFFF
    state = (state * 747796405 + 1013904223) & 0xFFFFFFFF
    state = (((state >> ((state >> 28) + 4)) ^ state) * 277803737) & 0xFFFFFFFF
    state = (state >> 22) ^ state
    return (state & 0xFFFF).float() / 65536, (state >> 16).float() / 65536


def _field(nodes: Tensor, cell: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Between nodes (b, n, n), bilinear."""
    last = nodes.shape[-1] - 2  # cells beyond the grid are computed too
    y, x = (((k + 0.5) / cell) for k in (rows, columns))
    i, j = y.long().clamp(max=last), x.long().clamp(max=last)
    down, along = y - i, x - j
    above = torch.lerp(nodes[:, i, j], nodes[:, i, j + 1], along)
    below = torch.lerp(nodes[:, i + 1, j], nodes[:, i + 1, j + 1], along)
    return torch.lerp(above, below, down)


def _smoothed(z: Tensor, share: Tensor) -> Tensor:
    """Blend towards a low-pass over what has a reading (7 x 7, weights falling linearly); full edges stay."""
    has = (z > 0).to(z.dtype)
    weights = 4 - torch.arange(-3, 4, device=z.device, dtype=z.dtype).abs()
    low = torch.stack([z, has], 1).flatten(0, 1).unsqueeze(1)
    low = torch.nn.functional.conv2d(low, weights.view(1, 1, 1, 7), padding=(0, 3))
    low = torch.nn.functional.conv2d(low, weights.view(1, 1, 7, 1), padding=(3, 0))
    total, weight = low.squeeze(1).unflatten(0, (-1, 2)).unbind(1)
    change = total / weight.clamp(min=0.5) - z
    return z + has * share * change / (1 + (change / draws.BLEND_MM).square())


def _shifted(z: Tensor, down: int, along: int) -> Tensor:
    """What lies `down` rows below and `along` columns to the right of each cell, 0 beyond the tensor."""
    padded = torch.nn.functional.pad(z, (1, 1, 1, 1))
    return padded[:, 1 + down : 1 + down + z.shape[1], 1 + along : 1 + along + z.shape[2]]


def _around(z: Tensor, inside: Tensor) -> Tensor:
    """A cell and its four neighbours, (5, b, h, w): above, below, left, right; itself for those outside the grid."""
    around = [z]
    for down, along in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        there = _shifted(inside.to(z.dtype), down, along) > 0
        around.append(torch.where(there, _shifted(z, down, along), z))
    return torch.stack(around)


def _support(z: Tensor, inside: Tensor) -> Tensor:
    """How many of the eight neighbours lie at nearly the same depth."""
    count = torch.zeros_like(z)
    for down in (-1, 0, 1):
        for along in (-1, 0, 1):
            if (down, along) != (0, 0):
                there = _shifted(inside.to(z.dtype), down, along) > 0
                count += there & ((_shifted(z, down, along) - z).abs() <= draws.SUPPORT_MM)
    return count
