"""Draw pic/frames.png, the figure of docs/conventions.md: `python docs/draw_frames.py` from the root.

Every number in the picture comes from the project's own camera, crop and renderer.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import roma
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataloader.camera import Camera  # noqa: E402
from dataloader.crop import HandCrop, empty_crop  # noqa: E402
from render.hand_layer import HandLayer  # noqa: E402
from render.hand_model import load_hand_model  # noqa: E402
from render.rasterise import rasterise  # noqa: E402
from util.draw import INK, depth_picture, draw_skeleton, draw_text, grid, picture_points, write_png  # noqa: E402
from util.joints import MANO21  # noqa: E402

PANEL = (780, 560)
SENSOR = (240, 320)
CENTRE_MM, CUBE_MM = (85.0, -25.0, 560.0), 250.0
RED, GREEN, BLUE, GREY = (205, 60, 50), (40, 140, 60), (40, 90, 200), (150, 150, 150)


def blank(title: str, lines: list[str]) -> np.ndarray:
    """A panel with its title and what it states."""
    panel = np.full((PANEL[1], PANEL[0], 3), 255, np.uint8)
    draw_text(panel, title, (16, 28), 0.65)
    for number, line in enumerate(lines):
        draw_text(panel, line, (16, 52 + 19 * number), 0.45, (80, 80, 80))
    return panel


def stroke(panel: np.ndarray, start, end, colour=INK, width: int = 1, arrow: bool = False) -> None:
    """A line or an arrow between two points, fractions of pixels allowed."""
    a, b = (tuple(round(float(x) * 16) for x in point) for point in (start, end))
    cv2.line(panel, a, b, colour, width, cv2.LINE_AA, 4)
    if arrow:
        way = np.subtract(b, a) / max(np.linalg.norm(np.subtract(b, a)), 1)
        side = np.array([-way[1], way[0]])
        head = [np.array(b), *(np.array(b) - 200 * way + sign * 75 * side for sign in (1, -1))]
        cv2.fillPoly(panel, [np.round(head).astype(np.int32)], colour, cv2.LINE_AA, 4)


def dot(panel: np.ndarray, at, colour=INK, radius: int = 3) -> None:
    """A filled dot."""
    cv2.circle(panel, tuple(round(float(x) * 16) for x in at), radius * 16, colour, -1, cv2.LINE_AA, 4)


def scene() -> tuple[HandCrop, torch.Tensor, np.ndarray]:
    """A hand in front of a camera: its crop, its joints (21, 3) in mm, and the sensor's depth image in mm."""
    layer = HandLayer(load_hand_model())
    # Fingers (-x in the template) up, the back of the hand (+y) towards the camera, then a little tilted.
    upright = torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    turn = roma.rotvec_to_rotmat(torch.tensor([-0.35, 0.35, 0.15])) @ upright
    mesh = layer(roma.rotmat_to_rotvec(turn)[None], torch.zeros(1, 45), torch.zeros(1, 10))
    centre = torch.tensor([CENTRE_MM])
    shift = centre[:, None] - 1000 * mesh.vertices_m.mean(dim=1, keepdim=True)
    vertices_mm, joints_mm = 1000 * mesh.vertices_m + shift, 1000 * mesh.joints_m + shift
    camera = Camera.of(375, 375, SENSOR[1] / 2, SENSOR[0] / 2)
    crop = empty_crop(camera.expand(1), centre, torch.full((1, 3), CUBE_MM))
    # The rasteriser samples at whole numbers; a pixel of the sensor is sampled in its middle.
    seen = rasterise(camera.project(vertices_mm) - torch.tensor([0.5, 0.5, 0.0]), layer.faces, SENSOR)
    crop = crop.with_depth_mm(rasterise(crop.pixels_from_mm(vertices_mm), layer.faces, crop.size))
    return crop, joints_mm, seen[0].numpy()


def camera_panel(crop: HandCrop, joints_mm: torch.Tensor) -> np.ndarray:
    """Camera, its axes, the cube and the hand in it, seen from behind, above and the right of the camera."""
    panel = blank("camera frame: joints_mm, vertices_mm, centre_mm", ["x right, y down, z forward; millimetres"])
    view = roma.rotvec_to_rotmat(torch.tensor([0.45, 0.0, 0.0])) @ roma.rotvec_to_rotmat(torch.tensor([0.0, 0.75, 0.0]))

    def place(points) -> np.ndarray:
        turned = torch.as_tensor(points, dtype=torch.float32) @ view.T
        return (turned[..., :2] * 0.8).numpy() + np.array([120, 330])

    corners = [place([x, y, 170.0]) for x, y in ((-90, -68), (90, -68), (90, 68), (-90, 68))]
    for number, corner in enumerate(corners):
        stroke(panel, place([0.0, 0, 0]), corner, GREY)
        stroke(panel, corner, corners[number - 1], GREY)
    half = CUBE_MM / 2
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    cube = place(crop.centre_mm[0].numpy() + half * signs)
    for i in range(8):
        for j in range(i):
            if np.abs(signs[i] - signs[j]).sum() == 2:
                stroke(panel, cube[i], cube[j], GREY)
    points = place(joints_mm[0])
    for parent, child in MANO21.bones:
        stroke(panel, points[parent], points[child], MANO21.colours[child], 2)
    middle = place(crop.centre_mm[0])
    dot(panel, middle)
    label = middle + np.array([40, 75])
    stroke(panel, middle, label, GREY)
    draw_text(panel, "centre_mm", (int(label[0]) - 20, int(label[1]) + 16))
    draw_text(
        panel, "cube_mm, its edges parallel to the axes", (int(cube[:, 0].min()) + 20, int(cube[:, 1].max()) + 24)
    )
    for name, way, colour in (("x", [130.0, 0, 0], RED), ("y", [0, 130.0, 0], GREEN), ("z", [0, 0, 250.0], BLUE)):
        tip = place(way)
        stroke(panel, place([0.0, 0, 0]), tip, colour, 2, arrow=True)
        draw_text(panel, name, (int(tip[0]) + 6, int(tip[1]) + 14), 0.6, colour)
    return panel


def sensor_panel(crop: HandCrop, seen_mm: np.ndarray) -> np.ndarray:
    """The sensor image with the crop's window, and a corner of it enlarged."""
    lines = ["u = fx x / z + cx,  v = fy y / z + cy", "pixel i covers [i, i + 1), its centre is at i + 0.5"]
    panel = blank("sensor image: (u, v) in pixels, z in mm", lines)
    depth = np.where(seen_mm > 0, (seen_mm - CENTRE_MM[2]) / (CUBE_MM / 2), 1.0)
    zoom, left, top = 1.4, 24, 110
    small = cv2.resize(
        depth_picture(torch.from_numpy(depth), 1), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST
    )
    panel[top : top + small.shape[0], left : left + small.shape[1]] = small
    image_from_crop = torch.linalg.inv(crop.crop_from_image[0])
    low, high = (image_from_crop @ torch.tensor([e, e, 1.0]) for e in (0.0, float(crop.size)))
    first, last = ((round(left + zoom * float(e[0])), round(top + zoom * float(e[1]))) for e in (low, high))
    cv2.rectangle(panel, first, last, RED, 1, cv2.LINE_AA)
    draw_text(panel, "crop", (first[0] + 6, first[1] + 16), 0.45, RED)
    stroke(panel, (left, top), (left + 90, top), RED, 2, arrow=True)
    stroke(panel, (left, top), (left, top + 90), GREEN, 2, arrow=True)
    draw_text(panel, "u", (left + 96, top + 18), 0.55, RED)
    draw_text(panel, "v", (left + 8, top + 104), 0.55, GREEN)
    cell, x0, y0 = 62, 520, 130
    for i in range(4):
        stroke(panel, (x0 + cell * i, y0), (x0 + cell * i, y0 + 3 * cell), GREY)
        stroke(panel, (x0, y0 + cell * i), (x0 + 3 * cell, y0 + cell * i), GREY)
        draw_text(panel, str(i), (x0 + cell * i - 4, y0 - 8), 0.45, RED)
        draw_text(panel, str(i), (x0 - 18, y0 + cell * i + 5), 0.45, GREEN)
    for i in range(9):
        dot(panel, (x0 + cell * (i % 3 + 0.5), y0 + cell * (i // 3 + 0.5)))
    draw_text(panel, "the first pixels, at their coordinates", (x0 - 40, y0 + 3 * cell + 26))
    draw_text(panel, "a mirrored frame: u' = width - u", (x0 - 40, y0 + 3 * cell + 48))
    return panel


def crop_panel(crop: HandCrop, joints_mm: torch.Tensor) -> np.ndarray:
    """The crop with its axes, and a corner of it enlarged: samples, and cells of the maps."""
    lines = [
        "sample j lies at crop coordinate j, u = j / 64 - 1 (of 128)",
        "cell i of 32 x 32 maps: u = (i + 0.5) / 16 - 1",
    ]
    panel = blank("crop: (u, v) of joints_uvd; crop_from_image leads here", lines)
    zoom, left, top = 3, 60, 130
    picture = draw_skeleton(depth_picture(crop.depth[0, 0], zoom), crop.uvd_from_mm(joints_mm)[0], zoom=zoom)
    panel[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    for j in (0, 64, 127):
        across = left + picture_points(np.array([[j / 64 - 1, 0.0]]), 128 * zoom, zoom)[0, 0]
        stroke(panel, (across, top - 6), (across, top), RED)
        draw_text(panel, f"j = {j}", (int(across) - 18, top - 24), 0.4)
        draw_text(panel, f"u = {j / 64 - 1:.3g}", (int(across) - 22, top - 10), 0.4, RED)
        stroke(panel, (left - 6, top + across - left), (left, top + across - left), GREEN)
        draw_text(panel, f"{j / 64 - 1:.3g}", (left - 44, int(top + across - left) + 4), 0.4, GREEN)
    step, x0, y0 = 42, 540, 170
    for j in range(5):
        draw_text(panel, str(j), (x0 + step * j - 4, y0 - 14), 0.45, RED)
        for i in range(5):
            dot(panel, (x0 + step * j, y0 + step * i))
    for i in range(2):
        stroke(panel, (x0 + 4 * step * i, y0), (x0 + 4 * step * i, y0 + 4 * step), BLUE)
        stroke(panel, (x0, y0 + 4 * step * i), (x0 + 4 * step, y0 + 4 * step * i), BLUE)
    dot(panel, (x0 + 2 * step, y0 + 2 * step), BLUE, 6)
    draw_text(panel, "samples, and one cell of", (x0 - 20, y0 + 4 * step + 30))
    draw_text(panel, "32 x 32 maps with its centre", (x0 - 20, y0 + 4 * step + 50), colour=BLUE)
    draw_text(panel, "background has depth d = 1", (x0 - 20, y0 + 4 * step + 84))
    return panel


def cube_panel(crop: HandCrop, joints_mm: torch.Tensor) -> np.ndarray:
    """The plane y = centre y from above: lines of equal xyz against lines of equal uvd."""
    lines = [
        "xyz = (point - centre) / (cube / 2): a cube",
        "uvd: u, v of the crop, d = (z - centre z) / (cube z / 2): a fan of rays",
    ]
    panel = blank("uvd and xyz, from above", lines)
    centre = crop.centre_mm[0]

    def place(point_mm) -> tuple[float, float]:
        return 330 + 0.9 * float(point_mm[0]), 540 - 0.6 * float(point_mm[2])

    def at(points: list[list[float]], frame: str) -> list[tuple[float, float]]:
        values = torch.tensor([points])
        return [place(p) for p in (crop.mm_from_uvd(values) if frame == "uvd" else crop.mm_from_xyz(values))[0]]

    camera = place((0.0, 0.0, 0.0))
    for side in (-1.0, -0.5, 0.0, 0.5, 1.0):
        near, far = at([[side, 0.0, -1.0], [side, 0.0, 1.0]], "uvd")
        stroke(panel, camera, near, (235, 205, 200))
        stroke(panel, near, far, RED)
        for ends, colour in (
            ([[side, 0.0, -1.0], [side, 0.0, 1.0]], BLUE),
            ([[-1.0, 0.0, side], [1.0, 0.0, side]], GREY),
        ):
            start, end = at(ends, "xyz")
            stroke(panel, start, end, colour)
    for parent, child in MANO21.bones:
        stroke(panel, place(joints_mm[0, parent]), place(joints_mm[0, child]), MANO21.colours[child], 2)
    dot(panel, place(centre))
    dot(panel, camera, radius=5)
    draw_text(panel, "camera", (int(camera[0]) - 70, int(camera[1])))
    right = at([[1.0, 0.0, 0.0]], "xyz")[0][0]
    for d in (-1.0, 0.0, 1.0):
        draw_text(panel, f"d = z = {d:.0f}", (int(right) + 40, int(at([[1.0, 0.0, d]], "xyz")[0][1]) + 4), 0.42)
    draw_text(panel, "equal u of uvd", (40, 200), 0.5, RED)
    draw_text(panel, "equal x of xyz", (40, 222), 0.5, BLUE)
    draw_text(panel, "equal d, equal z", (40, 244), 0.5, GREY)
    return panel


def main() -> None:
    """Write pic/frames.png."""
    crop, joints_mm, seen_mm = scene()
    panels = [
        camera_panel(crop, joints_mm),
        sensor_panel(crop, seen_mm),
        crop_panel(crop, joints_mm),
        cube_panel(crop, joints_mm),
    ]
    write_png(ROOT / "pic" / "frames.png", grid(panels, 2, gap=6))


if __name__ == "__main__":
    main()
