"""Hand model files: the open hand (npz) and MANO (pkl as distributed or cleaned, or npz), read into one type.

MANO's pickle holds chumpy objects. chumpy itself is never imported: an unpickler with a short allow-list rebuilds the
few array types in it and refuses everything else, so a pickle that would run code is an error, not a danger.
"""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from util.arrays import read_npz
from util.errors import UserError
from util.reading import is_plain, read_plain, readable

OPEN_HAND = Path(__file__).resolve().parent.parent / "MANO" / "open_hand_right.npz"
MANO_ADDRESS = "https://mano.is.tue.mpg.de"
LARGEST = 2.0**33
"""Of numbers in a hand model: the wrist's parent is stored as 2^32 - 1, all others are small."""
MOST_BYTES = 1 << 28
"""Of a hand model's file; MANO's has 4 MB."""
MOST_FACES = 1 << 14
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


class _Sparse:
    """Stands in for scipy's csc_matrix, which trusts indices that lead outside it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        rows, columns = (int(edge) for edge in self.state["_shape" if "_shape" in self.state else "shape"])
        if not (0 <= rows <= N_VERTICES and 0 <= columns <= N_VERTICES):
            raise pickle.UnpicklingError(f"a sparse array of {rows} x {columns}")
        parts = tuple(np.asarray(self.state[name]) for name in ("data", "indices", "indptr"))
        matrix = scipy.sparse.csc_matrix(parts, shape=(rows, columns))
        matrix.check_format(full_check=True)
        return matrix.toarray()


def _plain(value: Any) -> Any:
    return value.array() if isinstance(value, (_ChumpyArray, _Sparse)) else value


_NDARRAY = "ndarray"
"""Stands in for numpy's class: only ever an argument, never called."""


def _empty_array(cls: Any, shape: Any, code: Any) -> np.ndarray:
    """numpy's `_reconstruct`: an array that its state fills; one that asks for memory by itself is refused."""
    if cls is not _NDARRAY or shape != (0,) or code not in (b"b", "b"):
        raise pickle.UnpicklingError("only an empty array may be begun")
    return np.empty(0, np.int8)


def _reconstruct(cls: type, base: type, state: Any) -> Any:
    """`copyreg._reconstructor`, which the oldest pickles make objects with, for array types alone."""
    if cls not in (_ChumpyArray, _ChumpySelect, _Sparse) or base is not object or state is not None:
        raise pickle.UnpicklingError("only arrays may be reconstructed")
    return cls.__new__(cls)


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, which numpy pickles use to carry bytes, for latin1 alone."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in encoding {encoding!r} are not expected")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): np._core.multiarray.scalar,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "scalar"): np._core.multiarray.scalar,  # type: ignore[attr-defined]
    ("scipy.sparse.csc", "csc_matrix"): _Sparse,
    ("scipy.sparse._csc", "csc_matrix"): _Sparse,
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


class _HandUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Knows the array types of MANO's file and refuses everything else.

    It is the one in Python: that in C takes as much memory as a damaged number asks for. Byte arrays and buffers
    outside the file, which no hand model has, do so in this one, and are left out.
    """

    dispatch = {  # noqa: RUF012  (as the class it stands in for has it)
        code: load
        for code, load in pickle._Unpickler.dispatch.items()  # type: ignore[attr-defined]
        if code not in {opcode[0] for opcode in (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)}
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in a hand model") from None


def _read_pickle(path: Path) -> dict[str, Any]:
    content = read_plain(path, "take a fresh MANO_RIGHT.pkl", MOST_BYTES)
    try:
        data = _HandUnpickler(io.BytesIO(content), encoding="latin1").load()
        if not isinstance(data, dict):
            raise pickle.UnpicklingError("it does not hold a dictionary")
        return {key: _plain(value) for key, value in data.items()}
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path} is not a MANO pickle ({readable(error)}): take a fresh MANO_RIGHT.pkl.") from error


def load_hand_model(path: Path | None = None) -> HandModel:
    """Read a hand model.

    path: an .npz or .pkl in MANO's layout; None for the open hand that comes with the project.
    Raises UserError when the file is missing, damaged, or an array is absent, mis-shaped or not finite.
    """
    path = OPEN_HAND if path is None else Path(path)
    if not is_plain(path):
        raise UserError(
            f"{path} does not exist: register at {MANO_ADDRESS}, accept the licence, download the models and put "
            f"MANO_RIGHT.pkl into the folder MANO/, or leave the hand model unset to use the open hand."
        )
    data = _read_pickle(path) if path.suffix == ".pkl" else dict(read_npz(path, "take a fresh copy of the hand model"))
    if "f" in data:
        data.setdefault("faces", data["f"])
    if data.get("parents") is None and data.get("kintree_table") is not None:
        table = np.asarray(data["kintree_table"])
        data["parents"] = table[0] if table.ndim == 2 and len(table) else table
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
        if not 0 < ids.size <= 3 * MOST_FACES or ids.min() < 0 or ids.max() >= N_VERTICES:
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
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiuO":
        raise UserError(f"{path}: '{name}' is not a numeric array; take a fresh copy.")
    if value.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, value.shape, strict=True)):
        raise UserError(f"{path}: '{name}' has shape {value.shape}, expected {shape}; is this a hand of 778 vertices?")
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{path}: '{name}' is not a numeric array; take a fresh copy.") from None
    if not (np.abs(array) <= LARGEST).all():
        raise UserError(f"{path}: '{name}' holds values that are not finite, or of no hand; take a fresh copy.")
    return array
