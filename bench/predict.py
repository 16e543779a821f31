"""Frames a second from files to hands, and milliseconds of each stage.

python bench/predict.py [--json] [--onnx FILE]

Frames are rendered hands with forearms before a wall, 640 x 480, 16-bit PNG. Stages run one after the other on one
frame: decode the file, find the hand, cut the crop, run the network (its hand included), measure and judge. `whole` is
all of it in one call. `stream` is a folder of frames read through, one by one or 16 together; its times are a folder's.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.timing import Watch, last_line, machine, percentile, table, times_ms
from config import EXPERIMENTS
from dataloader.camera import Camera
from dataloader.crop import HandCrop
from dataloader.rendered import place_hands
from dataloader.sources import StoredFrames, frames_of
from predicting.engine import Engine, EngineAnswer, TorchEngine
from predicting.estimator import HandEstimator
from predicting.judge import judge
from predicting.onnx_engine import OnnxEngine
from predicting.prediction import Status
from predicting.views import View, crops_of
from render.rasterise import rasterise
from training.setup import make_rendered
from util.cli import run_entry
from util.errors import UserError

CAMERA = (475.0, 475.0, 320.0, 240.0)
SIZE = (480, 640)
WALL_MM = 1500
BATCH = 16
SEED = 1 << 57


@dataclass(frozen=True)
class Timed:
    """Times of one stage, of one frame or of a batch."""

    name: str
    frames: int
    ms: list[float]

    def plain(self) -> dict[str, Any]:
        """For JSON and the table."""
        median = statistics.median(self.ms)
        spread = {f"p{share}_ms": round(percentile(self.ms, share / 100), 4) for share in (90, 95, 99)}
        rate = {"frames_per_s": round(1e3 * self.frames / median, 2)}
        return {"name": self.name, "ms": round(median, 4), **spread, **rate}


@torch.no_grad()
def write_frames(folder: Path, n: int) -> StoredFrames:
    """Frames of rendered hands as files, always the same ones."""
    rendered = make_rendered(EXPERIMENTS["pretrain-compact"])
    generator = torch.Generator().manual_seed(SEED)
    hands = place_hands(rendered.layer, rendered.sampler.sample(n, generator), rendered.config, generator)
    surface_mm = rendered.forearm.attach(hands.vertices_mm, generator)
    pixels = Camera.of(*CAMERA).expand(n).project(surface_mm)
    pixels[..., :2] -= 0.5  # the rasteriser's samples lie at whole coordinates, a sensor's pixels at their centres
    for k in range(n):
        depth_mm = rasterise(pixels[k], rendered.forearm.faces, SIZE).round().numpy().astype(np.uint16)
        cv2.imwrite(str(folder / f"{k:04d}.png"), np.where(depth_mm > 0, depth_mm, np.uint16(WALL_MM)))
    return frames_of(str(folder), CAMERA)


def stages(estimator: HandEstimator, frames: StoredFrames, name: str, repeats: int) -> list[Timed]:
    """Each stage on what the stage before made of the same frame; frames follow each other."""
    ms: dict[str, list[float]] = {}

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        kept: list[Any] = []
        ms.setdefault(stage, []).extend(times_ms({stage: lambda: kept.append(work())}, 1, warm_up=0)[stage])
        return kept[0]

    for number in range(2 + repeats):
        if number == 2:  # the first two start kernels and threads
            ms.clear()
        k = number % len(frames)
        frame = timed("decode", lambda k=k: frames[k])
        view = View.of(frame, "right")
        place = timed("locate", lambda view=view: next(estimator.places(0, view), None))
        if place is not None:
            places = [place]
            crop, observed = timed("crop", lambda places=places: crops_of(places, estimator.cube_mm))
            answer = timed("network", lambda crop=crop: estimator.engine(crop))
            timed(
                "judge", lambda crop=crop, answer=answer, observed=observed: judged(crop, answer, observed, estimator)
            )
        timed("whole", lambda k=k: estimator.batch([frames[k]]))
    return [Timed(f"{name}_{stage}", 1, times) for stage, times in ms.items()]


def judged(crop: HandCrop, answer: EngineAnswer, observed: Tensor, estimator: HandEstimator) -> tuple[Status, float]:
    """Status and confidence of one crop's answer."""
    return judge(estimator.measured(crop, answer, observed)[0])


def stream(estimator: HandEstimator, frames: StoredFrames, name: str, batch: int, rounds: int) -> Timed:
    """Files to hands, one frame after another: hands are looked for in the next ones while these are read."""
    label = f"{name}_stream_batch{batch}"

    def work() -> object:
        return list(estimator.frames(frames, batch))

    return Timed(label, len(frames), times_ms({label: work}, rounds, warm_up=1)[label])


def main(words: Sequence[str]) -> None:
    """Measure and print a table; `--json` adds the same as one line of JSON at the end."""
    parser = argparse.ArgumentParser(prog="python bench/predict.py", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="a file of export.py to time as well")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights for torch (default: the shipped ones)")
    parser.add_argument("--frames", type=int, default=64, help="frames that are made (default: 64)")
    parser.add_argument("--repeats", type=int, default=200, help="frames timed one by one (default: 200)")
    options = parser.parse_args(words)
    if options.frames < 1 or options.repeats < 1:
        raise UserError("--frames and --repeats count from 1: mend them.")
    sys.stdout.write(machine() + "\n")
    engines: dict[str, Engine] = {"torch": TorchEngine(options.weights)}
    if options.onnx is not None:
        engines["onnx"] = OnnxEngine(options.onnx)
    found: list[Timed] = []
    with tempfile.TemporaryDirectory() as folder, Watch() as watch:
        frames = write_frames(Path(folder), options.frames)
        for name, engine in engines.items():
            estimator = HandEstimator(engine=engine)
            found += stages(estimator, frames, name, options.repeats)
            rounds = max(1, options.repeats // len(frames))
            found += [stream(estimator, frames, name, batch, rounds) for batch in (1, BATCH)]
    rows = [timed.plain() for timed in found]
    head = ("", "median ms", "90 % ms", "95 % ms", "99 % ms", "frames/s")
    sys.stdout.write(table(head, [tuple(row.values()) for row in rows]) + "\n")
    if watch.notice:
        sys.stdout.write(watch.notice + "\n")
    if options.json:
        sys.stdout.write(last_line(rows) + "\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
