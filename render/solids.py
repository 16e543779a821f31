"""Random solids that are no hands: balls, boxes, bars, heads, crumpled cloth, and heaps of these, as depth on a grid.

Rays run straight into the picture, so that a solid's near side comes from a closed form: what matters is its shape, and
across a crop the perspective changes little of that.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from util import draws
from util.draws import Draws

PIECES = 6
"""Solids of a heap at most."""
HEADS = 0.15
"""Share of heads: an egg with nose and brow, on a neck."""
BARS = 0.25
"""Share of pieces that are long and thin, like sticks, arms and handles."""
BOXES = 0.35
"""Share of pieces with flat sides."""
WARPED, CRUMPLED, TORN = 0.5, 0.5, 0.35
"""Shares of pictures whose outlines are warped, surfaces crumpled, and parts missing."""
WARP_MM, CRUMPLE_MM = 14.0, 10.0
"""How far at most, along each axis of the image and in depth."""
GRAINS = (4, 9, 18)
"""Random numbers along a picture's side: coarse and fine waves."""


def solids_mm(n: int, size: int, reach_mm: float, generator: Draws) -> Float[Tensor, "n size size"]:
    """Depth of n random heaps, mm: 0 = level with the middle of the first piece, smaller is nearer, inf = nothing.

    size: samples of a side. reach_mm: side of the picture. generator: CPU; the same state gives the same heaps.
    """
    at = (torch.arange(size, dtype=torch.float32) + 0.5) / size * reach_mm - reach_mm / 2
    x, y = at.expand(n, size, size), at[:, None].expand(n, size, size)
    shift = WARP_MM * _some(n, WARPED, generator) * (waves(n, size, generator) - 0.5) * 2
    turned = WARP_MM * _some(n, WARPED, generator) * (waves(n, size, generator) - 0.5) * 2
    x, y = x + shift, y + turned
    depth = torch.full((n, size, size), torch.inf)
    for centre, radii, rotation, flat in _pieces(n, generator):
        depth = torch.minimum(depth, near_side_mm(x, y, centre, radii, rotation, flat))
    crumple = CRUMPLE_MM * _some(n, CRUMPLED, generator) * (waves(n, size, generator) - 0.5) * 2
    left = waves(n, size, generator) > 0.45 * draws.rand(generator, n, 1, 1) * _some(n, TORN, generator)
    return torch.where(left, depth + crumple, torch.inf)


def waves(n: int, size: int, generator: Draws) -> Float[Tensor, "n size size"]:
    """n smooth random pictures, 0 to 1, of waves of several lengths."""
    total = torch.zeros(n, size, size)
    for weight, grain in zip((0.55, 0.3, 0.15), GRAINS, strict=True):
        coarse = draws.rand(generator, n, 1, grain, grain)
        total += weight * functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)[:, 0]
    return total.clamp(0, 1)


def _pieces(n: int, generator: Draws) -> list[tuple[Tensor, Tensor, Tensor, Bool[Tensor, " n"]]]:
    """Centres (n, 3), radii (n, 3), rotations (n, 3, 3) and whether flat-sided, piece by piece; radius 0 = none."""
    head = draws.happens(generator, n, HEADS)
    many = draws.randint(generator, 1, PIECES + 1, n)
    size_mm = 25 + 70 * draws.rand(generator, n, 1)
    pieces = []
    for k in range(PIECES):
        drawn = draws.rand(generator, n, 8)
        radii = size_mm * (0.35 + 1.1 * drawn[:, :3]) * (1.0 if k == 0 else 0.75)
        bar = drawn[:, 3:4] < BARS
        thin = torch.cat([0.12 + 0.3 * drawn[:, :1], 0.12 + 0.3 * drawn[:, :1], 1.2 + 1.4 * drawn[:, 2:3]], 1)
        radii = torch.where(bar, size_mm * thin, radii)
        away = torch.zeros(n, 3) if k == 0 else (2 * drawn[:, 4:7] - 1) * size_mm * 1.6
        rotation = _rotations(n, generator)
        flat = drawn[:, 7] < BOXES
        present = many > k
        centre, radii, rotation, present, flat = _head_instead(
            k, head, (_flattened(away), radii, rotation, present, flat)
        )
        pieces.append((centre, radii * present[:, None], rotation, flat))
    return pieces


def _flattened(away: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Where a piece lies: half as far in depth as across."""
    return away * away.new_tensor([1.0, 1.0, 0.5])


def _head_instead(k: int, head: Tensor, piece: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The k-th piece, of a head where `head` says so: egg, nose, brow, neck, shoulders, nothing else."""
    parts = (
        ((0.0, 0.0, 0.0), (72.0, 105.0, 92.0)),
        ((0.0, 15.0, -90.0), (14.0, 26.0, 22.0)),
        ((0.0, -28.0, -68.0), (52.0, 12.0, 26.0)),
        ((0.0, 120.0, 30.0), (52.0, 90.0, 52.0)),
        ((0.0, 230.0, 40.0), (190.0, 75.0, 80.0)),
    )
    centre, radii, rotation, present, flat = piece
    if k < len(parts):
        where, how_large = (torch.tensor(part) for part in parts[k])
        jitter = 1 + 0.12 * (2 * (radii / radii.amax(1, keepdim=True)) - 1)  # of the random piece that it replaces
        centre = torch.where(head[:, None], where, centre)
        radii = torch.where(head[:, None], how_large * jitter, radii)
    rotation = torch.where(head[:, None, None], torch.eye(3), rotation)
    present = torch.where(head, torch.full_like(present, k < len(parts)), present)
    return centre, radii, rotation, present, flat & ~head


def near_side_mm(
    x: Float[Tensor, "n s s"],
    y: Float[Tensor, "n s s"],
    centre: Float[Tensor, "n 3"],
    radii: Float[Tensor, "n 3"],
    rotation: Float[Tensor, "n 3 3"],
    flat: Bool[Tensor, " n"],
) -> Float[Tensor, "n s s"]:
    """Depth of the near side of an ellipsoid, or of a box of the same half sides where `flat`; inf where it is not."""
    scaled = rotation.transpose(1, 2) / radii.clamp_min(1e-3)[:, :, None]  # rows: axes of the solid, in its own units
    start = x[:, None] * scaled[:, :, 0, None, None] + y[:, None] * scaled[:, :, 1, None, None]
    start = start - (scaled @ centre[:, :, None])[..., None]  # (n, 3, s, s): where rays cross depth 0
    along = scaled[:, :, 2, None, None]
    a, b, c = (along * along).sum(1), (start * along).sum(1), (start * start).sum(1) - 1
    inside = b * b - a * c
    ball = torch.where(inside > 0, (-b - inside.clamp_min(0).sqrt()) / a, torch.inf)
    one, other = (-1 - start) / along, (1 - start) / along
    near, far = torch.minimum(one, other).amax(1), torch.maximum(one, other).amin(1)
    box = torch.where(near < far, near, torch.inf)
    found = torch.where(flat[:, None, None], box, ball)
    return torch.where((radii.amin(1) > 0)[:, None, None], found, torch.inf)


def _rotations(n: int, generator: Draws) -> Float[Tensor, "n 3 3"]:
    """Uniform random rotations, of normalised quaternions."""
    q = functional.normalize(draws.randn(generator, n, 4), dim=1)
    w, x, y, z = q.unbind(1)
    rows = (
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], 1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], 1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1),
    )
    return torch.stack(rows, 1)


def _some(n: int, share: float, generator: Draws) -> Float[Tensor, "n 1 1"]:
    """A strength up to 1 for a share of n pictures, 0 for the others."""
    return draws.happens(generator, n, share)[:, None, None] * draws.rand(generator, n, 1, 1)
