"""Files of strangers: nothing in them is run, nothing that is no file is waited for; broken packages are told."""

import ast
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dataloader.datasets.camera_file import read_camera
from dataloader.datasets.frames import read_stored
from dataloader.frame import decode_image
from dataloader.mat_file import read_mat_array
from dataloader.packing import load_packed
from dataloader.sources import frames_of
from render.hand_model import load_hand_model
from util.arrays import read_npy, read_npz
from util.checkpoint import read_checkpoint
from util.errors import UserError
from util.files import read_json
from util.marks import read_marks
from util.predictions import read_predictions
from util.reading import open_plain
from util.training_state import load_training_state

CAMERA = (475.0, 475.0, 320.0, 240.0)
REMEDY = "mend it"
ANY_FILE: dict[str, Callable[[Path], object]] = {
    "image": decode_image,
    "array": lambda path: read_npy(path, REMEDY),
    "mapped": lambda path: read_npy(path, REMEDY, mapped=True),
    "npz": lambda path: read_npz(path, REMEDY),
    "matlab": lambda path: read_mat_array(path, "joint_xyz", REMEDY),
    "json": read_json,
    "camera": read_camera,
    "marks": read_marks,
    "predictions": lambda path: read_predictions(path, 14),
    "hand": load_hand_model,
    "pickle": lambda path: load_hand_model(path.rename(path.with_suffix(".pkl"))),
    "weights": read_checkpoint,
    "published": lambda path: read_checkpoint(path.rename(path.with_suffix(".pth"))),
    "state": load_training_state,
    "stack": lambda path: frames_of(str(path.rename(path.with_suffix(".npy"))), CAMERA),
}
"""Readers that take one file of any name."""
ALLOWED_READERS = {
    "torch.load": {"util/torch_file.py", "util/training_state.py"},
    "np.memmap": {"util/arrays.py", "dataloader/packing.py"},
    "np.fromfile": {"util/arrays.py"},
    "pickle._Unpickler": {"render/hand_model.py"},
}
"""What makes arrays or objects of a file, and where that is allowed."""
DANGEROUS = {
    *(
        "torch.load",
        "torch.jit.load",
        "np.load",
        "np.memmap",
        "np.fromfile",
        "np.genfromtxt",
        "numpy.load",
        "joblib.load",
    ),
    *(
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "pickle._Unpickler",
        "pickle.loads",
        "_pickle.loads",
        "dill.load",
    ),
    *("loadmat", "scipy.io.loadmat", "yaml.load", "yaml.unsafe_load", "marshal.loads", "shelve.open", "eval", "exec"),
    *(
        "shutil.unpack_archive",
        "tarfile.open",
        "torch.hub.load",
        "os.system",
        "subprocess.call",
        "__import__",
        "compile",
    ),
}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def test_objects_are_made_of_files_in_few_places(root: Path) -> None:
    found: dict[str, set[str]] = {}
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root).as_posix()
        if place.startswith(("tests/", ".venv/", "runs/")) or "/." in place:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call | ast.ClassDef):
                called = [node.func] if isinstance(node, ast.Call) else node.bases
                for name in {_dotted(part) for part in called} & DANGEROUS:
                    found.setdefault(name, set()).add(place)
                if isinstance(node, ast.Call) and _dotted(node.func) == "torch.load":
                    options = {word.arg: word.value for word in node.keywords}
                    assert ast.unparse(options["weights_only"]) == "True", place
            if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "shelve", "scipy.io", "yaml"):
                names = {alias.name for alias in node.names}
                writers = ("bench/fuzz_files.py", "annotating/formats/nyu.py")
                assert place in writers and names == {"savemat"}, f"{place} imports {names}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", place
            # members of archives are read by name and never written, so that names in them lead nowhere
            assert not (isinstance(node, ast.Attribute) and node.attr in ("extract", "extractall")), place
    benches = {place for places in found.values() for place in places if place.startswith("bench/")}
    assert benches <= {"bench/fuzz_files.py", "bench/fuzz_readers.py", "bench/reference_folder.py"}, benches
    assert {
        name: {p for p in places if not p.startswith("bench/")} for name, places in found.items() if name != "np.load"
    } == ALLOWED_READERS
    assert all(place.startswith("bench/") for place in found.get("np.load", ()))


class _Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.trace,))


def test_pickles_in_files_are_not_run(tmp_path: Path) -> None:
    bomb, trace = _Runs(tmp_path / "run"), tmp_path / "run"
    pickle.loads(pickle.dumps(bomb))
    assert trace.exists()  # it is one that works
    trace.unlink()
    np.save(tmp_path / "a.npy", np.array([[bomb]], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", depth=np.array([[bomb]], object), joints_mm=np.array([bomb], object))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"v_template": bomb}))
    torch.save({"model": bomb}, tmp_path / "a.pth")
    torch.save({"model": bomb}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"step": bomb}, tmp_path / "last.pt")
    (tmp_path / "frames.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    for read, path in (
        (read_stored, tmp_path / "a.npy"),
        (lambda path: frames_of(str(path), CAMERA), tmp_path / "a.npy"),
        (lambda path: frames_of(str(path), CAMERA), tmp_path / "a.npz"),
        (lambda path: read_predictions(path, 14), tmp_path / "a.npz"),
        (load_hand_model, tmp_path / "a.npz"),
        (load_hand_model, tmp_path / "a.pkl"),
        (read_checkpoint, tmp_path / "a.pth"),
        (read_checkpoint, tmp_path / "old.pth"),
        (load_training_state, tmp_path / "last.pt"),
        (lambda path: load_packed(path.parent), tmp_path / "frames.npz"),
    ):
        with pytest.raises(UserError, match=path.parent.name):
            read(path)
        assert not trace.exists()


@pytest.mark.parametrize("reader", ANY_FILE)
def test_what_is_no_plain_file_is_refused_at_once(reader: str, tmp_path: Path) -> None:
    read, path = ANY_FILE[reader], tmp_path / "a.npz"
    path.mkdir()
    for make in (None, lambda: os.mkfifo(path), lambda: path.symlink_to(path), lambda: path.write_bytes(b"")):
        if make is not None:
            make()
        with pytest.raises(UserError, match=r"/a\.(npz|pkl|pth|npy)"):
            read(path)
        for left in tmp_path.iterdir():
            left.rmdir() if left.is_dir() and not left.is_symlink() else left.unlink()
    with pytest.raises(UserError, match="nothing"):
        open_plain(tmp_path / "nothing", REMEDY)
    with pytest.raises(UserError):
        open_plain(Path("a\0b"), REMEDY)
    with pytest.raises(UserError):
        open_plain(tmp_path / ("a" * 300), REMEDY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("reader", ANY_FILE)
def test_a_file_that_may_not_be_read_is_told(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(UserError, match=r"/a\.(npz|pkl|pth|npy)"):
        ANY_FILE[reader](path)


BROKEN = {
    "present": "VALUE = 1",
    "raises": "raise RuntimeError('compiled for\\nanother machine')",
    "exits": "raise SystemExit(3)",
    "syntax": "def (",
    "library": "raise ImportError('libfoo.so.3: cannot open shared object file')",
    "needs": "import a_package_that_is_not_there",
}


def test_optional_packages_absent_present_and_broken(root: Path, tmp_path: Path) -> None:
    """In a process of its own, with packages that are really there and really broken."""
    for name, text in BROKEN.items():
        (tmp_path / f"broken_{name}.py").write_text(text)
    for name in ("rerun", "pyrealsense2", "onnxruntime", "matplotlib"):
        (tmp_path / f"{name}.py").write_text(BROKEN["raises"])
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(tmp_path)!r})
from util.errors import UserError
from util.optional import optional
from util.plot import check_figure_path
from predicting.output.recording import load_rerun
from predicting.onnx_engine import OnnxEngine
from dataloader.realsense import live_frames
def told(call, *words):
    try:
        call(*words)
        print("fine")
    except UserError as error:
        print(error)
for name in {["present", "absent", *list(BROKEN)[1:]]!r}:
    told(optional, "broken_" + name, "It needs " + name, "do without")
told(check_figure_path, Path("a.png"))
told(load_rerun)
told(OnnxEngine, Path("a.onnx"))
told(lambda: next(live_frames()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    fine, absent, *broken = done.stdout.splitlines()
    assert fine == "fine" and absent == "It needs absent, which is not installed: do without."
    assert len(broken) == len(BROKEN) - 1 + 4, done.stdout
    assert all("which is installed but broken (" in line and line.endswith(".") for line in broken), broken
