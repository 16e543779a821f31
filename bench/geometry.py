"""Milliseconds of each piece of geometry beside a plain torch twin: `python bench/geometry.py [--json]`.

Both run in turn within one process, after a check that they agree. A ratio says how many times as long the twin takes.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import image_twins, twins
from bench.scene import Scene
from bench.timing import Row, Watch, last_line, machine, medians_ms, table
from config import EXPERIMENTS
from dataloader.points import all_points_xyz, points_from_crop
from model.offset_maps import Cells, read_rows, write_maps
from render.rasterise import rasterise
from render.surface import part_surface_distance, surface_distance
from util.cli import run_entry
from util.errors import UserError

BATCH, SIZE, POINTS, REPEATS = 32, 128, 2048, 7
CELLS = 64
"""Side of the offset maps: that of the published network."""


@dataclass(frozen=True)
class Piece:
    """One piece of geometry."""

    name: str
    ours: Callable[[], object]
    twin: Callable[[], object]
    agreement: Callable[[], str]
    """Compares the two; raises UserError where they differ."""


def measure(piece: Piece, repeats: int = REPEATS) -> Row:
    """Check that ours and its twin agree, then time both in turn."""
    about = piece.agreement()
    ms = medians_ms({"ours": piece.ours, "twin": piece.twin}, repeats)
    return Row(piece.name, ms["ours"], ms["twin"], about)


def close(what: str, ours: Tensor, twin: Tensor, limit: float, unit: str = "", rare: float = 0.0) -> str:
    """How far two tensors differ; raises UserError when more than a share `rare` of them do by more than `limit`."""
    apart = (ours.double() - twin.double()).abs()
    worst = float(apart.max())
    beyond = float((apart > limit).double().mean())
    if not beyond <= rare or not bool(apart.isfinite().all()):
        raise UserError(
            f"{what}: ours and its twin differ by {worst:.3g} {unit}, more than {limit:g}: do not time them."
        )
    few = f" ({beyond:.1e} of them beyond {limit:g})" if beyond > 0 else ""
    return f"{what} within {worst:.1e} {unit}{few}".rstrip()


def pieces(scene: Scene) -> list[Piece]:
    """Everything that is compared, on one scene."""
    return [_hand_layer(scene), *_rasterise(scene), *_surface(scene), _spheres(scene), *_images(scene), *_drawn(scene)]


def _gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Gradient of the sum of a function, the whole way there and back."""
    at = at.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(function(at).sum(), at)
    return gradient


def _hand_layer(scene: Scene) -> Piece:
    rotation, pose, shape = scene.params.rotation, scene.params.pose, scene.params.shape

    def agreement() -> str:
        mesh, (vertices, joints) = (
            scene.layer(rotation, pose, shape),
            twins.hand_layer(scene.layer, rotation, pose, shape),
        )
        both = torch.cat([mesh.vertices_m, mesh.joints_m], 1), torch.cat([vertices, joints], 1)
        return close("vertices", *both, 1e-5, "m")

    ours, twin = (
        partial(scene.layer, rotation, pose, shape),
        partial(twins.hand_layer, scene.layer, rotation, pose, shape),
    )
    return Piece("hand_layer", ours, twin, agreement)


def _rasterise(scene: Scene) -> list[Piece]:
    vertices, faces, size = scene.vertices_uvz, scene.layer.faces, scene.sample.crop.size

    def ours(at: Tensor) -> Tensor:
        return rasterise(at, faces, size)

    def twin(at: Tensor) -> Tensor:
        return twins.rasterise(at, faces, size)

    def images() -> str:
        return close("depth", ours(vertices), twin(vertices), 0.05, "mm", rare=1e-4)

    def gradients() -> str:
        mine, its = _gradient(ours, vertices), _gradient(twin, vertices)
        return close("gradient", mine / its.abs().max(), its / its.abs().max(), 1e-3, "of the largest", rare=1e-3)

    backward = partial(_gradient, ours, vertices), partial(_gradient, twin, vertices)
    return [
        Piece("rasterise_forward", partial(ours, vertices), partial(twin, vertices), images),
        Piece("rasterise_forward_backward", *backward, gradients),
    ]


def _surface(scene: Scene) -> list[Piece]:
    points, labels, vertices, faces = scene.points_xyz, scene.labels, scene.vertices_xyz, scene.layer.faces
    parts, some = scene.layer.part_faces, slice(0, 64)
    unit_mm = scene.sample.crop.cube_mm[:, :1] / 2

    def ours(at: Tensor) -> Tensor:
        return surface_distance(points, at, faces)

    def ours_by_part(at: Tensor) -> Tensor:
        return part_surface_distance(points, labels, at, faces, parts)

    def whole() -> str:  # brute force is slow: it is checked on some of the points
        twin = twins.surface_distance(points[:, some], vertices, faces)
        return close("distance", ours(vertices)[:, some].sqrt() * unit_mm, twin.sqrt() * unit_mm, 0.01, "mm")

    def by_part() -> str:
        mine, its = ours_by_part(vertices), twins.part_surface_distance(points, labels, vertices, faces, parts)
        return close("distance", mine.sqrt() * unit_mm, its.sqrt() * unit_mm, 0.01, "mm")

    def twin_by_part(at: Tensor) -> Tensor:
        return twins.part_surface_distance(points, labels, at, faces, parts)

    brute = partial(twins.surface_distance, points, vertices, faces)
    return [
        Piece("surface", partial(ours, vertices), brute, whole),
        Piece("part_surface", partial(ours_by_part, vertices), partial(twin_by_part, vertices), by_part),
    ]


def _spheres(scene: Scene) -> Piece:
    spheres, joints, vertices, points = scene.spheres, scene.joints_xyz, scene.vertices_xyz, scene.points_xyz
    unit_mm = scene.sample.crop.cube_mm[:, :1] / 2

    def ours() -> tuple[Tensor, Tensor, Tensor]:
        centres, radii = spheres.centres(joints), spheres.radii(joints, vertices, unit_mm)
        return radii, spheres.penetration(centres, radii), spheres.label_points(points, centres, radii)

    def twin() -> tuple[Tensor, Tensor, Tensor]:
        return twins.sphere_terms(spheres, joints, vertices, unit_mm, points)

    def agreement() -> str:
        (radii, overlap, labels), (its_radii, its_overlap, its_labels) = ours(), twin()
        close("labels", labels != its_labels, torch.zeros_like(labels), 0, rare=1e-3)
        return f"{close('radii', radii, its_radii, 1e-5)}, {close('collision', overlap, its_overlap, 1e-5)}"

    return Piece("spheres", ours, twin, agreement)


def _images(scene: Scene) -> list[Piece]:
    crop = scene.sample.crop
    cells = Cells.of(crop.depth, CELLS)
    joints = crop.uvd_from_xyz(scene.joints_xyz)
    maps = write_maps(joints, cells)
    rows, planes = cells.at_seen(maps), maps.transpose(1, 2).contiguous()

    def written() -> str:
        return close("maps", maps.transpose(1, 2), image_twins.write_maps(joints, cells), 1e-4)

    def read() -> str:
        return close("joints", read_rows(rows, cells), image_twins.read_maps(planes, cells), 1e-4)

    def ours() -> tuple[Tensor, Tensor]:
        chosen, _ = points_from_crop(crop, POINTS, torch.Generator().manual_seed(0))
        return all_points_xyz(crop), chosen

    def twin() -> tuple[Tensor, Tensor]:
        return image_twins.points(crop, POINTS, torch.Generator().manual_seed(0))

    def points() -> str:
        (everywhere, _), (its, chosen) = ours(), twin()
        if not bool((crop.uvd_from_xyz(chosen)[..., 2] < 1).all()):
            raise UserError("points: the twin draws background: do not time it.")
        return close("points", everywhere, its, 1e-4)

    return [
        Piece(
            "maps_write", partial(write_maps, joints, cells), partial(image_twins.write_maps, joints, cells), written
        ),
        Piece("maps_read", partial(read_rows, rows, cells), partial(image_twins.read_maps, planes, cells), read),
        Piece("points", ours, twin, points),
    ]


def _drawn(scene: Scene) -> list[Piece]:
    """Sampler and noise draw random numbers, which ours and the twin use in their own order: what is drawn is alike."""
    rendered, crop = scene.rendered, scene.sample.crop
    sampler, sensor = rendered.sampler, rendered.sensor
    rejecting = image_twins.RejectingSampler(rendered.layer, sampler.config)
    uvz, faces, n = scene.vertices_uvz.cpu(), rendered.layer.faces, len(scene.labels)
    clean = rasterise(uvz, faces, crop.size)
    pixel_mm = (crop.cube_mm[:, 0] / crop.size).cpu()

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    def ours() -> tuple[Tensor, Tensor]:
        random = generator()
        return sampler.sample(n, random).pose, sensor(clean, random, pixel_mm)

    def twin() -> tuple[Tensor, Tensor]:
        random = generator()
        return rejecting.sample(n, random)[0], image_twins.sensor_noise(sensor.config, clean, pixel_mm, random)

    def agreement() -> str:
        hand, numbers = clean > 0, []
        for noisy in (ours()[1], twin()[1]):
            both = hand & (noisy > 0)
            numbers.append((float((hand & (noisy <= 0)).sum() / hand.sum()), float((noisy - clean)[both].abs().mean())))
        (lost, error), (its_lost, its_error) = numbers
        if abs(lost - its_lost) > 0.05 or abs(error - its_error) > 0.3 * max(error, its_error):
            raise UserError(
                f"noise: ours loses {lost:.3f} and errs {error:.2f} mm, the twin {its_lost:.3f}, {its_error:.2f}."
            )
        return f"lost pixels {lost:.3f} and {its_lost:.3f}, error {error:.2f} and {its_error:.2f} mm"

    return [Piece("sampler_sensor", ours, twin, agreement)]


def others(scene: Scene, repeats: int) -> list[str]:
    """Ratios against pytorch3d and open3d, a line each; where a package is absent the line says so."""
    lines = []
    uvz, faces, size = scene.vertices_uvz, scene.layer.faces, scene.sample.crop.size
    if find_spec("pytorch3d") is None:
        lines.append("pytorch3d is not installed: not compared.")
    else:
        both = {name: partial(rasterise, uvz, faces, size, name) for name in ("warp", "pytorch3d")}
        ms = medians_ms(both, repeats)
        apart = (both["warp"]() - both["pytorch3d"]()).abs()
        lines.append(
            f"pytorch3d: rasterise_forward {ms['pytorch3d']:.1f} ms, {ms['pytorch3d'] / ms['warp']:.2f} times ours; "
            f"median difference {float(apart[apart > 0].median() if bool((apart > 0).any()) else 0):.1e} mm"
        )
    if find_spec("open3d") is None:
        lines.append("open3d is not installed: not compared.")
    else:
        lines.append(_open3d(scene, repeats))
    return lines


def _open3d(scene: Scene, repeats: int) -> str:
    """Its ray-casting scene takes one mesh: an item after the other, hierarchy included as ours includes it."""
    import open3d  # pyright: ignore[reportMissingImports]

    faces = scene.layer.faces.cpu().numpy().astype("uint32")
    vertices, points = scene.vertices_xyz.cpu().numpy(), scene.points_xyz.cpu().numpy()

    def theirs() -> list:
        distances = []
        for mesh, at in zip(vertices, points, strict=True):
            caster = open3d.t.geometry.RaycastingScene()
            caster.add_triangles(open3d.core.Tensor(mesh), open3d.core.Tensor(faces))
            distances.append(caster.compute_distance(open3d.core.Tensor(at)).numpy())
        return distances

    ours = partial(surface_distance, scene.points_xyz, scene.vertices_xyz, scene.layer.faces)
    ms = medians_ms({"ours": ours, "theirs": theirs}, repeats)
    about = close("distance", ours().sqrt().cpu(), torch.stack([torch.from_numpy(d) for d in theirs()]), 1e-4)
    return f"open3d: surface {ms['theirs']:.1f} ms, {ms['theirs'] / ms['ours']:.2f} times ours; {about}"


def main(words: Sequence[str]) -> None:
    """Measure all pieces and print a table; `--json` adds the same as one line of JSON at the end."""
    parser = argparse.ArgumentParser(prog="python bench/geometry.py", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each, of which the median is told")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="pieces to measure, all by default")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where the geometry runs")
    options = parser.parse_args(words)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no GPU here: leave --device out.")
    sys.stdout.write(f"{machine()}\nbatch {BATCH}, {SIZE} x {SIZE}, {POINTS} points, median of {options.repeats}\n")
    with Watch() as watch:
        scene = Scene.of(EXPERIMENTS["pretrain-compact"], BATCH, POINTS, torch.device(options.device))
        chosen = [piece for piece in pieces(scene) if not options.only or piece.name in options.only]
        rows = [measure(piece, options.repeats) for piece in chosen]
        lines = others(scene, options.repeats)
    cells = [(row.name, row.ours_ms, row.twin_ms, row.twin_ms / row.ours_ms, row.about) for row in rows]
    sys.stdout.write(table(("", "ours ms", "twin ms", "ratio", "agreement"), cells) + "\n")
    ms = {row.name: row.ours_ms for row in rows}
    if {"surface", "part_surface"} <= ms.keys():
        lines.insert(0, f"ours, per part over plain: {ms['part_surface'] / ms['surface']:.2f}")
    sys.stdout.write("\n".join([*lines, *filter(None, [watch.notice])]) + "\n")
    if options.json:
        sys.stdout.write(last_line([row.plain() for row in rows]) + "\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
