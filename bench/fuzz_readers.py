"""Every reader of files, with a small good file in the real format, and what it promises of what it accepts."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from annotating.annotations import Annotations
from bench import fuzz_mutations as damage
from bench.fuzz_files import ROOTS, as_bytes, hand_pickle, small_weights, training_state
from bench.fuzz_mutations import Mutation
from config import DataConfig
from dataloader.datasets.camera_file import read_camera
from dataloader.datasets.catalogue import list_split
from dataloader.datasets.gestures import Gesture
from dataloader.frame import FARTHEST_MM, NEAREST_MM
from dataloader.prepare import prepare_frame
from dataloader.sources import STACK_NAMES, frames_of
from dataloader.store import FrameStore
from gesture.skeletons import read_skeletons
from predicting.engine import load_network
from predicting.output.tables import read_predictions_npz
from predicting.sharded import are_predictions, predictions_of
from render.hand_model import load_hand_model
from render.parameter_files import read_parameter_files
from training.kept_scores import are_scores, found_of
from util.benchmarks import BENCHMARKS
from util.checkpoint import read_checkpoint
from util.cli import parse_launch
from util.joints import SHREC22
from util.marks import read_marks
from util.predictions import read_predictions
from util.settings import saved_experiment, to_plain
from util.shards import Shards
from util.training_state import load_training_state

MOST_MM = 1e13
"""No place in millimetres may come out of numbers up to a million pixels and a million metres beyond this."""

SHARD = "shard-00000-of-00001.npz"
SHARDS = {"predicted": are_predictions, "annotated": Annotations.fit, "scored": are_scores}
"""Work that is kept in shards, and what looks at their columns."""


class Wrong(Exception):
    """A damaged file was accepted with a meaning that its reader does not promise."""


@dataclass(frozen=True)
class Reader:
    """A reader and a good file."""

    files: dict[str, bytes]
    """What lies in its folder."""
    file: str
    """Which of them is damaged."""
    read: Callable[[Path], None]
    """Read the folder; raises Wrong where what comes back is not as promised."""
    damage: tuple[Mutation, ...] = ()
    """What only files of this kind take."""
    names_file: bool = True
    """Whether a refusal names the file."""

    @property
    def good(self) -> bytes:
        """The file before it is damaged."""
        return self.files[self.file]

    def write(self, folder: Path) -> None:
        """The good files."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


@cache
def readers() -> dict[str, Reader]:
    """All of them by name."""
    return dict(_data_sets()) | dict(_others())


def _data_sets() -> Iterator[tuple[str, Reader]]:
    text, png = damage.TEXT, damage.PNG
    hits: dict[str, dict[str, tuple[str, str, tuple[Mutation, ...]]]] = {
        "nyu": {
            "image": ("test/depth_1_0000001.png", "test", png),
            "labels": ("test/joint_data.mat", "test", ()),
            "centres": ("test/center_test_0_refined.txt", "test", text),
            "parameters": ("posePara_lm_collosion/nyu-test-0-pose.txt", "test", text),
        },
        "icvl": {
            "image": ("Depth/test_seq_1/a.png", "test", png),
            "labels": ("train.txt", "train", text),
            "centres": ("center_train_refined.txt", "train", text),
        },
        "msra": {
            "image": ("P0/1/000000_depth.bin", "test", ()),
            "labels": ("P0/1/joint.txt", "test", text),
            "centres": ("center_test_0_refined.txt", "test", text),
            "parameters": ("posePara_lm_collosion/msra-glb.txt", "test", text),
        },
        "hands17": {
            "image": ("training/images/image_D00000001.png", "train", png),
            "labels": ("training/Training_Annotation.txt", "train", text),
            "boxes": ("frame/BoundingBox.txt", "test", text),
            "centres": ("center_train_refined.txt", "train", text),
        },
        "shrec": {
            "image": ("gesture_1/finger_1/subject_2/essai_1/0_depth.png", "test", png),
            "list": ("train_gestures.txt", "test", text),
            "boxes": ("gesture_1/finger_1/subject_2/essai_1/general_informations.txt", "test", text),
            "labels": ("gesture_1/finger_1/subject_2/essai_1/skeletons_world.txt", "test", text),
        },
        "dhg": {
            "image": ("gesture_1/finger_1/subject_1/essai_1/depth_1.png", "test", png),
            "trimming": ("informations_troncage_sequences.txt", "test", text),
            "boxes": ("gesture_1/finger_1/subject_1/essai_1/general_information.txt", "test", text),
        },
        "frames": {
            "image": ("a.png", "test", png),
            "tiff": ("a.tif", "test", ()),
            "array": ("a.npy", "test", damage.NPY),
            "camera": ("camera.json", "test", damage.JSON),
            "boxes": ("boxes.txt", "test", text),
            "centres": ("centres.txt", "test", text),
            "split": ("test.txt", "test", text),
        },
    }
    for name, of_kind in hits.items():
        files = ROOTS[name]()
        for kind, (file, split, special) in of_kind.items():
            kept = files if kind == "split" else {path: files[path] for path in files if path != "test.txt"}
            if name == "frames" and kind in ("image", "tiff", "array"):
                kept = {path: files[path] for path in (file, "camera.json")}
            yield f"{name}.{kind}", Reader(kept, file, partial(_list, name=name, split=split, hit=file), special)


def _others() -> Iterator[tuple[str, Reader]]:
    stores, hands = ROOTS["store"](), ROOTS["predictions"]()
    for name, special in (("frames.npz", damage.ZIP), ("pixels.u16", ()), ("observed.bits", ())):
        yield f"store.{name}", Reader(stores, name, _store, special)
    stack = ROOTS["stacks"]()
    yield "stack.npy", Reader({"a.npy": stack["a.npy"]}, "a.npy", partial(_stack, name="a.npy"), damage.NPY)
    yield "stack.npz", Reader({"a.npz": stack["a.npz"]}, "a.npz", partial(_stack, name="a.npz"), damage.ZIP)
    yield "camera", Reader({"camera.json": ROOTS["frames"]()["camera.json"]}, "camera.json", _camera, damage.JSON)
    parameters = {
        f"a-{part}.txt": ROOTS["msra"]()[f"posePara_lm_collosion/msra-{part}.txt"] for part in ("pose", "glb", "shape")
    }
    yield "parameters", Reader(parameters, "a-shape.txt", _parameters, damage.TEXT)
    for name, special in (("a.txt", damage.TEXT), ("named.txt", damage.TEXT), ("a.npz", damage.ZIP)):
        yield f"predictions.{name}", Reader({name: hands[name]}, name, partial(_predictions, name=name), special)
    for name, special in (("a_world.txt", damage.TEXT), ("a.json", damage.JSON), ("b.npz", damage.ZIP)):
        yield f"gesture.{name}", Reader({name: hands[name]}, name, partial(_skeletons, name=name), special)
    yield "hands.npz", Reader({"hands.npz": hands["hands.npz"]}, "hands.npz", _hands, damage.ZIP)
    for name in SHARDS:
        yield f"shards.{name}", Reader({SHARD: hands[f"{name}.npz"]}, SHARD, partial(_shard, kind=name), damage.ZIP)
    yield "marks", Reader({"marks.csv": hands["marks.csv"]}, "marks.csv", _marks, damage.TEXT)
    models = {"hand.npz": as_bytes(np.savez, **ROOTS["hand"]()), "hand.pkl": hand_pickle(ROOTS["hand"]())}
    for name, special in (("hand.npz", damage.ZIP), ("hand.pkl", ())):
        yield name, Reader({name: models[name]}, name, partial(_hand, name=name), special)
    with tempfile.TemporaryDirectory() as folder:
        weights = small_weights(Path(folder))
        state = training_state(Path(folder))
    for name, special in (("ours.safetensors", damage.TENSORS), ("published.pth", damage.ZIP), ("old.pth", ())):
        yield f"weights.{name}", Reader({name: weights[name]}, name, partial(_weights, name=name), special)
    yield "generator.pth", Reader({"generator.pth": weights["generator.pth"]}, "generator.pth", _generator, damage.ZIP)
    yield "state", Reader({"last.pt": state}, "last.pt", _state, damage.ZIP)
    yield "config", Reader({"config.json": weights["config.json"]}, "config.json", _config, damage.JSON)
    words = b"pretrain-compact --optim.steps 5 --optim.clip 2.5 --sampler.scale-range 0.9 1.1 --device cpu"
    yield "overrides", Reader({"words.txt": words}, "words.txt", _overrides, damage.TEXT, names_file=False)


def _list(folder: Path, name: str, split: str, hit: str) -> None:
    """A data set's listing, its hand parameters, and its first frames as they are prepared."""
    config = DataConfig(name=name, root=folder, keep=False)  # type: ignore[arg-type]
    listing = list_split(config, split)  # type: ignore[arg-type]
    n = len(listing)
    inside = all(not file.startswith("/") and ".." not in file.split("/") for file in listing.files)
    _promise(inside, "a name leads out of the folder")
    _promise(listing.cubes_mm.shape == (n, 3) and bool((listing.cubes_mm > 0).all()), "cubes")
    _promise(all(np.isfinite(listing.camera)) and min(listing.camera[:2]) > 0, "camera")
    if listing.centres_mm is not None:
        _promise(listing.centres_mm.shape == (n, 3) and _small(listing.centres_mm, True), "centres")
    if listing.joints_mm is not None:
        _promise(listing.joints_mm.shape == (n, len(listing.joints), 3) and _small(listing.joints_mm, True), "joints")
    if listing.boxes is not None:
        ends = listing.boxes
        _promise(ends.shape == (n, 4) and bool((ends >= 0).all()), "boxes")
        _promise(bool(((ends[:, 2] > ends[:, 0]) & (ends[:, 3] > ends[:, 1])).all()), "an empty box")
    if (params := listing.read_parameters()) is not None:
        _promise(params.vector().shape == (n, 62) and _small(params.vector().numpy()), "parameters")
    chosen = [k for k in range(n) if listing.files[k] == hit] or list(range(min(n, 1)))
    for index in chosen:
        depth = listing.depth(index)
        _promise(depth.ndim == 2 and depth.dtype in (np.uint16, np.float32) and depth.size > 0, "depth of another kind")
        _promise(_small(depth.astype(np.float64)) and bool((depth >= 0).all()), "depth that is none")
        if not isinstance(found := prepare_frame(listing, index, 0, 128), str):
            crop = FrameStore.from_frames([found]).batch([0]).crop
            _promise(bool(crop.depth.isfinite().all()) and float(crop.depth.abs().max()) <= 1, "a crop beyond its cube")


def _store(folder: Path) -> None:
    store = FrameStore.load(folder)
    if len(store):
        sample = store.batch(range(len(store)))
        _promise(bool(sample.crop.depth.isfinite().all()) and float(sample.crop.depth.abs().max()) <= 1, "a crop")


def _stack(folder: Path, name: str) -> None:
    frames = frames_of(str(folder / name), (475.0, 475.0, 320.0, 240.0))
    for k in range(min(len(frames), 3)):
        depth = frames[k].depth_mm
        _promise(depth.ndim == 2 and bool(np.isfinite(depth).all()) and bool((depth >= 0).all()), "depth that is none")
    if (folder / name).suffix == ".npz":
        with np.load(folder / name, allow_pickle=False) as twin:
            arrays = {key: twin[key] for key in twin.files}
        fitting = [array for array in arrays.values() if array.ndim in (2, 3) and array.size]
        depth = next((arrays[key] for key in STACK_NAMES if key in arrays), fitting[0])
    else:
        depth = np.load(folder / name, allow_pickle=False)
    first = np.asarray(depth if depth.ndim == 2 else depth[0]).astype(np.float32)
    first = np.where((first >= NEAREST_MM) & (first <= FARTHEST_MM), first, 0)
    _promise(bool(np.array_equal(frames[0].depth_mm.astype(np.float32), first)), "other numbers than numpy's reader")


def _camera(folder: Path) -> None:
    camera = read_camera(folder / "camera.json")
    _promise(bool(np.isfinite([camera.fx, camera.fy, camera.cx, camera.cy, camera.unit_mm]).all()), "not finite")
    _promise(camera.fx > 0 and camera.fy > 0 and camera.unit_mm > 0, "a length below 0")


def _skeletons(folder: Path, name: str) -> None:
    gesture = Gesture(1, 1, 2, 1, 2)
    found = read_skeletons(folder / name, gesture, SHREC22)
    _promise(found.joints_mm.shape == (2, 22, 3) and _small(found.joints_mm), "joints of a gesture")


def _parameters(folder: Path) -> None:
    vector = read_parameter_files(folder / "a").vector()
    _promise(vector.shape[1] == 62 and _small(vector.numpy()), "parameters")


def _predictions(folder: Path, name: str) -> None:
    file = read_predictions(folder / name, 14, BENCHMARKS["nyu"].joints.names)
    _promise(file.values.shape[1:] == (14, 3) and len(file.values) > 0 and _small(file.values), "joints")
    _promise(len(file.frames) in (0, len(file.values)), "names")


def _hands(folder: Path) -> None:
    for hand in read_predictions_npz(folder / "hands.npz"):
        _promise(_small(hand.joints_mm, True) and 0 <= hand.confidence <= 1 and hand.cube_mm > 0, "a hand")


def _shard(folder: Path, kind: str) -> None:
    shards = Shards(folder, ["a.png", "b.png"], sound=SHARDS[kind])
    columns = shards.merged()
    _promise(all(len(column) == 2 for column in columns.values()), "a row for each frame")
    if kind == "predicted":
        for hand in predictions_of(columns, shards.names):
            _promise(_small(hand.joints_mm, True) and 0 <= hand.confidence <= 1 and hand.cube_mm > 0, "a hand")
    elif kind == "scored":
        _promise(all(found["joints_mm"].shape[2:] == (3,) for found in found_of(columns).values()), "joints")
    else:
        _promise(Annotations.of_columns(columns).joints_mm.shape == (2, 21, 3), "joints")


def _marks(folder: Path) -> None:
    marks = read_marks(folder / "marks.csv")
    _promise(marks.uv.shape == (len(marks), 2) and _small(marks.uv) and _small(marks.depth_mm, True), "marks")
    _promise(all(not f.startswith("/") and ".." not in f.split("/") for f in marks.frames), "a name leads out")


def _hand(folder: Path, name: str) -> None:
    model = load_hand_model(folder / name)
    arrays = (model.v_template, model.weights, model.shapedirs, model.joint_regressor, model.hands_components)
    _promise(all(_small(array) for array in arrays) and model.v_template.shape == (778, 3), "arrays")
    _promise(bool((model.faces >= 0).all()) and bool((model.faces < 778).all()) and model.parents[0] == -1, "faces")


def _weights(folder: Path, name: str) -> None:
    network = load_network(folder / name)
    _promise(all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()), "weights not finite")


def _generator(folder: Path) -> None:
    read_checkpoint(folder / "generator.pth").about()


def _state(folder: Path) -> None:
    _promise(isinstance(load_training_state(folder / "last.pt"), dict), "no dictionary")


def _config(folder: Path) -> None:
    experiment = saved_experiment(folder)
    _finite(to_plain(experiment))


def _overrides(folder: Path) -> None:
    launch = parse_launch((folder / "words.txt").read_bytes().decode("utf-8", "surrogateescape").split())
    _finite(to_plain(launch.experiment))


def _finite(plain: object) -> None:
    if isinstance(plain, dict | list):
        for item in plain.values() if isinstance(plain, dict) else plain:
            _finite(item)
    _promise(not isinstance(plain, float) or bool(np.isfinite(plain)), "a setting that is not finite")


def _small(array: np.ndarray, missing: bool = False) -> bool:
    """Whether all numbers, those that are NaN left aside where that stands for missing ones, are finite and small."""
    return bool((np.abs(array[~np.isnan(array)] if missing else array) <= MOST_MM).all())


def _promise(kept: bool, what: str) -> None:
    if not kept:
        raise Wrong(what)
