"""Hand model files: the open hand (npz) and MANO (pkl as distributed or cleaned, or npz), read into one type.

MANO's pickle holds chumpy objects. chumpy itself is never imported: an unpickler with a short allow-list rebuilds the
few array types in it and refuses everything else, so a pickle that would run code is an error, not a danger.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from util.errors import UserError

OPEN_HAND = Path(__file__).resolve().parent.parent / "MANO" / "open_hand_right.npz"
MANO_ADDRESS = "https://mano.is.tue.mpg.de"
N_VERTICES = 778
N_JOINTS = 16


@dataclass(frozen=True)
class HandModel:
    """Arrays of a right hand in MANO's layout (Romero et al., Embodied Hands, SIGGRAPH Asia 2017); metres, float64."""

    v_template: np.ndarray
    """Rest surface, (778, 3)."""
    faces: np.ndarray
    """Triangles, counter-clockwise from outside, open at the wrist, (f, 3)."""
    weights: np.ndarray
    """Linear blend skinning, (778, 16)."""
    shapedirs: np.ndarray
    """Metres per unit of shape coefficient, (778, 3, 10)."""
    posedirs: np.ndarray | None
    """Metres per entry of (rotation matrix - identity) of joints 1-15, (778, 3, 135); None for a model without them."""
    joint_regressor: np.ndarray
    """Joints from vertices, (16, 778)."""
    parents: np.ndarray
    """Parent of each joint, -1 for the wrist, (16,)."""
    hands_components: np.ndarray
    """Rows turn pose coefficients into the 15 axis-angles, (45, 45)."""
    hands_mean: np.ndarray
    """Axis-angles at zero coefficients, (45,)."""
    tip_vertex_ids: np.ndarray
    """Finger-tip vertices: index, middle, pinky, ring, thumb, (5,)."""


class _ChumpyArray:
    """Stands in for `chumpy.ch.Ch`: an array under the key x."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        return np.asarray(_plain(self.state["x"]))


class _ChumpySelect(_ChumpyArray):
    """Stands in for `chumpy.reordering.Select`: chosen entries of another array, reshaped."""

    def array(self) -> np.ndarray:
        chosen = np.asarray(_plain(self.state["a"])).ravel()[np.asarray(self.state["idxs"])]
        return chosen.reshape(self.state.get("preferred_shape", chosen.shape))


def _plain(value: Any) -> Any:
    return value.array() if isinstance(value, _ChumpyArray) else value


def _reconstruct(cls: type, base: type, state: Any) -> Any:
    """`copyreg._reconstructor`, which the oldest pickles make objects with, for array types alone."""
    if cls not in (_ChumpyArray, _ChumpySelect, scipy.sparse.csc_matrix) or base is not object or state is not None:
        raise pickle.UnpicklingError("only arrays may be reconstructed")
    return cls.__new__(cls)


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, which numpy pickles use to carry bytes, for latin1 alone."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in encoding {encoding!r} are not expected")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy.core.multiarray", "scalar"): np._core.multiarray.scalar,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "scalar"): np._core.multiarray.scalar,  # type: ignore[attr-defined]
    ("scipy.sparse.csc", "csc_matrix"): scipy.sparse.csc_matrix,
    ("scipy.sparse._csc", "csc_matrix"): scipy.sparse.csc_matrix,
    ("chumpy.ch", "Ch"): _ChumpyArray,
    ("chumpy.reordering", "Select"): _ChumpySelect,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "set"): set,  # chumpy keeps one of names beside each array
    ("builtins", "set"): set,
    ("_codecs", "encode"): _encode,
}


class _HandUnpickler(pickle.Unpickler):
    """Knows the array types of MANO's file and refuses everything else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in a hand model") from None


def _read_pickle(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        try:
            data = _HandUnpickler(file, encoding="latin1").load()
            if not isinstance(data, dict):
                raise pickle.UnpicklingError("it does not hold a dictionary")
            return {key: _plain(value) for key, value in data.items()}
        except Exception as error:  # a damaged pickle raises nearly anything
            raise UserError(f"{path} is not a MANO pickle ({error}): take a fresh MANO_RIGHT.pkl.") from None


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except Exception as error:  # zip, npy header and pickle errors are all the same to a user
        raise UserError(f"{path} cannot be read as a hand model ({error}): take a fresh copy.") from None


def load_hand_model(path: Path | None = None) -> HandModel:
    """Read a hand model.

    path: an .npz or .pkl in MANO's layout; None for the open hand that comes with the project.
    Raises UserError when the file is missing, damaged, or an array is absent, mis-shaped or not finite.
    """
    path = OPEN_HAND if path is None else Path(path)
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: register at {MANO_ADDRESS}, accept the licence, download the models and put "
            f"MANO_RIGHT.pkl into the folder MANO/, or leave the hand model unset to use the open hand."
        )
    data = _read_pickle(path) if path.suffix == ".pkl" else _read_npz(path)
    data.setdefault("faces", data.get("f"))
    if data.get("parents") is None and data.get("kintree_table") is not None:
        data["parents"] = np.asarray(data["kintree_table"])[0]
    data.setdefault("hands_components", np.eye(45))
    data.setdefault("hands_mean", np.zeros(45))
    data.setdefault("tip_vertex_ids", np.array([333, 444, 672, 555, 744]))
    shapes = {
        "v_template": (N_VERTICES, 3),
        "weights": (N_VERTICES, N_JOINTS),
        "shapedirs": (N_VERTICES, 3, 10),
        "J_regressor": (N_JOINTS, N_VERTICES),
        "parents": (N_JOINTS,),
        "hands_components": (45, 45),
        "hands_mean": (45,),
        "tip_vertex_ids": (5,),
        "faces": (None, 3),
    }
    if data.get("posedirs") is not None:
        shapes["posedirs"] = (N_VERTICES, 3, 135)
    arrays = {name: _checked(path, name, data.get(name), shape) for name, shape in shapes.items()}
    for name in ("faces", "tip_vertex_ids"):
        ids = arrays[name] = arrays[name].astype(np.int64)
        if ids.min() < 0 or ids.max() >= N_VERTICES:
            raise UserError(f"{path}: '{name}' names vertices outside 0-{N_VERTICES - 1}; take a fresh copy.")
    parents = arrays["parents"].astype(np.int64)
    parents[0] = -1  # MANO stores the wrist's as 2^32 - 1
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise UserError(f"{path}: 'parents' is no tree in joint order; take a fresh copy.")
    return HandModel(
        v_template=arrays["v_template"],
        faces=arrays["faces"],
        weights=arrays["weights"],
        shapedirs=arrays["shapedirs"],
        posedirs=arrays.get("posedirs"),
        joint_regressor=arrays["J_regressor"],
        parents=parents,
        hands_components=arrays["hands_components"],
        hands_mean=arrays["hands_mean"],
        tip_vertex_ids=arrays["tip_vertex_ids"],
    )


def _checked(path: Path, name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    if value is None:
        raise UserError(f"{path} has no array '{name}': it is not a hand model in MANO's layout.")
    if scipy.sparse.issparse(value):
        value = value.toarray()
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{path}: '{name}' is not a numeric array; take a fresh copy.") from None
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise UserError(f"{path}: '{name}' has shape {array.shape}, expected {shape}; is this a hand of 778 vertices?")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: '{name}' holds values that are not finite; take a fresh copy.")
    return array
