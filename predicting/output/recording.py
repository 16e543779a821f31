"""A recording for rerun's viewer: depth, points and hand on one time line. rerun-sdk is optional and imported late."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from dataloader.frame import DepthFrame
from predicting.output.drawing import Surface, has_hand
from predicting.prediction import HandPrediction
from util.files import write_whole
from util.joints import MANO21
from util.optional import optional

SKIN = (214, 173, 145)
MILLIMETRES_A_METRE = 1000.0


def load_rerun() -> ModuleType:
    """The package (UserError in one line where it is not installed, or broken)."""
    return optional("rerun", "A recording needs the package rerun-sdk", "pip install rerun-sdk, or do without")


def write_recording(
    rerun: ModuleType,
    path: Path,
    frames: Sequence[DepthFrame],
    predictions: Sequence[HandPrediction],
    surface: Surface,
    frames_per_second: float,
) -> None:
    """Write an .rrd file: `rerun FILE` shows it. Lengths in it are metres.

    Args:
        rerun: of `load_rerun`.
        path: the file.
        frames, predictions: one for one, in order of time.
        surface: the hand's triangles.
        frames_per_second: of the time line `time`, beside the line `frame` that counts.

    Raises:
        UserError: it cannot be written.
    """
    stream = rerun.RecordingStream("hands from depth")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        stream.save(file)
        stream.log("camera", rerun.ViewCoordinates.RDF, static=True)
        for i, (frame, prediction) in enumerate(zip(frames, predictions, strict=True)):
            stream.set_time("frame", sequence=i)
            stream.set_time("time", duration=i / frames_per_second)
            _log_frame(rerun, stream, frame)
            _log_hand(rerun, stream, prediction, surface)
        stream.flush()
        stream.disconnect()
        write_whole(path, file.read_bytes())


def _log_frame(rerun: ModuleType, stream, frame: DepthFrame) -> None:
    height, width = frame.depth_mm.shape
    pinhole = rerun.Pinhole(
        focal_length=frame.camera.focal.tolist(),
        principal_point=frame.camera.principal.tolist(),
        width=width,
        height=height,
    )
    stream.log("camera/image", pinhole)
    stream.log("camera/image/depth", rerun.DepthImage(np.asarray(frame.depth_mm), meter=MILLIMETRES_A_METRE))


def _log_hand(rerun: ModuleType, stream, prediction: HandPrediction, surface: Surface) -> None:
    stream.log("status", rerun.TextLog(f"{prediction.frame}: {prediction.status} {prediction.confidence:.2f}"))
    stream.log("confidence", rerun.Scalars([prediction.confidence]))
    if not has_hand(prediction):
        stream.log("camera/hand", rerun.Clear(recursive=True))
        return
    joints = prediction.joints_mm / MILLIMETRES_A_METRE
    faces = surface.faces[:, ::-1] if prediction.side == "left" else surface.faces
    vertices = prediction.vertices_mm / MILLIMETRES_A_METRE
    stream.log("camera/hand/mesh", rerun.Mesh3D(vertex_positions=vertices, triangle_indices=faces, albedo_factor=SKIN))
    bones = [joints[list(bone)] for bone in MANO21.bones]
    colours = [MANO21.colours[child] for _, child in MANO21.bones]
    stream.log("camera/hand/bones", rerun.LineStrips3D(bones, colors=colours, radii=0.0015))
    stream.log("camera/hand/joints", rerun.Points3D(joints, colors=MANO21.colours, radii=0.003))
