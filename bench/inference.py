"""Milliseconds from a crop to joints and mesh: `python bench/inference.py [--json] [--onnx FILE]`.

The compact network has its shipped weights, the full one random ones: the same work. Stage 1 stops after that stage.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.scene import Scene
from bench.timing import Watch, last_line, machine, percentile, table, times_ms
from config import EXPERIMENTS, FULL, Experiment
from dataloader.crop import HandCrop
from model.network import DualBranchNetwork
from training.setup import make_fabric, make_network
from util.cli import run_entry
from util.errors import UserError

BATCHES, STAGES = (1, 32), (1, 2)
REPEATS = {"compact": 30, "full": 9}
COMPACT = EXPERIMENTS["demo"]


@dataclass(frozen=True)
class Latency:
    """Times of one way to get a hand."""

    name: str
    batch: int
    ms: list[float]

    @property
    def median_ms(self) -> float:
        """Median milliseconds of a batch."""
        return statistics.median(self.ms)

    def row(self) -> tuple[object, ...]:
        """For the table."""
        return self.name, self.median_ms, percentile(self.ms, 0.95), 1e3 * self.batch / self.median_ms, len(self.ms)

    def plain(self) -> dict[str, object]:
        """For JSON."""
        numbers = {"ms": self.median_ms, "p95_ms": percentile(self.ms, 0.95)}
        numbers["crops_per_s"] = 1e3 * self.batch / self.median_ms
        return {"name": self.name, "batch": self.batch, **{key: round(value, 4) for key, value in numbers.items()}}


@torch.inference_mode()
def joints_and_mesh(network: DualBranchNetwork, crop: HandCrop, stages: int) -> tuple[Tensor, Tensor, Tensor]:
    """Joints of the pixel branch, joints and surface of the model branch, all in mm, of the last of these stages."""
    output = network(crop, stages)[-1]
    return tuple(crop.mm_from_xyz(xyz) for xyz in (output.pixel_xyz, output.joints_xyz, output.vertices_xyz))  # type: ignore


def latencies(
    name: str, experiment: Experiment, crop: HandCrop, repeats: int, batches: Sequence[int] = BATCHES
) -> list[Latency]:
    """One network, by stages and batch."""
    fabric = make_fabric(experiment)
    network, _ = make_network(experiment, fabric, experiment.start)
    network.eval()
    crop = crop.to(fabric.device)
    found = []
    for stages in STAGES:
        for batch in batches:
            work = partial(joints_and_mesh, network, crop.select(torch.arange(batch, device=fabric.device)), stages)
            label = f"{name}_stage{stages}_batch{batch}"
            found.append(Latency(label, batch, times_ms({label: work}, repeats, warm_up=2)[label]))
    return found


def onnx_latencies(file: Path, crop: HandCrop, repeats: int, batches: Sequence[int] = BATCHES) -> list[Latency]:
    """An exported network in ONNX Runtime; raises UserError when that or the file is absent or takes something else.

    An input with four axes is the depth of crops; other inputs are taken from the crop by their names.
    """
    if find_spec("onnxruntime") is None:
        raise UserError(f"{file} needs onnxruntime, which is not installed: python -m pip install onnxruntime.")
    if not file.is_file():
        raise UserError(f"{file} does not exist: give --onnx an exported network.")
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session = onnxruntime.InferenceSession(str(file), providers=onnxruntime.get_available_providers())
    found = []
    for batch in batches:
        feed = {}
        for asked in session.get_inputs():
            if isinstance(asked.shape[0], int) and asked.shape[0] != batch:
                break
            feed[asked.name] = _fed(file, asked.name, len(asked.shape), crop)[:batch]
        else:
            work: Callable[[], object] = partial(session.run, None, feed)
            label = f"onnx_{file.stem}_batch{batch}"
            found.append(Latency(label, batch, times_ms({label: work}, repeats, warm_up=2)[label]))
    return found


def _fed(file: Path, name: str, axes: int, crop: HandCrop) -> np.ndarray:
    """What an input of an exported network is about."""
    known = {
        "depth": crop.depth,
        "centre_mm": crop.centre_mm,
        "cube_mm": crop.cube_mm,
        "crop_from_image": crop.crop_from_image,
        "focal": crop.camera.focal,
        "principal": crop.camera.principal,
    }
    tensor = crop.depth if axes == crop.depth.ndim else known.get(name)
    if tensor is None:
        raise UserError(f"{file} takes the input {name}, which no crop has: export it with {', '.join(known)}.")
    return np.ascontiguousarray(tensor.float().cpu().numpy())


def main(words: Sequence[str]) -> None:
    """Measure and print a table; `--json` adds the same as one line of JSON at the end."""
    parser = argparse.ArgumentParser(prog="python bench/inference.py", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="an exported network to time as well")
    parser.add_argument("--only", nargs="*", default=list(REPEATS), choices=list(REPEATS), help="networks to measure")
    parser.add_argument("--repeats", type=int, help="runs of each (default: 30 compact, 9 full)")
    options = parser.parse_args(words)
    sys.stdout.write(machine() + "\n")
    experiments = {"compact": COMPACT, "full": replace(COMPACT, network=FULL, start=None)}
    with Watch() as watch:
        crop = Scene.of(EXPERIMENTS["pretrain-compact"], max(BATCHES), 1).sample.crop
        found: list[Latency] = []
        for name in options.only:
            found += latencies(name, experiments[name], crop, options.repeats or REPEATS[name])
        if options.onnx is not None:
            found += onnx_latencies(options.onnx, crop, options.repeats or REPEATS["compact"])
    head = ("", "median ms", "95 % ms", "crops/s", "runs")
    sys.stdout.write(table(head, [latency.row() for latency in found]) + "\n")
    if watch.notice:
        sys.stdout.write(watch.notice + "\n")
    if options.json:
        sys.stdout.write(last_line([latency.plain() for latency in found]) + "\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
