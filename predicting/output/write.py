"""Everything that is kept of predictions, in one folder."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from dataloader.datasets.frames import ENDINGS, natural_order
from dataloader.frame import DepthFrame
from dataloader.sources import STACK, StoredFrames
from predicting.output.drawing import HandView, Surface, has_hand, view_hand
from predicting.output.meshes import MeshFormat, write_mesh
from predicting.output.pictures import FilmFormat, contact_sheet, overlay_picture, write_film
from predicting.output.recording import load_rerun, write_recording
from predicting.output.remembered import Remembered
from predicting.output.report import write_report
from predicting.output.tables import write_predictions_json, write_predictions_npz
from predicting.prediction import HandPrediction
from render.hand_model import load_hand_model
from util.draw import Picture, write_png

NOT_IN_NAMES = re.compile(r"[^\w.-]+")
"""What names of files are kept free of."""


@dataclass(frozen=True)
class OutputOptions:
    """What is written beside predictions.npz and predictions.json."""

    meshes: tuple[MeshFormat, ...] = ()
    """A mesh of each hand in these formats: ply, obj, glb."""
    overlays: bool = True
    """A picture of each frame: depth, skeleton, shaded hand."""
    sheet: bool = True
    """A contact sheet of the frames."""
    films: tuple[FilmFormat, ...] = ()
    """The overlays as a film: gif, mp4."""
    report: bool = True
    """report.html: a page with everything in it, to look at hands in 3D."""
    recording: bool = False
    """A recording for rerun's viewer (optional package rerun-sdk)."""
    frames_per_second: float = 15.0
    """Of films, of the recording, and of the report when it plays."""
    hand: Path | None = None
    """The hand model whose triangles the vertices have; unset = the open hand."""


def write_all(
    out: Path, frames: Sequence[DepthFrame], predictions: Sequence[HandPrediction], options: OutputOptions
) -> list[Path]:
    """Write predictions and what the options ask for; what was written, in order.

    Args:
        out: a folder, made if it is not there.
        frames: what was predicted from, at least one; stored ones are read when a picture needs them.
        predictions: one a frame, in the same order; rows are written in natural order of the frames' names.
        options: what to write.

    Raises:
        ValueError: no frame, or frames and predictions are not the same, or a name comes twice.
        UserError: the folder cannot be written to, the hand model cannot be read, or an optional package is missing.
    """
    given = frames.names if isinstance(frames, StoredFrames) else [frame.name for frame in frames]
    if not given or given != [p.frame for p in predictions]:
        raise ValueError("predictions are written with their frames, one for one and at least one")
    if len(set(given)) != len(given):
        raise ValueError("frames are told apart by their names, and two have the same")
    rerun = load_rerun() if options.recording else None  # what is missing is said before anything is written
    order = sorted(range(len(given)), key=lambda i: natural_order(given[i]))
    frames = Remembered(len(given), partial(_at, frames, order))
    predictions = [predictions[i] for i in order]
    surface = Surface.of(load_hand_model(options.hand))
    written = [out / "predictions.npz", out / "predictions.json"]
    write_predictions_npz(written[0], predictions)
    write_predictions_json(written[1], predictions)
    names = file_names([p.frame for p in predictions])
    for kind in dict.fromkeys(options.meshes):
        for name, prediction in zip(names, predictions, strict=True):
            if has_hand(prediction):
                written.append(out / "meshes" / f"{name}.{kind}")
                write_mesh(written[-1], prediction.vertices_mm, surface.faces, prediction.side)
    views = _views(frames, predictions, surface)
    if options.overlays:
        for name, picture in zip(names, _overlays(frames, predictions, views), strict=True):
            written.append(out / "overlays" / f"{name}.png")
            write_png(written[-1], picture)
    if options.sheet:
        written.append(out / "contact_sheet.png")
        write_png(written[-1], contact_sheet(frames, predictions, views))
    for kind in dict.fromkeys(options.films):
        written.append(out / f"film.{kind}")
        write_film(written[-1], _overlays(frames, predictions, views), options.frames_per_second)
    if rerun is not None:
        written.append(out / "recording.rrd")
        write_recording(rerun, written[-1], frames, predictions, surface, options.frames_per_second)
    if options.report:
        written.append(out / "report.html")
        write_report(written[-1], frames, predictions, views, surface, options.frames_per_second)
    return written


def file_names(frames: Sequence[str]) -> list[str]:
    """Names of files for frames: folders become part of the name, endings go, and no two are the same.

    Where two would be, whatever the case of their letters, their places in the sequence stand in front of all.
    """
    plain = [_plain_name(frame) for frame in frames]
    if len({name.lower() for name in plain}) == len(plain):
        return plain
    return [f"{i:0{len(str(len(plain) - 1))}}_{name}" for i, name in enumerate(plain)]


def _plain_name(frame: str) -> str:
    path = PurePosixPath(frame)
    if path.suffix.lower() in (*ENDINGS, STACK):
        path = path.with_suffix("")
    return NOT_IN_NAMES.sub("_", str(path)).strip("._") or "frame"


def _at(frames: Sequence[DepthFrame], order: Sequence[int], i: int) -> DepthFrame:
    return frames[order[i]]


def _views(
    frames: Sequence[DepthFrame], predictions: Sequence[HandPrediction], surface: Surface
) -> Sequence[HandView | None]:
    return Remembered(len(frames), lambda i: view_hand(frames[i], predictions[i], surface))


def _overlays(
    frames: Sequence[DepthFrame], predictions: Sequence[HandPrediction], views: Sequence[HandView | None]
) -> Iterator[Picture]:
    return (overlay_picture(f, p, view) for f, p, view in zip(frames, predictions, views, strict=True))
