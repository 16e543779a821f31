"""Tiny data sets in their real formats, each frame a rendered hand before nothing, with the truth as labels."""

import struct
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.io import savemat

from annotating.annotations import Annotations
from annotating.formats.nyu import nyu36
from annotating.source import Source
from dataloader.camera import Camera
from dataloader.datasets import dhg, gestures, icvl, msra, nyu, shrec
from dataloader.locate import Intrinsics
from predicting.prediction import HandPrediction, no_hand
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from render.rasterise import rasterise
from tests.recordings import EMPTY, write_recording, write_skeleton
from util.joints import ICVL16, MSRA21, SHREC22, JointSet

HAND_MM = 450.0
OPTICS: dict[str, tuple[Intrinsics, tuple[int, int]]] = {
    "small": (icvl.CAMERA, icvl.SIZE),
    "msra": (msra.CAMERA, msra.SIZE),
    "gestures": (gestures.CAMERA, gestures.SIZE),
    "nyu": (nyu.CAMERA, nyu.SIZE),
}


@cache
def hands(optics: str, n: int) -> tuple[tuple[np.ndarray, ...], tuple[HandPrediction, ...]]:
    """n images (h, w) of uint16 mm, and the truth as predictions, in the camera of images that show right hands."""
    intrinsics, size = OPTICS[optics]
    layer, camera = HandLayer(load_hand_model()), Camera.of(*intrinsics)
    images, truth = [], []
    for i in range(n):
        turn = torch.tensor([[0.1 * i, 0.0, -0.6 + 0.4 * i]])
        pose, shape = torch.full((1, 45), 0.03 * i), torch.full((1, 10), 0.2 * i)
        centre = torch.tensor([[12.0 * i - 20, 6.0 * i - 10, HAND_MM + 7 * i]])
        mesh = layer(turn, pose, shape)
        shift = centre - mesh.joints_m.mean(1) * 1000
        vertices, joints = mesh.placed(torch.ones(1, 1), shift, 1.0)
        pixels = camera.project(vertices)
        pixels[..., :2] -= 0.5  # the rasteriser's samples stand at whole numbers, a sensor's pixels half a one further
        images.append(rasterise(pixels, layer.faces, (size[1], size[0]))[0].numpy().round().astype(np.uint16))
        params = HandParams(turn, pose, shape, torch.ones(1, 1), (shift - centre) / 125)
        truth.append(
            HandPrediction(
                frame=f"{i}",
                status="ok",
                confidence=0.5 + i / 100,
                side="right",
                joints_mm=joints[0].numpy(),
                vertices_mm=vertices[0, :778].numpy(),
                params=params.vector()[0].numpy(),
                centre_mm=centre[0].numpy(),
                cube_mm=250.0,
                measures={"surface_mm": 1.0 + i},
            )
        )
    return tuple(images), tuple(truth)


def true_annotations(source: Source, truth: tuple[HandPrediction, ...], without: tuple[int, ...] = ()) -> Annotations:
    """The truth of frame after frame (again and again), and no hand in some."""
    rows = range(len(source))
    found = [no_hand(source.files[k], 250.0) if k in without else truth[k % len(truth)] for k in rows]
    return Annotations.of_predictions(found, ["a test says so" if k in without else "" for k in rows])


def joints(truth: tuple[HandPrediction, ...], joint_set: JointSet) -> np.ndarray:
    """(n, joints, 3) of the truth."""
    keypoints = torch.from_numpy(np.stack([hand.joints_mm for hand in truth])).double()
    return joint_set.from_mano21(keypoints).numpy()


def write_folder(root: Path, n: int = 4) -> None:
    """Images and camera.json; the last image shows nothing."""
    images, _ = hands("small", n)
    root.mkdir(parents=True)
    for k, image in enumerate(images):
        cv2.imwrite(str(root / f"{k + 8}.png"), image if k < n - 1 else np.zeros_like(image))
    fx, fy, cx, cy = icvl.CAMERA
    (root / "camera.json").write_text(f'{{"fx": {fx}, "fy": {fy}, "cx": {cx}, "cy": {cy}}}')


def write_gestures(root: Path, layout: gestures.Layout, n: int = 3, skeletons: bool = True) -> None:
    """Subjects 2 and 7 with a recording of n frames; the second one's last frame has no box and shows nothing."""
    images, truth = hands("gestures", n)
    uvz = _uvz(joints(truth, SHREC22), gestures.CAMERA, 640) / (1, 1, 1000)
    root.mkdir(parents=True)
    for gesture, subject in ((1, 2), (3, 7)):
        stored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        boxes = [" ".join(map(str, cv2.boundingRect((image > 0).astype(np.uint8)))) for image in stored]
        if subject == 7:
            stored[-1], boxes[-1] = EMPTY, "0 0 0 0"
        rows = [f"{k} {box}" for k, box in enumerate(boxes)]
        folder = write_recording(root, layout, f"{gesture} 1 {subject} 1", list(zip(stored, rows, strict=True)))
        if skeletons:
            write_skeleton(folder, layout, uvz)
    if layout is shrec.LAYOUT:
        lines = (f"{g} 1 {s} 1 {g} {2 * g - 1} {n}\n" for g, s in ((1, 2), (3, 7)))
        (root / "train_gestures.txt").write_text("".join(lines))
    else:
        (root / dhg.TRIMMING).write_text(f"1 1 2 1 1 {n - 1}\n3 1 7 1 0 {n - 2}\n")


def write_icvl(root: Path, n: int = 3) -> tuple[str, ...]:
    """Published layout: n training frames of which one is a turned copy, and a test frame in each sequence."""
    images, truth = hands("small", n)
    uvd = _uvz(joints(truth, ICVL16), icvl.CAMERA, 320).reshape(n, -1)
    lines = [" ".join(f"{value:.4f}" for value in row) for row in uvd]
    names = [f"2014031211{k:02}/image_0000.png" for k in range(n - 1)] + ["-45/image_0000.png"]
    tests = ("test_seq_1/a.png", "test_seq_2/b.png")
    for k, name in [*enumerate(names), *enumerate(tests)]:
        path = root / "Depth" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.ascontiguousarray(images[k][:, ::-1]))
    (root / "train.txt").write_text("".join(f"{name} {lines[k]} \n" for k, name in enumerate(names)))
    for k, name in enumerate(tests):
        (root / f"test_seq_{k + 1}.txt").write_text(f"{name} {lines[k]}\n\n")
    return tuple(names)


def write_msra(root: Path, subjects: tuple[int, ...] = (0, 3)) -> None:
    """Subjects with a frame a posture, of posture 1 two."""
    images, truth = hands("msra", 2)
    rows = joints(truth, MSRA21) * (1, -1, -1)
    for subject in subjects:
        for posture in msra.POSTURES:
            folder = root / f"P{subject}/{posture}"
            folder.mkdir(parents=True)
            own = 2 if posture == "1" else 1
            lines = (" ".join(f"{value:.4f}" for value in row.reshape(-1)) for row in rows[:own])
            (folder / "joint.txt").write_text(f"{own}\n" + "".join(f"{line}\n" for line in lines))
            for k in range(own):
                left, top, width, height = cv2.boundingRect((images[k] > 0).astype(np.uint8))
                header = struct.pack("<6I", 320, 240, left, top, left + width, top + height)
                box = images[k][top : top + height, left : left + width].astype("<f4")
                (folder / f"{k:06d}_depth.bin").write_bytes(header + box.tobytes())


def write_nyu(root: Path, n: int = 3) -> None:
    """n test frames of view 0, and labels of three views."""
    images, truth = hands("nyu", n)
    (root / "test").mkdir(parents=True)
    for k, image in enumerate(images):
        stored = np.stack([image & 255, image >> 8, np.zeros_like(image)], -1).astype("u1")
        cv2.imwrite(str(root / f"test/depth_1_{k + 1:07d}.png"), stored)
    labels = nyu36(Annotations.of_predictions(truth, [""] * n)) * (1, -1, 1)
    whole = np.stack([labels] * 3)
    savemat(root / "test/joint_data.mat", {"joint_xyz": whole, "joint_uvd": np.zeros_like(whole)})


def _uvz(points_mm: np.ndarray, camera: Intrinsics, width: int) -> np.ndarray:
    """Pixels of the mirrored image, and mm."""
    fx, fy, cx, cy = camera
    x, y, z = np.moveaxis(points_mm, -1, 0)
    return np.stack([width - (fx * x / z + cx), fy * y / z + cy, z], -1)
