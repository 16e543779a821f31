"""pic/annotation.gif: a simulated recording in SHREC'17's layout, annotated. `python docs/draw_annotation.py`.

Its labels are the truth. The network has seen neither these paths between postures nor this simulated sensor.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch

import annotate
from config import DemoConfig, StructuredLightConfig
from dataloader.camera import Camera
from dataloader.datasets.gestures import CAMERA, SIZE
from dataloader.datasets.shrec import LAYOUT
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.rasterise import rasterise
from render.sampler import HandSampler
from render.structured_light import StructuredLight
from util.cli import run_entry
from util.joints import SHREC22

FILM = Path(__file__).resolve().parents[1] / "pic/annotation.gif"
FRAMES, SEED = 32, 5
POSTURES = 4
"""That the hand goes through, and back to the first."""
CENTRE_MM = (20.0, 0.0, 420.0)
FOLDER = "gesture_1/finger_2/subject_2/essai_1"


def main(words: Sequence[str]) -> None:
    """Draw the film, or with a folder as word what it is made of, too."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(words[0]) if words else Path(place)
        write_recording(work / "set")
        annotate.main(["shrec", "--root", str(work / "set"), "--animate", "*", "--refine", "10", "--one-shape"])
        film = next((work / "set-annotated/animations").iterdir())
        shutil.copy(film, FILM)


def write_recording(root: Path) -> None:
    """Images, boxes, skeletons and the list of a recording."""
    layer, camera, generator = HandLayer(load_hand_model()), Camera.of(*CAMERA), torch.Generator().manual_seed(SEED)
    hands = HandSampler(layer, DemoConfig().sampler).sample(POSTURES, generator)
    places = torch.arange(FRAMES) * POSTURES / FRAMES
    first, share = places.long(), (places % 1)[:, None]
    share = share * share * (3 - 2 * share)  # it rests a little in each posture
    pose = hands.pose[first] * (1 - share) + hands.pose[(first + 1) % POSTURES] * share
    turn = torch.stack([0.25 * torch.sin(places * 3.1), 0.3 * torch.cos(places * 1.6), 0.15 * torch.sin(places)], -1)
    mesh = layer(upright(layer) @ rotations(turn), pose, hands.shape[:1].expand(FRAMES, 10))
    shift = torch.tensor(CENTRE_MM) - mesh.joints_m.mean(1) * 1000
    vertices_mm, joints_mm = mesh.placed(hands.scale[:1].expand(FRAMES, 1), shift, 1.0)
    pixels = camera.project(vertices_mm)
    pixels[..., :2] -= 0.5  # the rasteriser's samples stand at whole numbers, a sensor's pixels half a one further
    light = StructuredLight(StructuredLightConfig(SIZE[0], SIZE[1], CAMERA[0], error_px=0.12, failing=0.03))
    seen = light(rasterise(pixels, layer.faces, (SIZE[1], SIZE[0])), generator).round().numpy().astype(np.uint16)
    uvz = camera.project(SHREC22.from_mano21(joints_mm)).numpy()
    uvz[..., 0] = SIZE[0] - uvz[..., 0]
    folder = root / FOLDER
    folder.mkdir(parents=True)
    boxes = []
    for k, depth_mm in enumerate(seen):
        stored = np.ascontiguousarray(depth_mm[:, ::-1])
        cv2.imwrite(str(folder / LAYOUT.image.format(k)), stored)
        boxes.append(" ".join(map(str, (k, *cv2.boundingRect((stored > 0).astype(np.uint8))))))
    world = np.concatenate([np.zeros_like(uvz[..., :2]), uvz[..., 2:] / 1000], -1)  # only the depth is read
    for name, table in ((LAYOUT.joints_image, uvz[..., :2]), (LAYOUT.joints_world, world)):
        np.savetxt(folder / name, table.reshape(FRAMES, -1), fmt="%.6f")
    (folder / LAYOUT.boxes).write_text("\n".join(boxes) + "\n")
    (root / "train_gestures.txt").write_text(f"1 2 2 1 1 2 {FRAMES}\n")


def upright(layer: HandLayer) -> torch.Tensor:
    """(3, 3) rotation after which the resting hand points up and shows its back."""
    still = torch.zeros(1, 45)
    joints = layer(torch.zeros(1, 3), still, torch.zeros(1, 10)).joints_m[0]
    along = torch.nn.functional.normalize(joints[4] - joints[0], dim=0)
    across = torch.nn.functional.normalize(joints[1] - joints[10], dim=0)
    across = torch.nn.functional.normalize(across - (across @ along) * along, dim=0)
    own = torch.stack([across, along, torch.linalg.cross(across, along)])
    return torch.tensor([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]]).T @ own


def rotations(turn: torch.Tensor) -> torch.Tensor:
    """(n, 3, 3) matrices of axis-angles."""
    return torch.linalg.matrix_exp(torch.stack([_cross(row) for row in turn]))


def _cross(row: torch.Tensor) -> torch.Tensor:
    x, y, z = row.tolist()
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])


if __name__ == "__main__":
    sys.exit(run_entry(main))
