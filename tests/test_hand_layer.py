"""The hand layer against numbers of the published implementation, against finite differences, and against geometry."""

import io
import os
import pickle
import pickletools
import sys
import types
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import roma
import scipy.sparse
import torch

from render.hand_layer import HandLayer, HandParams, boundary_ring
from render.hand_model import HandModel, load_hand_model
from tests.shared import REFERENCE, needs_reference
from util.errors import UserError


def open_layer(side: Literal["right", "left"] = "right") -> HandLayer:
    return HandLayer(load_hand_model(), side)


def random_hand(n: int, dtype=torch.float32) -> HandParams:
    generator = torch.Generator().manual_seed(1)
    return HandParams.from_vector(0.4 * torch.randn(n, 62, generator=generator, dtype=dtype))


@needs_reference
def test_agrees_with_the_published_implementation():
    layer = HandLayer(load_hand_model(REFERENCE / "MANO_RIGHT.pkl"))
    data = np.load(REFERENCE / "hand_layer.npz")
    params = HandParams.from_vector(torch.tensor(data["params"]))
    mesh = layer(params.rotation, params.pose, params.shape)
    assert np.abs(mesh.vertices_m - data["verts_m"]).max() < 1e-5
    assert np.abs(mesh.joints_m - data["joints_m"]).max() < 1e-5
    vertices_xyz, joints_xyz = mesh.placed(params.scale, params.translation, 125.0)
    assert np.abs(vertices_xyz - data["verts_normalised"]).max() < 1e-5
    assert np.abs(joints_xyz - data["joints_normalised"]).max() < 1e-5


def test_gradients_in_float64():
    layer = open_layer().double()
    hand = random_hand(1, torch.float64)
    inputs = (hand.rotation.requires_grad_(), hand.pose.requires_grad_(), hand.shape.requires_grad_())

    def some(rotation, pose, shape):
        mesh = layer(rotation, pose, shape)
        return mesh.vertices_m[:, ::97], mesh.joints_m

    assert torch.autograd.gradcheck(some, inputs)


def test_any_batch_shape_and_rotation_matrices():
    layer, hand = open_layer(), random_hand(6)
    flat = layer(hand.rotation, hand.pose, hand.shape)
    shaped = layer(hand.rotation.view(2, 3, 3), hand.pose.view(2, 3, 45), hand.shape.view(2, 3, 10))
    assert torch.allclose(flat.vertices_m, shaped.vertices_m.flatten(0, 1), atol=1e-6)
    matrix = layer(roma.rotvec_to_rotmat(hand.rotation), hand.pose, hand.shape)
    assert torch.allclose(flat.joints_m, matrix.joints_m, atol=1e-6)
    single = layer(hand.rotation[0], hand.pose[0], hand.shape[0])
    assert torch.allclose(flat.vertices_m[0], single.vertices_m, atol=1e-6)


def test_surface_is_closed_and_faces_outwards():
    sides: tuple[Literal["right"], Literal["left"]] = ("right", "left")
    for side in sides:
        layer = open_layer(side)
        mesh = layer(torch.zeros(3), torch.zeros(45), torch.zeros(10))
        faces = layer.faces
        edges = {(int(a), int(b)) for k in range(3) for a, b in faces[:, [k, (k + 1) % 3]]}
        assert len(edges) == 3 * len(faces)
        assert all((b, a) in edges for a, b in edges)
        a, b, c = mesh.vertices_m[faces].unbind(1)
        volume_cm3 = float((a * torch.linalg.cross(b, c)).sum()) / 6 * 1e6
        assert 250 < volume_cm3 < 500


def test_left_hand_is_the_mirror_image():
    right, left, hand = open_layer(), open_layer("left"), random_hand(3)
    mirror = torch.tensor([-1.0, 1, 1])
    one = right(hand.rotation, hand.pose, hand.shape)
    other = left(hand.rotation * torch.tensor([1.0, -1, -1]), hand.pose, hand.shape)
    assert torch.allclose(one.vertices_m * mirror, other.vertices_m, atol=1e-6)
    assert torch.allclose(one.joints_m * mirror, other.joints_m, atol=1e-6)


def test_pose_coefficients_round_trip():
    layer, hand = open_layer(), random_hand(4)
    layer.pose_basis += 0.1 * torch.rand(45, 45, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(layer.coefficients(layer.axis_angles(hand.pose)), hand.pose, atol=1e-4)
    assert torch.allclose(layer.coefficients(layer.axis_angles(hand.pose[0])), hand.pose[0], atol=1e-4)


def test_boundary_ring_refuses_other_surfaces():
    with pytest.raises(ValueError, match="closed"):
        boundary_ring(np.array([[0, 1, 2], [0, 2, 1]]))
    with pytest.raises(ValueError, match="more than one"):
        boundary_ring(np.array([[0, 1, 2], [3, 4, 5]]))


class Ch:
    """Stands for chumpy's class of this name in a pickle that the test writes."""

    def __init__(self, x):
        self.x = x


class Select:
    """Likewise."""

    def __init__(self, a, idxs, preferred_shape):
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


Ch.__module__, Select.__module__ = "chumpy.ch", "chumpy.reordering"


def mano_like(model: HandModel) -> dict:
    order = np.random.default_rng(0).permutation(model.v_template.size)
    shuffled = np.empty(model.v_template.size)
    shuffled[order] = model.v_template.ravel()
    return {
        "v_template": Select(Ch(shuffled), order, model.v_template.shape),
        "f": model.faces.astype(np.uint32),
        "weights": model.weights,
        "shapedirs": Ch(model.shapedirs),
        "posedirs": np.zeros((778, 3, 135)),
        "J_regressor": scipy.sparse.csc_matrix(model.joint_regressor),
        "kintree_table": np.stack([np.where(model.parents < 0, 2**32 - 1, model.parents), np.arange(16)]),
        "hands_components": np.eye(45),
        "hands_mean": np.zeros(45),
    }


def write_pickle(path, content, monkeypatch):
    for name, cls in (("chumpy", None), ("chumpy.ch", Ch), ("chumpy.reordering", Select)):
        module = types.ModuleType(name)
        if cls is not None:
            setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, name, module)
    path.write_bytes(pickle.dumps(content, protocol=2))


def test_reads_mano_pickles_without_chumpy(tmp_path, monkeypatch):
    model = load_hand_model()
    write_pickle(tmp_path / "MANO_RIGHT.pkl", mano_like(model), monkeypatch)
    read = load_hand_model(tmp_path / "MANO_RIGHT.pkl")
    assert np.array_equal(read.v_template, model.v_template)
    assert np.array_equal(read.shapedirs, model.shapedirs)
    assert np.array_equal(read.parents, model.parents)
    assert read.posedirs is not None


PurePickler: Any = pickle._Pickler  # type: ignore[attr-defined]


class Python2Pickler(PurePickler):
    """Writes what Python 2 wrote, as MANO is distributed: byte strings, and modules under their names of that time."""

    dispatch: ClassVar[dict] = dict(PurePickler.dispatch)
    modules: ClassVar[dict] = {
        "builtins": "__builtin__",
        "copyreg": "copy_reg",
        "numpy._core.multiarray": "numpy.core.multiarray",
        "scipy.sparse._csc": "scipy.sparse.csc",
    }

    def save_string(self, obj: str | bytes) -> None:
        content = obj.encode("latin1") if isinstance(obj, str) else obj
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(obj)

    def save_global(self, obj, name=None) -> None:
        module = self.modules.get(obj.__module__, obj.__module__)
        self.write(f"c{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[type] = dispatch[types.FunctionType] = save_global


@pytest.mark.parametrize("protocol", [0, 2])
def test_reads_mano_as_python_2_and_chumpy_wrote_it(tmp_path, protocol: int):
    model = load_hand_model()
    content = mano_like(model)
    content |= {"bs_type": "lrotmin", "bs_style": "lbs", "J": model.joint_regressor @ model.v_template}
    content["shapedirs"] = Select(Ch(model.shapedirs.ravel()), np.arange(model.shapedirs.size), model.shapedirs.shape)
    plain = Select(content["posedirs"], np.arange(content["posedirs"].size), None)
    del plain.preferred_shape  # chumpy's is there only where it was asked for
    content["unused"] = plain
    for value in (content["v_template"], content["v_template"].a, content["shapedirs"], content["shapedirs"].a, plain):
        value.__dict__.update(_dirty_vars=set(), _itr=None, _depends_on_deps={"x"})
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol).dump(content)
    names = {arg for op, arg, _ in pickletools.genops(buffer.getvalue()) if op.name == "GLOBAL"}
    assert {"chumpy.ch Ch", "chumpy.reordering Select", "scipy.sparse.csc csc_matrix", "__builtin__ set"} <= names
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(buffer.getvalue())
    read = load_hand_model(path)
    assert "chumpy" not in sys.modules
    for name in ("v_template", "shapedirs", "weights", "joint_regressor", "faces", "parents"):
        assert np.array_equal(getattr(read, name), getattr(model, name)), name


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_mano_as_cleaned(tmp_path, protocol: int):
    model = load_hand_model()
    content = mano_like(model) | {"v_template": model.v_template, "shapedirs": model.shapedirs}
    for regressor in (scipy.sparse.csc_matrix(model.joint_regressor), model.joint_regressor):
        path = tmp_path / "MANO_RIGHT.pkl"
        path.write_bytes(pickle.dumps(content | {"J_regressor": regressor}, protocol))
        read = load_hand_model(path)
        assert np.array_equal(read.joint_regressor, model.joint_regressor)
        assert np.array_equal(read.shapedirs, model.shapedirs)


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_refuses_pickles_that_would_run_code(tmp_path):
    path, mark = tmp_path / "MANO_RIGHT.pkl", tmp_path / "ran"
    content = pickle.dumps({"v_template": Evil(f"touch {mark}")})
    pickle.loads(content)  # it would run, did we let it
    assert mark.is_file()
    mark.unlink()
    path.write_bytes(content)
    with pytest.raises(UserError, match="has no place in a hand model"):
        load_hand_model(path)
    assert not mark.exists()


def test_bad_files_get_one_sentence(tmp_path):
    with pytest.raises(UserError) as caught:
        load_hand_model(tmp_path / "MANO_RIGHT.pkl")
    sentence = str(caught.value)
    for part in (str(tmp_path / "MANO_RIGHT.pkl"), "https://mano.is.tue.mpg.de", "licence", "folder MANO/"):
        assert part in sentence
    assert sentence.endswith(".") and "\n" not in sentence
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UserError, match="torn"):
        load_hand_model(tmp_path / "torn.npz")
    model = load_hand_model()
    np.savez(tmp_path / "short.npz", v_template=model.v_template[:-1], faces=model.faces, weights=model.weights)
    with pytest.raises(UserError, match="v_template"):
        load_hand_model(tmp_path / "short.npz")
