"""How rasteriser and surface distances, forward and backward, grow with the batch and with the number of points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.scene import Scene
from bench.timing import medians_ms, table
from config import Experiment
from render.rasterise import rasterise
from render.surface import part_surface_distance, surface_distance

BATCHES, POINTS = (8, 16, 32, 64, 128), (512, 1024, 2048, 4096, 8192)
AT_BATCH, AT_POINTS = 32, 2048
"""What the other stays at while one grows."""


@dataclass(frozen=True)
class Scaled:
    """Milliseconds of each piece at each size."""

    batch: dict[str, dict[int, float]]
    points: dict[str, dict[int, float]]

    def plain(self) -> dict[str, object]:
        """For JSON: growth is the cost per item (or point) at the largest size over that at the smallest."""
        sizes = {"batch": self.batch, "points": self.points}
        growth = {f"{name}_{of}": round(_growth(ms), 3) for of, pieces in sizes.items() for name, ms in pieces.items()}
        return {"name": "scaling", "growth": growth, **sizes}

    def lines(self) -> str:
        """Tables for people."""
        parts = []
        for what, each, pieces in (
            (f"batch, {AT_POINTS} points", "item", self.batch),
            (f"points, batch {AT_BATCH}", "1,000 points", self.points),
        ):
            unit = 1 if each == "item" else 1000 / AT_BATCH
            sizes = list(next(iter(pieces.values())))
            rows = [
                (name, *(unit * ms / size for size, ms in of.items()), f"{_growth(of):.2f}")
                for name, of in pieces.items()
            ]
            parts.append(f"ms per {each}, forward and backward, by {what}\n" + table(("", *sizes, "growth"), rows))
        return "\n".join(parts)


def _growth(ms: dict[int, float]) -> float:
    """Cost per item at the largest size over that at the smallest: 1 is linear, less is better."""
    smallest, largest = min(ms), max(ms)
    return ms[largest] / largest / (ms[smallest] / smallest)


def scaled(
    experiment: Experiment,
    batches: Sequence[int] = BATCHES,
    points: Sequence[int] = POINTS,
    repeats: int = 7,
) -> Scaled:
    """Measure all sizes on hands of one scene."""
    scene = Scene.of(experiment, max(*batches, AT_BATCH), max(*points, AT_POINTS))
    by_batch = [(size, _works(scene, size, AT_POINTS)) for size in batches]
    by_points = [(size, _works(scene, AT_BATCH, size)) for size in points]
    for _, works in by_points:
        works.pop("rasterise")  # it has none
    return Scaled(_measured(by_batch, repeats), _measured(by_points, repeats))


def _measured(sized: list[tuple[int, dict[str, Callable[[], object]]]], repeats: int) -> dict[str, dict[int, float]]:
    ms = medians_ms({f"{name} {size}": work for size, works in sized for name, work in works.items()}, repeats)
    return {name: {size: round(ms[f"{name} {size}"], 4) for size, _ in sized} for name in sized[0][1]}


def _works(scene: Scene, batch: int, points: int) -> dict[str, Callable[[], object]]:
    faces, parts = scene.layer.faces, scene.layer.part_faces
    at, labels = scene.points_xyz[:batch, :points].contiguous(), scene.labels[:batch, :points].contiguous()
    uvz, xyz, size = scene.vertices_uvz[:batch], scene.vertices_xyz[:batch], scene.sample.crop.size

    def there_and_back(function: Callable[[Tensor], Tensor], vertices: Tensor) -> Tensor:
        vertices = vertices.detach().requires_grad_()
        return torch.autograd.grad(function(vertices).sum(), vertices)[0]

    return {
        "rasterise": partial(there_and_back, lambda v: rasterise(v, faces, size), uvz),
        "surface": partial(there_and_back, lambda v: surface_distance(at, v, faces), xyz),
        "part_surface": partial(there_and_back, lambda v: part_surface_distance(at, labels, v, faces, parts), xyz),
    }
