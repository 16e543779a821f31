"""Whether labels stay true under translation: a reader's joints on translated hands, beside those on truly sensed ones.

Rendered hands with known joints are seen three times: clean; translated, by a generator of the phase transfer; and by
the benchmark's simulated sensor itself, where labels are true by construction. What a reader's joints do in the last
case is the reader's own doing: the floor. docs/translation.md says what each number is.

python bench/label_truth.py --transfer-net FILE [--readers FILE...] [--hands 256] [--draws 8] [--picture FILE.png]
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from jaxtyping import Float  # noqa: E402
from torch import Tensor  # noqa: E402

from config import EXPERIMENTS, WEIGHTS, Experiment, RenderedConfig  # noqa: E402
from dataloader.crop import HandCrop, crop_window, empty_crop  # noqa: E402
from dataloader.patch import cut_patch  # noqa: E402
from dataloader.rendered import RenderedHands, draw_cameras, place_hands, visible_centre  # noqa: E402
from dataloader.sample import HandSample  # noqa: E402
from dataloader.simulated import Sensor  # noqa: E402
from dataloader.store import FrameStore  # noqa: E402
from model.transfer import load_generator  # noqa: E402
from render.poor_optics import PoorOptics  # noqa: E402
from render.rasterise import rasterise  # noqa: E402
from render.structured_light import StructuredLight  # noqa: E402
from training.reader import Reader  # noqa: E402
from training.setup import make_fabric, make_rendered  # noqa: E402
from training.translation import Translation  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.joints import MANO21  # noqa: E402
from util.streams import stream  # noqa: E402

EXPERIMENT = EXPERIMENTS["ladder-transfer"]
READERS = tuple(WEIGHTS / f"{name}.safetensors" for name in ("sensor", "benchmark-final", "benchmark-supervised"))
WINDOW_PX = 224
"""Side of the part of the sensor's image that is simulated: the largest cube at the least distance covers 208."""
BATCH = 32
AGAIN = 1e-3
"""How much of a half cube one corner of a crop changes for each new draw of a translation's noise."""

Joints = Float[Tensor, "draws n 21 3"]
Look = Callable[[int], HandCrop]
"""Number of a draw -> the hands as they look in it."""


@dataclass(frozen=True)
class Scene:
    """Hands with forearms before the target's camera, without sensor."""

    clean: HandSample
    """As rendered, exactly."""
    surface_mm: Float[Tensor, "n v 3"]
    """Hands and forearms, camera frame."""


def scenes(rendered: RenderedHands, n: int, generator: torch.Generator) -> Scene:
    """n hands of the benchmark's source."""
    config = rendered.config
    hands = rendered.sampler.sample(n, generator)
    camera = draw_cameras(n, config.focal_px, generator)
    placed = place_hands(rendered.layer, hands, config, generator)
    shift = config.centre_shift_mm * (2 * torch.rand(n, 3, generator=generator) - 1)
    centre_mm = visible_centre(placed.vertices_mm, rendered.layer.faces) + shift
    crop = empty_crop(camera, centre_mm, torch.full((n, 3), config.cube_mm), config.size)
    surface_mm = rendered.forearm.attach(placed.vertices_mm, generator)
    depth_mm = rasterise(crop.pixels_from_mm(surface_mm), rendered.forearm.faces, config.size)
    return Scene(HandSample(crop.with_depth_mm(depth_mm), placed.joints_mm, placed.vertices_mm), surface_mm)


def sensed(scene: Scene, faces: Tensor, sensor: Sensor, generator: torch.Generator) -> HandCrop:
    """The same hands at the same places in the same crops, as the sensor reports them."""
    crop = scene.clean.crop
    window = crop_window(crop.camera, crop.centre_mm, crop.cube_mm, crop.size)
    corner = torch.stack([window.left + window.width // 2, window.top + window.height // 2], -1) - WINDOW_PX // 2
    uvz = crop.camera.project(scene.surface_mm)
    # the rasteriser's samples lie at whole coordinates, the sensor's pixels at their centres
    uvz = torch.cat([uvz[..., :2] - corner[:, None] - 0.5, uvz[..., 2:]], -1)
    reported = sensor(rasterise(uvz, faces, WINDOW_PX), generator)
    frames = []
    for depth_mm, camera, own, centre, cube in zip(
        reported,
        torch.cat([crop.camera.focal, crop.camera.principal - corner], -1).tolist(),
        range(len(uvz)),
        crop.centre_mm.tolist(),
        crop.cube_mm.tolist(),
        strict=True,
    ):
        frames.append(cut_patch(depth_mm.numpy(), tuple(camera), tuple(centre), tuple(cube), str(own)))
    return crop.with_depth(FrameStore.from_frames(frames, crop.size).batch(range(len(frames))).crop.depth)


def translated(scene: Scene, translation: Translation, draw: int) -> HandCrop:
    """The same crops, translated; a generator's noise depends on all that a crop shows, so a corner draws it anew."""
    depth = scene.clean.crop.depth.clone()
    depth[..., 0, 0] -= AGAIN * draw
    return translation(replace(scene.clean, crop=scene.clean.crop.with_depth(depth))).crop


def read(reader: Reader, crop: HandCrop) -> Float[Tensor, "n 21 3"]:
    """The reader's joints, mm."""
    return crop.mm_from_uvd(reader(crop.depth).joints_uvd)


def measures(clean_mm: Joints, seen_mm: Joints, true_mm: Joints) -> dict[str, float]:
    """What a look does to a reader's joints; clean_mm and true_mm have one draw. docs/translation.md names each."""
    change = seen_mm - clean_mm
    steady = change.mean(0)
    left = change.var(0, correction=1).sum(-1) / len(change)
    return {
        "moved_mm": float(change.norm(dim=-1).mean()),
        "steady_mm": float(steady.norm(dim=-1).mean()),
        "lasting_mm": float((steady.square().sum(-1) - left).mean().clamp(min=0).sqrt()),
        "bias_mm": float(steady.mean(0).norm(dim=-1).mean()),
        "error_mm": float((seen_mm - true_mm).norm(dim=-1).mean()),
        "error_bias_mm": float((seen_mm - true_mm).mean((0, 1)).norm(dim=-1).mean()),
    }


def compared(experiment: Experiment, net: Path, readers: Sequence[Path], n: int, draws: int) -> dict:
    """Reader -> clean, translated, sensed, and translated as seen from sensed -> measures; tables by joint beside."""
    fabric = make_fabric(experiment)
    translation = Translation(load_generator(net), fabric.device, experiment.transfer.anchored, bf16=True)
    target = experiment.benchmark
    focal = target.sensor.focal_px
    source: RenderedConfig = replace(experiment.rendered, focal_px=(focal, focal), range_mm=target.range_mm)
    rendered = make_rendered(replace(experiment, rendered=source))
    sensor = PoorOptics(target.optics, focal, StructuredLight(target.sensor))
    eyes = {path.stem: Reader.load(experiment, fabric, path) for path in readers}
    found: dict[str, dict[str, list[Tensor]]] = {name: {} for name in eyes}
    truth: list[Tensor] = []
    with torch.no_grad():
        for at in range(0, n, BATCH):
            scene = scenes(rendered, min(BATCH, n - at), stream("label truth", at))
            truth.append(scene.clean.joints_mm)  # type: ignore[arg-type]
            looks = {
                "clean": [scene.clean.crop],
                "translated": [translated(scene, translation, k) for k in range(draws)],
                "sensed": [
                    sensed(scene, rendered.forearm.faces, sensor, stream("label truth", "sensor", at, k))
                    for k in range(draws)
                ],
            }
            for name, reader in eyes.items():
                for look, crops in looks.items():
                    joints_mm = torch.stack([read(reader, crop) for crop in crops])
                    found[name].setdefault(look, []).append(joints_mm)
    true_mm = torch.cat(truth)[None]
    return {
        name: told({look: torch.cat(parts, 1) for look, parts in looks.items()}, true_mm)
        for name, looks in found.items()
    }


def told(looks: dict[str, Joints], true_mm: Joints) -> dict:
    """One reader's measures."""
    clean_mm, translated_mm, sensed_mm = looks["clean"], looks["translated"], looks["sensed"]
    error = clean_mm - true_mm
    apart = translated_mm.mean(0) - sensed_mm.mean(0)
    noise = sum(x.var(0, correction=1).sum(-1) / len(x) for x in (translated_mm, sensed_mm))
    return {
        "clean": {
            "error_mm": float(error.norm(dim=-1).mean()),
            "error_bias_mm": float(error.mean((0, 1)).norm(dim=-1).mean()),
        },
        "translated": measures(clean_mm, translated_mm, true_mm),
        "sensed": measures(clean_mm, sensed_mm, true_mm),
        "apart": {
            "steady_mm": float(apart.norm(dim=-1).mean()),
            "lasting_mm": float((apart.square().sum(-1) - noise).mean().clamp(min=0).sqrt()),
            "bias_mm": float(apart.mean(0).norm(dim=-1).mean()),
        },
        "bias_by_joint_mm": {
            look: dict(zip(MANO21.names, change.mean((0, 1)).tolist(), strict=True))
            for look, change in (("translated", translated_mm - clean_mm), ("sensed", sensed_mm - clean_mm))
        },
    }


def table(found: dict) -> str:
    """Measures, one line a reader and look."""
    columns = ("moved_mm", "steady_mm", "lasting_mm", "bias_mm", "error_mm", "error_bias_mm")
    lines = [f"{'':34}" + "".join(f"{name:>15}" for name in columns)]
    for reader, looks in found.items():
        for look in ("clean", "translated", "sensed", "apart"):
            cells = "".join(f"{looks[look][name]:15.2f}" if name in looks[look] else f"{'-':>15}" for name in columns)
            lines.append(f"{reader:22}{look:12}{cells}")
    return "\n".join(lines)


def main(line: Sequence[str]) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python bench/label_truth.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--transfer-net", type=Path, required=True, metavar="FILE", help="a run's last.safetensors")
    parser.add_argument("--readers", type=Path, nargs="+", default=READERS, metavar="FILE", help="hand pose networks")
    parser.add_argument("--hands", type=int, default=256, metavar="N", help="hands (256)")
    parser.add_argument("--draws", type=int, default=8, metavar="K", help="draws of noise, two or more (8)")
    asked = parser.parse_args(line)
    found = compared(EXPERIMENT, asked.transfer_net, asked.readers, asked.hands, max(asked.draws, 2))
    sys.stdout.write(f"{table(found)}\n{json.dumps(found)}\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
