"""Pictures of crops, skeletons, rendered hands and part labels, as (height, width, 3) RGB arrays of bytes.

A picture shows each crop sample as a square of `zoom` x `zoom` pixels. Sample j lies at crop coordinate j
(u = j / (size / 2) - 1), so it is the middle of its square that stands for this coordinate.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from util.files import write_whole
from util.joints import FINGER_COLOURS, MANO21, MANO_FINGERS, PALM_COLOUR, Colour, JointSet

Picture = UInt8[np.ndarray, "_ _ 3"]
"""(height, width, RGB) bytes, of any size."""

BACKGROUND = 0.99
"""Normalised depth from which on there is nothing (1 is the back of the cube)."""

PAPER = (24, 24, 28)
"""Colour of nothing."""

INK = (30, 30, 30)
"""Colour of text."""

PAGE = (255, 255, 255)
"""Colour between the pictures of a grid."""

LIGHT = np.array([-0.35, -0.5, -0.8]) / np.linalg.norm([-0.35, -0.5, -0.8])
"""Where light comes from: above left of the camera (x right, y down, z forward)."""

SUBPIXEL_BITS = 4


def depth_picture(depth: Float[Tensor, "size size"], zoom: int = 3) -> Picture:
    """A crop coloured by depth: near is bright and warm, far dark and cold, nothing is the colour of paper.

    Args:
        depth: normalised depth in [-1, 1], background 1.
        zoom: picture pixels per sample.
    """
    d = _array(depth)
    near = np.round((1 - np.clip((d + 1) / 2, 0, 1)) * 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(near, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    # The darkest of the colour map is kept for what is not there.
    lifted = (30 + coloured.astype(np.float64) * (225 / 255)).astype(np.uint8)
    return _enlarged(_masked(lifted, d < BACKGROUND), zoom)


def shaded_picture(depth: Float[Tensor, "size size"], zoom: int = 3, colour: Colour = (214, 190, 170)) -> Picture:
    """A surface seen by the camera, lit from above left; its normals come from the depth itself.

    Args:
        depth: normalised depth in [-1, 1] as rendered, background 1.
        zoom: picture pixels per sample.
        colour: RGB of the surface.
    """
    d = _array(depth)
    there = d < BACKGROUND
    step = 2 / d.shape[-1]
    slope_v, slope_u = (_slope(d, there, axis) / step for axis in (0, 1))
    normals = np.stack([slope_u, slope_v, -np.ones_like(d)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    light = 0.25 + 0.75 * np.clip(normals @ LIGHT, 0, 1)
    return _enlarged(_masked((light[..., None] * colour).astype(np.uint8), there), zoom)


def difference_picture(
    real: Float[Tensor, "size size"], rendered: Float[Tensor, "size size"], limit: float = 0.2, zoom: int = 3
) -> Picture:
    """Two crops compared: green agrees, red where the rendered is behind the real one, blue where it is in front.

    What only one of them covers is grey (the real one) or violet (the rendered one).

    Args:
        real: normalised depth of the sensor, background 1.
        rendered: normalised depth of the model, background 1.
        limit: difference that is shown in full colour.
        zoom: picture pixels per sample.
    """
    a, b = _array(real), _array(rendered)
    amount = np.clip((b - a) / limit, -1, 1)[..., None]
    agree, behind, before = np.array([70, 190, 90]), np.array([230, 60, 40]), np.array([50, 90, 240])
    mixed = agree + np.maximum(amount, 0) * (behind - agree) + np.maximum(-amount, 0) * (before - agree)
    picture = _masked(mixed.astype(np.uint8), (a < BACKGROUND) & (b < BACKGROUND))
    picture[(a < BACKGROUND) & (b >= BACKGROUND)] = PALM_COLOUR
    picture[(a >= BACKGROUND) & (b < BACKGROUND)] = FINGER_COLOURS["pinky"]
    return _enlarged(picture, zoom)


def part_picture(labels: Int[Tensor, "size size"], zoom: int = 3) -> Picture:
    """Part labels of a crop: -1 nothing, 0 palm, 1..15 the finger parts in the order of the hand model's joints.

    A finger has its colour of every picture, the darker the nearer to the palm.
    """
    palette = np.array([PALM_COLOUR, *(_part_colour(part) for part in range(1, 16)), PAPER], dtype=np.uint8)
    return _enlarged(palette[labels.detach().cpu().numpy()], zoom)  # -1 finds the last entry


def draw_skeleton(
    picture: Picture,
    joints_uvd: Float[Tensor, "joints 3"],
    joint_set: JointSet = MANO21,
    zoom: int = 3,
    thickness: int = 2,
) -> Picture:
    """A copy of a square picture of a crop with a skeleton drawn over it, nearer bones over farther ones.

    Args:
        picture: any picture of the crop.
        joints_uvd: joints in crop coordinates; a joint that is not finite is left out with its bones.
        joint_set: whose bones and colours.
        zoom: the picture's own.
        thickness: of a bone in picture pixels.
    """
    joints = _array(joints_uvd)
    drawn = np.ascontiguousarray(picture).copy()
    points = picture_points(joints[:, :2], drawn.shape[0], zoom)
    bones = [bone for bone in joint_set.bones if np.isfinite(joints[list(bone)]).all()]
    for parent, child in sorted(bones, key=lambda bone: -joints[list(bone), 2].mean()):
        start, end = _fixed(points[parent]), _fixed(points[child])
        cv2.line(drawn, start, end, joint_set.colours[child], thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    radius = round(1.2 * thickness * 2**SUBPIXEL_BITS)
    for joint in sorted(range(len(joint_set)), key=lambda joint: -joints[joint, 2]):
        if np.isfinite(joints[joint]).all():
            cv2.circle(drawn, _fixed(points[joint]), radius, joint_set.colours[joint], -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return drawn


def picture_points(uv: Float[np.ndarray, "n 2"], width: int, zoom: int) -> Float[np.ndarray, "n 2"]:
    """Crop coordinates in [-1, 1] -> (x, y) in a square picture `width` pixels wide, whole numbers on pixel centres."""
    return (uv + 1) / 2 * width + (zoom - 1) / 2


def grid(pictures: Sequence[Picture], columns: int, gap: int = 4, titles: Sequence[str] = ()) -> Picture:
    """Pictures of one size in rows of `columns`, with titles above the columns if given.

    Raises:
        ValueError: no picture, or pictures of different sizes.
    """
    if not pictures or len({picture.shape for picture in pictures}) != 1:
        raise ValueError("a grid takes at least one picture, all of one size")
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    head = 22 if titles else 0
    page = np.full((head + rows * (height + gap) + gap, columns * (width + gap) + gap, 3), PAGE, np.uint8)
    for number, picture in enumerate(pictures):
        top = head + gap + number // columns * (height + gap)
        left = gap + number % columns * (width + gap)
        page[top : top + height, left : left + width] = picture
    for column, title in enumerate(titles[:columns]):
        draw_text(page, title, (gap + column * (width + gap), 16))
    return page


def draw_text(
    picture: Picture,
    text: str,
    corner: tuple[int, int],
    size: float = 0.45,
    colour: tuple[int, int, int] = (30, 30, 30),
) -> None:
    """Write into a picture, in place, from the lower left corner (x, y) on."""
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture, whole or not at all (UserError if the folder cannot be written to)."""
    _, content = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR))
    write_whole(path, content.tobytes())


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _masked(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], picture, np.array(PAPER, np.uint8))


def _enlarged(picture: np.ndarray, zoom: int) -> np.ndarray:
    return picture.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _slope(depth: np.ndarray, there: np.ndarray, axis: int) -> np.ndarray:
    """Change of depth per sample along an axis, over the neighbours that are on the surface."""
    total, count = np.zeros_like(depth), np.zeros_like(depth)
    for shift in (1, -1):
        neighbour, valid = np.roll(depth, shift, axis), there & np.roll(there, shift, axis)
        total += np.where(valid, (depth - neighbour) * shift, 0)
        count += valid
    return total / np.maximum(count, 1)


def _part_colour(part: int) -> np.ndarray:
    finger, joint = divmod(part - 1, 3)
    return np.array(FINGER_COLOURS[MANO_FINGERS[finger]]) * (0.55, 0.78, 1.0)[joint]


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """A point as OpenCV takes fractions of pixels."""
    x, y = np.round(np.clip(point, -9999, 9999) * 2**SUBPIXEL_BITS).astype(int)
    return int(x), int(y)
