"""report.html: one page that needs nothing else, no network and no server, to look at predictions in a browser.

A contact sheet, the measures, and a 3D viewer of depth points and hand that is turned and scrubbed through time. The
page's parts lie in page/, three.js in vendor/; points are tenths of a millimetre in 16 bits.
"""

import base64
import html
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from dataloader.frame import DepthFrame
from predicting.output.drawing import (
    STATUS_COLOURS,
    HandView,
    Surface,
    even_choice,
    frame_picture,
    has_hand,
)
from predicting.output.tables import measure_names
from predicting.prediction import HandPrediction
from util.draw import Picture
from util.files import finite, write_text
from util.joints import MANO21

ROOM = Path(__file__).resolve().parent
MOST_FRAMES = 400
"""That the page shows, evenly spread; the tables have all."""
MOST_POINTS = 2500
"""Depth points of a frame."""
AROUND = 0.75
"""Half the side of the box that points are shown of, in cubes: the hand and what is next to it."""
ALONE_MM = 3200.0
"""The same in a frame without a hand: as far as 16 bits reach."""
TENTHS = 10
"""A number in the page is 1 / TENTHS mm."""
PICTURE_SIDE = 160
PICTURE_QUALITY = 80


def write_report(
    path: Path,
    frames: Sequence[DepthFrame],
    predictions: Sequence[HandPrediction],
    views: Sequence[HandView | None],
    surface: Surface,
    frames_per_second: float = 15.0,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: an .html file.
        frames, predictions, views: one for one, in order of time, at least one.
        surface: the hand's triangles.
        frames_per_second: when it plays.

    Raises:
        UserError: the folder cannot be written to.
    """
    chosen = even_choice(len(frames), MOST_FRAMES)
    shown = [_frame(frames[i], predictions[i], views[i], surface) for i in chosen]
    cubes = [p.cube_mm for p in predictions if has_hand(p)]
    origins = [row["origin_mm"] for row, i in zip(shown, chosen, strict=True) if has_hand(predictions[i])]
    data = {
        "frames": shown,
        "faces": _base64(surface.closed_faces.astype("<u2")),
        "bones": MANO21.bones,
        "colours": MANO21.colours,
        "statuses": {status: f"rgb{colour}" for status, colour in STATUS_COLOURS.items()},
        "measures": measure_names(predictions),
        "reach_mm": float(np.median(cubes)) if cubes else 250.0,
        "origin_mm": np.median(origins or [row["origin_mm"] for row in shown], axis=0).tolist(),
        "frames_per_second": frames_per_second,
    }
    # A name may hold what would end the script.
    text = json.dumps(finite(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"style": "page/report.css", "viewer": "page/viewer.js", "three": "vendor/three.min.js"}
    page = Template((ROOM / "page/report.html").read_text(encoding="utf-8"))
    filled = page.substitute(
        title=html.escape(predictions[0].frame),
        summary=html.escape(summary(predictions, len(chosen))),
        data=text,
        **{name: (ROOM / file).read_text(encoding="utf-8") for name, file in parts.items()},
    )
    write_text(path, filled)


def summary(predictions: Sequence[HandPrediction], shown: int) -> str:
    """How many frames of each status, and means of the measures of those that are ok."""
    counts = Counter(p.status for p in predictions)
    text = f"{len(predictions):,} frame{'s' * (len(predictions) != 1)}: "
    text += ", ".join(f"{counts[status]:,} {status}" for status in STATUS_COLOURS if counts[status])
    fine = [p.measures for p in predictions if p.status == "ok"]
    means = {
        name: np.mean([m[name] for m in fine if name in m])
        for name in ("surface_mm", "iou")
        if any(name in m for m in fine)
    }
    if "surface_mm" in means:
        text += f". Where ok, observed points lie {means['surface_mm']:.1f} mm from the hand's surface"
        text += f", silhouettes overlap by {means['iou']:.2f}" if "iou" in means else ""
    if shown < len(predictions):
        text += f". The page shows {shown:,} of them, evenly spread; predictions.json has all"
    return text + "."


def frame_points(frame: DepthFrame, origin_mm: Float[np.ndarray, "3"], half_mm: float) -> Float[np.ndarray, "n 3"]:
    """At most MOST_POINTS of a frame in a box around a place, relative to it, mm; evenly taken over the image."""
    depth_mm = np.asarray(frame.depth_mm, np.float32)
    near, far = origin_mm[2] - half_mm, origin_mm[2] + half_mm
    v, u = np.nonzero((depth_mm > max(near, 0)) & (depth_mm < far))
    z = depth_mm[v, u]
    (fx, fy), (cx, cy) = frame.camera.focal.tolist(), frame.camera.principal.tolist()
    points = np.stack([(u + 0.5 - cx) / fx * z, (v + 0.5 - cy) / fy * z, z], axis=1) - origin_mm
    points = points[(np.abs(points) < half_mm).all(1)]
    return points[np.asarray(even_choice(len(points), MOST_POINTS), int)].astype(np.float32)


def _frame(frame: DepthFrame, prediction: HandPrediction, view: HandView | None, surface: Surface) -> dict[str, Any]:
    """What the page knows of a frame."""
    hand = has_hand(prediction)
    origin, half_mm = prediction.centre_mm, AROUND * prediction.cube_mm
    if not hand or not np.isfinite(origin).all():
        origin, half_mm = _middle(frame), ALONE_MM
    origin = np.round(origin.astype(np.float64), 1)
    row: dict[str, Any] = {
        "frame": prediction.frame,
        "status": prediction.status,
        "confidence": float(prediction.confidence),
        "side": prediction.side,
        "measures": prediction.measures,
        "origin_mm": origin.tolist(),
        "points": _tenths(frame_points(frame, origin, half_mm)),
        "picture": _jpeg(view.skeleton(2) if view else frame_picture(frame, prediction, 2 * PICTURE_SIDE)),
    }
    if hand:
        row["vertices"] = _tenths(surface.closed(prediction.vertices_mm) - origin)
        row["joints"] = _tenths(prediction.joints_mm - origin)
    return row


def _middle(frame: DepthFrame) -> np.ndarray:
    """A place before the camera at the frame's median depth."""
    depth_mm = np.asarray(frame.depth_mm)
    return np.array([0.0, 0.0, np.median(depth_mm[depth_mm > 0]) if (depth_mm > 0).any() else 0.0])


def _tenths(points_mm: np.ndarray) -> str:
    limits = np.iinfo(np.int16)
    return _base64(np.clip(np.round(points_mm * TENTHS), limits.min, limits.max).astype("<i2"))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _jpeg(picture: Picture) -> str:
    """A small square picture as an address that holds it."""
    side = min(picture.shape[:2])
    top, left = ((edge - side) // 2 for edge in picture.shape[:2])
    small = cv2.resize(
        picture[top : top + side, left : left + side], (PICTURE_SIDE, PICTURE_SIDE), interpolation=cv2.INTER_AREA
    )
    coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, PICTURE_QUALITY])[1]
    return "data:image/jpeg;base64," + _base64(coded)
