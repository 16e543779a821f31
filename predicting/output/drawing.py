"""A frame with its predicted hand as pictures need it: the crop that was read, the hand drawn into it, the joints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from dataloader.crop import FOREGROUND_BELOW, HandCrop, crop_frame
from dataloader.frame import DepthFrame
from predicting.prediction import HandPrediction
from render.hand_layer import boundary_ring
from render.hand_model import HandModel
from training.branches import render_crop
from util.draw import PAPER, Picture, depth_picture, draw_skeleton, draw_text, shaded_picture

SIZE = 128
"""Samples along a crop's side."""
FRAME_NEAR, FRAME_FAR = 1.0, 99.0
"""Percentiles of a frame's depth that have the ends of the colours."""
LEAST_RANGE_MM = 500.0
"""Of depth between them, or a wall's noise would be all the colours."""
STATUS_COLOURS = {
    "ok": (60, 150, 80),
    "no hand": (120, 120, 120),
    "touches the border": (200, 140, 20),
    "too far": (200, 140, 20),
    "poor fit": (200, 60, 50),
}
"""RGB of each status, on pages and pictures."""
BACKDROP = 0.45
"""Share of its brightness that depth keeps behind a drawn hand."""


@dataclass(frozen=True)
class Surface:
    """The triangles of a right hand, with the wrist closed as the hand layer closes it."""

    faces: Int[np.ndarray, "f 3"]
    """As the model's file has them: 778 vertices, open at the wrist."""
    closed_faces: Int[np.ndarray, "g 3"]
    """With a fan around a vertex in the middle of the wrist, number 778."""
    ring: Int[np.ndarray, " r"]
    """Vertices around the wrist."""

    @staticmethod
    def of(model: HandModel) -> "Surface":
        """That of a hand model."""
        ring = boundary_ring(model.faces)
        fan = np.stack([np.roll(ring, -1), ring, np.full_like(ring, len(model.v_template))], axis=1)
        return Surface(model.faces, np.concatenate([model.faces, fan]), ring)

    def closed(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "w 3"]:
        """With the middle of the wrist as last vertex."""
        return np.concatenate([vertices, vertices[self.ring].mean(0, keepdims=True)])


@dataclass(frozen=True)
class HandView:
    """What is drawn of a frame in which there is a hand."""

    depth: Float[torch.Tensor, "s s"]
    """The crop, normalised, background 1."""
    rendered: Float[torch.Tensor, "s s"]
    """The predicted hand in it."""
    joints_uvd: Float[torch.Tensor, "21 3"]

    def skeleton(self, zoom: int) -> Picture:
        """Depth with the skeleton over it."""
        return draw_skeleton(depth_picture(self.depth, zoom), self.joints_uvd, zoom=zoom)

    def mesh(self, zoom: int) -> Picture:
        """The shaded hand before the darkened depth."""
        there = (self.rendered < FOREGROUND_BELOW).numpy().repeat(zoom, axis=0).repeat(zoom, axis=1)
        behind = (depth_picture(self.depth, zoom) * BACKDROP).astype(np.uint8)
        return np.where(there[..., None], shaded_picture(self.rendered, zoom), behind)


def has_hand(prediction: HandPrediction) -> bool:
    """Whether there are numbers to show, whatever the status says of them."""
    return bool(np.isfinite(prediction.joints_mm).all() and np.isfinite(prediction.vertices_mm).all())


def view_hand(frame: DepthFrame, prediction: HandPrediction, surface: Surface) -> HandView | None:
    """The crop that a hand was read from with the hand in it; None where there is no hand."""
    if not has_hand(prediction) or not prediction.centre_mm[2] > 0:
        return None
    centre_mm, cube_mm = torch.from_numpy(prediction.centre_mm), torch.full((3,), float(prediction.cube_mm))
    crop: HandCrop = crop_frame(frame.depth_mm, frame.camera, centre_mm, cube_mm, SIZE).each(_alone)
    vertices_mm = torch.from_numpy(surface.closed(prediction.vertices_mm)).float()
    # Which way triangles turn makes no difference to depth.
    rendered = render_crop(crop, crop.xyz_from_mm(vertices_mm[None]), torch.from_numpy(surface.closed_faces))
    joints_uvd = crop.uvd_from_mm(torch.from_numpy(prediction.joints_mm)[None])
    return HandView(crop.depth[0, 0], rendered.depth[0, 0], joints_uvd[0])


def frame_picture(frame: DepthFrame, prediction: HandPrediction, height: int) -> Picture:
    """The whole frame by depth, with the outline of the crop, `height` pixels high."""
    depth_mm = np.asarray(frame.depth_mm, np.float32)
    rows, columns = depth_mm.shape
    v = np.arange(height) * rows // height
    u = np.arange(round(columns * height / rows)) * rows // height
    sampled = depth_mm[v[:, None], u.clip(max=columns - 1)[None]]
    valid = sampled > 0
    near, far = np.percentile(sampled[valid], (FRAME_NEAR, FRAME_FAR)) if valid.any() else (0.0, 0.0)
    near = min(near, far - LEAST_RANGE_MM)
    scaled = np.clip((sampled - near) / (far - near) * 1.9 - 1, -1, 0.9)
    side = max(sampled.shape)
    square = np.ones((side, side), np.float32)
    square[: sampled.shape[0], : sampled.shape[1]] = np.where(valid, scaled, 1)
    picture = depth_picture(torch.from_numpy(square), 1)[: sampled.shape[0], : sampled.shape[1]].copy()
    if prediction.centre_mm[2] > 0:
        middle = frame.camera.project(torch.from_numpy(prediction.centre_mm)[None])[0, :2].numpy()
        reach = frame.camera.focal.numpy() * prediction.cube_mm / (2 * prediction.centre_mm[2])
        low, high = (np.round((middle + sign * reach) * height / rows).astype(int) for sign in (-1, 1))
        _box(picture, low, high, STATUS_COLOURS[prediction.status])
    return picture


def headed(picture: Picture, prediction: HandPrediction, letters: int = 0, size: float = 0.45) -> Picture:
    """With a line above it: frame, status, confidence, side, measures; the frame's last `letters` if not 0."""
    head = round(50 * size)
    page = np.full((picture.shape[0] + head, picture.shape[1], 3), PAPER, np.uint8)
    page[head:] = picture
    page[:head, : head // 3] = STATUS_COLOURS[prediction.status]
    draw_text(page, caption(prediction, letters), (head // 2, round(head * 0.7)), size, (235, 235, 235))
    return page


def caption(prediction: HandPrediction, letters: int = 0) -> str:
    """One line on a prediction."""
    words = [prediction.frame[-letters:], f"{prediction.status} {prediction.confidence:.2f}", prediction.side]
    measures = prediction.measures
    words += [f"{measures[name]:.1f} mm {what}" for name, what in (("surface_mm", "surface"),) if name in measures]
    words += [f"IoU {measures['iou']:.2f}"] if "iou" in measures else []
    return "  ".join(word for word in words if word)


def even_choice(n: int, most: int) -> Sequence[int]:
    """At most `most` of n numbers, evenly spread, the first and the last among them."""
    return range(n) if n <= most else [round(k * (n - 1) / max(most - 1, 1)) for k in range(most)]


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """As a batch of one."""
    return tensor[None]


def _box(picture: np.ndarray, low: np.ndarray, high: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw the outline of a box, two pixels wide, as far as it is within the picture."""
    height, width, _ = picture.shape
    (left, top), (right, bottom) = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    for edge in (0, 1):
        for row in (low[1] + edge, high[1] - edge):
            if 0 <= row < height:
                picture[row, left:right] = colour
        for column in (low[0] + edge, high[0] - edge):
            if 0 <= column < width:
                picture[top:bottom, column] = colour
