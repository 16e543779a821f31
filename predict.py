"""Hands in one's own depth frames, in millimetres. `python predict.py --help` lists the options.

python predict.py SOURCE --camera FX FY CX CY | --sensor NAME [--unit METRES] [--side auto] [--out DIR]

SOURCE is an image (16-bit .png, .tif), an array (.npy, .npz), a folder of them, a pattern in quotes, or `realsense`.
Where frames are stored, `--processes N` shares them out, and the same command goes on where an earlier one was stopped.
From Python: `from predict import HandEstimator`.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from util.cli import parse_settings, run_entry
from util.errors import UserError

if TYPE_CHECKING:
    from subprocess import Popen

    from dataloader.frame import DepthFrame
    from dataloader.sources import StoredFrames
    from predicting.estimator import HandEstimator as HandEstimator
    from predicting.prediction import HandPrediction

LIVE = "realsense"
"""The source that is no file."""
LIVE_FRAMES = 300
"""Frames taken from a live sensor when nothing is said."""
MOST_IN_SHARD = 10_000
"""Frames of a shard: 100 MB."""
HOW = ("engine", "refine", "recrop", "cube_mm", "candidates", "batch")
"""Options that answers depend on, beside side, weights, hand model, camera and unit."""

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class Call:
    """One call of predict.py."""

    source: tyro.conf.Positional[str]
    """A file, a folder, a pattern in quotes, or realsense."""
    camera: tuple[float, float, float, float] | None = None
    """fx, fy, cx, cy in pixels; unset = --sensor, or camera.json beside the images."""
    sensor: str | None = None
    """A common sensor with its nominal values: kinect1, kinect2, sr300, sr305, d415, d435, d455, azure-nfov or
    femto-nfov."""
    unit: float | None = None
    """Metres a stored unit; unset = the sensor's, else 0.001."""
    side: Literal["right", "left", "auto"] | None = None
    """The hand that the images show; auto = whichever explains the depth better; unset = right."""
    out: Path = Path("predictions")
    """Folder that everything is written to."""
    weights: Path | None = None
    """Weights of a network; unset = the shipped ones."""
    hand: Path | None = None
    """Hand model file that they were trained with; unset = the open hand."""
    engine: Literal["torch", "onnx"] = "torch"
    """What runs the network; onnx takes a file of export.py as --weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""
    refine: int = 0
    """Optimisation steps of each hand against the depth."""
    recrop: Flag = False
    """Read a second crop, centred on the hand that the first one showed."""
    cube_mm: float = 250.0
    """Edge of the cube around a hand."""
    candidates: int = 3
    """Places of a frame that are read at most."""
    batch: int = 16
    """Frames that are read together."""
    processes: int = 1
    """Processes of this machine that share stored frames; under torchrun, its number counts."""
    shard: int = 128
    """Stored frames that are kept together, in whole batches: what a process that is stopped loses at most."""
    frames: int | None = None
    """The first so many frames only; of a live sensor 300 when unset."""
    sequence: Flag = False
    """Frames follow each other: the next crop follows the last hand."""
    smooth: Flag = False
    """With --sequence: smooth joints and surface (One-Euro filter)."""
    steady_shape: Flag = False
    """With --sequence: one shape and size for all hands."""
    rate: float = 30.0
    """Frames a second, for --smooth and for films."""
    meshes: tuple[Literal["ply", "obj", "glb"], ...] = ()
    """Write a mesh of each hand in these formats."""
    films: tuple[Literal["gif", "mp4"], ...] = ()
    """Write the pictures of the frames as films."""
    recording: Flag = False
    """Write a recording for rerun's viewer."""
    plain: Flag = False
    """Write predictions.npz and predictions.json only: no pictures, no report.html."""


UNSET = Call(tyro.MISSING)


def __getattr__(name: str) -> Any:
    """HandEstimator, imported when it is asked for: what it needs is slow, and --help is to answer at once."""
    if name != "HandEstimator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from predicting.estimator import HandEstimator

    return HandEstimator


def main(words: Sequence[str]) -> int:
    """Predict and write what the command line asks for."""
    if not words:
        raise UserError("Name a source, such as a folder of depth images: see predict.py --help.")
    call = parse_settings(Call, UNSET, words, "predict.py", (__doc__ or "").strip())
    _check(call)
    if not _in_order(call):
        return _share_out(call)
    try:
        _predict_in_order(call)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; frames that follow each other begin anew with the same command.\n")
        return 130
    return 0


def _predict_in_order(call: Call) -> None:
    """Predict frames that follow each other, and write."""
    if call.source == LIVE:
        from dataloader.realsense import live_frames

        most = LIVE_FRAMES if call.frames is None else call.frames
        frames, side = live_frames(most=most), None
    else:
        frames = _stored(call)
        side = frames.side
    shown, predictions = predict_frames(call, frames, call.side or side or "right")
    if not predictions:
        raise UserError(f"{call.source} gave no frame: try again.")
    _write_and_tell(call, shown, predictions)


def predict_frames(
    call: Call, frames: "Iterable[DepthFrame]", side: Literal["right", "left", "auto"]
) -> "tuple[Sequence[DepthFrame], list[HandPrediction]]":
    """Frames that follow each other and were read, and the hands in them; Ctrl-C ends a live sensor's."""
    from tqdm import tqdm

    from dataloader.sources import StoredFrames
    from predicting.sequence import HandSequence

    stored = frames if isinstance(frames, StoredFrames) else None
    shown: list[DepthFrame] = []
    predictions: list[HandPrediction] = []

    def watched() -> "Iterable[DepthFrame]":
        for frame in frames:
            if stored is None:  # what is stored can be read again
                shown.append(frame)
            yield frame

    hands = HandSequence(_estimator(call, side), call.smooth, call.steady_shape, call.rate, call.hand)
    try:
        predictions.extend(tqdm(hands.frames(watched()), unit="frame", disable=None))
    except KeyboardInterrupt:
        if call.source != LIVE:
            raise
    return (shown if stored is None else stored)[: len(predictions)], predictions


def _share_out(call: Call) -> int:
    """Predict stored frames in as many processes as are asked for, and write in the first; its exit code."""
    from util.interruption import Interrupted, signals_end_it
    from util.processes import is_first

    others: list[Popen] = []
    try:
        with signals_end_it():
            _predict_stored(call, others)
    except (KeyboardInterrupt, Interrupted) as stop:
        for other in others:
            other.terminate()
        if is_first():
            sys.stderr.write(f"Stopped; the same command goes on with what is in {call.out}.\n")
        return 130 if isinstance(stop, KeyboardInterrupt) else 143
    return 0


def _predict_stored(call: Call, others: "list[Popen]") -> None:
    """others: receives the processes that this one starts."""
    from predicting.engine import chosen_device
    from predicting.sharded import predict_shards, predictions_of, shards_of
    from util.files import remove_unfinished
    from util.processes import first_only, is_first

    frames = _stored(call)
    if _spread(call):
        from config import Experiment
        from training.setup import make_fabric, started_by

        others += started_by(make_fabric(replace(Experiment(), device=call.device, processes=call.processes)))
    side = call.side or frames.side or "right"
    estimator = _estimator(call, side)  # what is wrong with weights is told by what reads them
    how = [*(getattr(call, name) for name in HOW), side, chosen_device(call.device).type]
    size = -(-call.shard // call.batch) * call.batch
    shards = shards_of(frames, call.out, size, call.weights, call.hand, how)
    first_only(lambda: remove_unfinished(call.out))
    predict_shards(shards, frames, estimator, call.batch, call.hand)
    if is_first():
        _write_and_tell(call, frames, predictions_of(shards.merged(), frames.names))
        shards.remove()


def _estimator(call: Call, side: str) -> "HandEstimator":
    from predicting.estimator import HandEstimator

    return HandEstimator(
        call.weights,
        side,
        call.refine,
        hand=call.hand,
        engine=call.engine,
        cube_mm=call.cube_mm,
        candidates=call.candidates,
        recrop=call.recrop,
        device=call.device,
    )


def _in_order(call: Call) -> bool:
    """Whether what is said of a frame depends on those before it."""
    return call.sequence or call.source == LIVE


def _spread(call: Call) -> bool:
    """Whether there are to be several processes: asked for, or started by torchrun."""
    return call.processes > 1 or "TORCHELASTIC_RUN_ID" in os.environ


def _check(call: Call) -> None:
    """What can be said before anything slow is imported."""
    if call.camera is not None and call.sensor is not None:
        raise UserError("--camera and --sensor both say what took the frames: leave one out.")
    if (call.smooth or call.steady_shape) and not (call.sequence or call.source == LIVE):
        raise UserError("--smooth and --steady-shape are for frames that follow each other: add --sequence.")
    if call.processes < 1 or not 1 <= call.shard <= MOST_IN_SHARD:
        raise UserError(f"--processes counts from 1 up, and --shard from 1 to {MOST_IN_SHARD:,}: mend them.")
    if _in_order(call) and _spread(call):
        raise UserError("Frames that follow each other are read by one process: leave --processes and torchrun out.")
    if call.batch < 1 or (call.frames is not None and call.frames < 1) or not call.rate > 0:
        raise UserError("--batch, --frames and --rate count from 1 up: mend them.")
    for option, path in (("--weights", call.weights), ("--hand", call.hand)):
        if path is not None and not path.exists():
            raise UserError(f"{option} {path} does not exist: check the path.")
    if call.out.exists() and not call.out.is_dir():
        raise UserError(f"--out {call.out} is a file: give it a folder.")
    source = Path(call.source)
    if source.is_dir() and call.out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"--out {call.out} lies in {source}, whose images are read: give it a folder elsewhere.")


def _stored(call: Call) -> "StoredFrames":
    from dataloader.sources import frames_of

    frames = frames_of(call.source, call.camera or call.sensor, call.unit)
    return frames if call.frames is None else frames[: call.frames]


def _write_and_tell(call: Call, frames: "Sequence[DepthFrame]", predictions: "Sequence[HandPrediction]") -> None:
    from predicting.output.write import OutputOptions, write_all

    pictures = not call.plain
    options = OutputOptions(
        meshes=call.meshes,
        overlays=pictures,
        sheet=pictures,
        films=call.films,
        report=pictures,
        recording=call.recording,
        frames_per_second=call.rate,
        hand=call.hand,
    )
    written = write_all(call.out, frames, predictions, options)
    counts = ", ".join(f"{n} {status}" for status, n in Counter(hand.status for hand in predictions).most_common())
    sys.stdout.write(f"{len(predictions):,} frames: {counts}.\n")
    sys.stdout.writelines(f"{path}\n" for path in written if path.parent == call.out)


if __name__ == "__main__":
    sys.exit(run_entry(main))
