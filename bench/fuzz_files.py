"""Small good files in the real formats, as bytes by their paths: what fuzzing starts from."""

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.sparse
import torch
from scipy.io import savemat

from annotating.annotations import Annotations
from config import COMPACT, EXPERIMENTS
from dataloader.packing import save_packed
from dataloader.patch import cut_patch
from model.network import DualBranchNetwork
from predicting.output.tables import write_predictions_npz
from predicting.prediction import HandPrediction, no_hand
from predicting.sharded import columns_of
from render.hand_layer import HandLayer
from render.hand_model import OPEN_HAND, load_hand_model
from util.benchmarks import BENCHMARKS
from util.checkpoint import save_weights
from util.files import write_json
from util.published import GeneratorSize, generator_shapes, network_shapes
from util.settings import to_plain
from util.shards import Columns, Shards
from util.training_state import save_training_state

Files = dict[str, bytes]
NARROW = replace(
    COMPACT,
    widths=(8, 8, 8, 8),
    second_widths=(8, 8, 8, 8),
    decoder_widths=(8, 8, 8),
    fusion_width=8,
    model_head="linear",
)
"""A network of a few thousand numbers."""


def as_bytes(write: Callable[..., Any], *positional: Any, **named: Any) -> bytes:
    """What a function writes into the file that it takes first."""
    buffer = io.BytesIO()
    write(buffer, *positional, **named)
    return buffer.getvalue()


def hand_depth(width: int, height: int, z: int = 450) -> np.ndarray:
    """(h, w) uint16 mm: something of a hand's size before a wall."""
    depth = np.full((height, width), 1400, np.uint16)
    depth[height // 3 : 2 * height // 3, width // 3 : width // 2] = z
    return depth


def image(depth: np.ndarray, ending: str = ".png") -> bytes:
    """An image file."""
    return cv2.imencode(ending, depth)[1].tobytes()


def rows(table: np.ndarray) -> bytes:
    """Lines of numbers."""
    return as_bytes(np.savetxt, np.asarray(table).reshape(len(table), -1), fmt="%.3f")


def joints(frames: int, count: int, seed: int = 0) -> np.ndarray:
    """(frames, count, 3) about a hand at 450 mm, y down."""
    return np.random.default_rng(seed).normal(0, 40, (frames, count, 3)) + np.array([0, 0, 450])


def parameters(prefix: str, frames: int) -> Files:
    """Files of hand parameters."""
    draw = np.random.default_rng(1)
    return {
        f"{prefix}-{part}.txt": rows(draw.normal(size=(frames, n)))
        for part, n in (("pose", 45), ("glb", 3), ("shape", 10))
    }


def nyu() -> Files:
    xyz = np.repeat(joints(2, 36)[None], 3, axis=0) * (1, -1, 1)
    colour = np.zeros((480, 640, 3), np.uint8)
    depth = hand_depth(640, 480)
    colour[..., 0], colour[..., 1] = depth & 255, depth >> 8
    return {
        "test/joint_data.mat": as_bytes(savemat, {"joint_uvd": xyz, "joint_xyz": xyz}, do_compression=True),
        "test/center_test_0_refined.txt": rows(joints(2, 36).mean(axis=1)),
        **{f"test/depth_1_000000{k}.png": image(colour) for k in (1, 2)},
        **parameters("posePara_lm_collosion/nyu-test-0", 2),
    }


def icvl() -> Files:
    names = ["201403121135/a.png", "201403121135/b.png", "22-5/c.png"]
    uvd = np.tile([160.0, 120, 450], (3, 16))
    label = "".join(f"{name} {' '.join(map(str, row))} \n" for name, row in zip(names, uvd, strict=True)).encode()
    tested = {f"test_seq_{k}.txt": label.replace(b"201403121135", b"test_seq_%d" % k) for k in (1, 2)}
    depth = image(hand_depth(320, 240))
    images = [*names, *(name.replace("201403121135", f"test_seq_{k}") for k in (1, 2) for name in names)]
    return {
        "train.txt": label,
        "center_train_refined.txt": b"0.0 0.0 450.0\n1.5 2.5 450.0\ninvalid\n",
        **tested,
        **{f"Depth/{name}": depth for name in images},
    }


def msra() -> Files:
    from dataloader.datasets.msra import POSTURES

    box = np.full((40, 40), 450, "<f4")
    frame = np.array([320, 240, 140, 100, 180, 140], "<u4").tobytes() + box.tobytes()
    label = b"1\n" + rows(joints(1, 21) * (1, -1, -1))
    return {
        **{f"P0/{posture}/joint.txt": label for posture in POSTURES},
        **{f"P0/{posture}/000000_depth.bin": frame for posture in POSTURES},
        "center_test_0_refined.txt": rows(np.tile([0.0, 0, 450], (17, 1))),
        **parameters("posePara_lm_collosion/msra", 17),
    }


def hands17() -> Files:
    names = [f"image_D0000000{k}.png" for k in (1, 2)]
    depth = image(hand_depth(640, 480))
    label = b"".join(
        f"{name}\t".encode() + row for name, row in zip(names, rows(joints(2, 21)).splitlines(True), strict=True)
    )
    return {
        "training/Training_Annotation.txt": label,
        "frame/BoundingBox.txt": "".join(f"{name} 200 150 330 330\n" for name in names).encode(),
        "frame/test_annotation_frame.txt": label,
        "center_train_refined.txt": b"0 0 450\ninvalid\n",
        **{f"{folder}/images/{name}": depth for folder in ("training", "frame") for name in names},
    }


def shrec() -> Files:
    folder, other = "gesture_1/finger_1/subject_2/essai_1", "gesture_2/finger_1/subject_3/essai_1"
    uv, xyz = np.tile([320.0, 240], (2, 22)), np.tile([0.0, 0, 0.45], (2, 22))
    files: Files = {"train_gestures.txt": b"1 1 2 1 1 1 2\n2 1 3 1 2 3 2\n"}
    for place in (folder, other):
        files |= {f"{place}/{k}_depth.png": image(hand_depth(640, 480)) for k in (0, 1)}
        files |= {f"{place}/general_informations.txt": b"0 250 130 180 200\n33 250 130 180 200\n"}
        files |= {f"{place}/skeletons_image.txt": rows(uv), f"{place}/skeletons_world.txt": rows(xyz)}
    return files


def dhg() -> Files:
    files: Files = {"informations_troncage_sequences.txt": b"1 1 1 1 0 1\n2 1 2 1 0 1\n"}
    for place in ("gesture_1/finger_1/subject_1/essai_1", "gesture_2/finger_1/subject_2/essai_1"):
        files |= {f"{place}/depth_{k}.png": image(hand_depth(640, 480)) for k in (1, 2)}
        files |= {f"{place}/general_information.txt": b"635271234567890123 250 130 180 200\n" * 2}
    return files


def frames() -> Files:
    depth = hand_depth(320, 240)
    return {
        "a.png": image(depth),
        "sub/b.png": image(depth),
        "a.tif": image(depth.astype(np.float32), ".tif"),
        "a.npy": as_bytes(np.save, depth.astype(np.float32)),
        "camera.json": b'{"fx": 290.0, "fy": 290.0, "cx": 160.0, "cy": 120.0, "side": "left", "mirrored": true}',
        "boxes.txt": b"a.png 90 70 180 170\nsub/b.png 90 70 180 170\n",
        "centres.txt": b"a.png -40 0 450\nsub/b.png -40 0 450\n",
        "test.txt": b"a.png\n",
    }


def store() -> Files:
    depth = hand_depth(320, 240)
    camera, centre, cube = (290.0, 290.0, 160.0, 120.0), (-40.0, 0.0, 450.0), (250.0, 250.0, 250.0)
    made = [cut_patch(depth, camera, centre, cube, f"{k}.png", depth < 500, joints(1, 21, k)[0]) for k in range(3)]
    with tempfile.TemporaryDirectory() as place:
        save_packed(
            Path(place) / "kept", made, {"size": 64, "joint_set": "mano21", "mirrored_width": 0}, {"no hand": 1}
        )
        return {path.name: path.read_bytes() for path in (Path(place) / "kept").iterdir()}


def stacks() -> Files:
    stack = np.stack([hand_depth(64, 48) + np.uint16(k) for k in range(3)])
    return {"a.npy": as_bytes(np.save, stack), "a.npz": as_bytes(np.savez_compressed, depth=stack, times=np.arange(3))}


def shard(folder: Path, columns: Columns) -> bytes:
    """The only shard of two frames."""
    shards = Shards(folder, ["a.png", "b.png"])
    shards.run(lambda rows: columns)
    return shards.path(0).read_bytes()


def predictions() -> Files:
    uvd = np.tile([320.0, 240, 450], (3, 14, 1))
    hand = HandPrediction(
        "a.png", "ok", 0.9, "right", np.ones((21, 3), np.float32), np.ones((778, 3), np.float32),
        np.ones(62, np.float32), np.ones(3, np.float32), 250.0, {"iou": 0.8},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        write_predictions_npz(Path(place) / "hands.npz", [hand, no_hand("b.png", 250.0)])
        hands = (Path(place) / "hands.npz").read_bytes()
        both = [hand, no_hand("b.png", 250.0)]
        scored = {"stage1_pixel joints_mm": joints(2, 14).astype(np.float32), "stage1_pixel mean_mm": np.ones(2)}
        shards = {
            "predicted": columns_of(both),
            "annotated": Annotations.of_predictions(both, ["", "nothing"]).columns(),
            "scored": scored,
        }
        kept = {f"{name}.npz": shard(Path(place) / name, columns) for name, columns in shards.items()}
    names = np.array(BENCHMARKS["nyu"].joints.names)
    return {
        "a.txt": rows(uvd),
        "named.txt": b"".join(b"image%d.png " % k + row for k, row in enumerate(rows(uvd).splitlines(True))),
        "a.npz": as_bytes(np.savez_compressed, joints_uvd=uvd, names=names),
        "hands.npz": hands,
        **kept,
        "a_world.txt": rows(np.tile([0.0, 0, 0.45], (2, 22))),
        "a.json": json.dumps([{"frame": f"{k}.png", "joints_mm": joints(1, 21)[0].tolist()} for k in (0, 1)]).encode(),
        "b.npz": as_bytes(np.savez, joints_mm=joints(2, 22), frame=np.array(["0.png", "1.png"])),
        "marks.csv": b"file,joint,u,v,depth_mm\na/b.png,index_tip,10.5,20,450\na/b.png,wrist,1,4.5,\nc.png,none,,,\n",
    }


@cache
def hand() -> dict[str, Any]:
    """Arrays of the open hand without the large ones."""
    with np.load(OPEN_HAND, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "posedirs"}
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}


ROOTS: dict[str, Callable[[], dict[str, Any]]] = {
    made.__name__: cache(made)
    for made in (nyu, icvl, msra, hands17, shrec, dhg, frames, store, stacks, predictions, hand)
}
"""Files of each data set or kind, by path."""


def hand_pickle(arrays: dict[str, Any]) -> bytes:
    """A pickle as MANO's is: arrays and a sparse one."""
    sparse = scipy.sparse.csc_matrix(arrays["J_regressor"])
    return pickle.dumps({**arrays, "J_regressor": sparse, "f": arrays["faces"]}, protocol=2)


def small_weights(folder: Path) -> Files:
    """Weights of both kinds, and the settings of a run."""
    network = DualBranchNetwork(NARROW, HandLayer(load_hand_model()))
    save_weights(folder / "ours.safetensors", network.state_dict(), to_plain(NARROW))
    published = {name: torch.zeros(shape) for name, shape in network_shapes(NARROW).items()}
    generator = {name: torch.zeros(shape) for name, shape in generator_shapes(GeneratorSize(2, 1)).items()}
    write_json(folder / "config.json", to_plain(EXPERIMENTS["demo"]))
    return {
        "ours.safetensors": (folder / "ours.safetensors").read_bytes(),
        "published.pth": as_bytes(lambda file: torch.save({"model": published, "epoch": 3}, file)),
        "old.pth": as_bytes(lambda file: torch.save(published, file, _use_new_zipfile_serialization=False)),
        "generator.pth": as_bytes(lambda file: torch.save(generator, file)),
        "config.json": (folder / "config.json").read_bytes(),
    }


def training_state(folder: Path) -> bytes:
    """What a run goes on with."""
    save_training_state(
        folder / "last.pt", {"step": 3, "weights": {"a": torch.ones(5)}, "generators": [torch.zeros(8)]}
    )
    return (folder / "last.pt").read_bytes()
