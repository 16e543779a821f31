"""What runs between the kernels stays on the device of its inputs and never waits for it, checked without a GPU.

Tensors of torch's device `meta` have shapes but no numbers: arithmetic that mixes them with the CPU's raises, and so
does everything that would need a number on the host (an `item()`, an `if` on a tensor).
"""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from config import EXPERIMENTS
from dataloader.points import all_points_xyz, box_cut, points_from_crop
from dataloader.sample import HandSample
from model.network import DualBranchNetwork
from model.offset_maps import Cells, read_maps, read_rows, write_maps, write_maps_at
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.spheres import HandSpheres
from training.observation import outside_at, outside_distance
from training.setup import make_rendered

META = torch.device("meta")
ROOT = Path(__file__).resolve().parents[2]
SMOKE = EXPERIMENTS["smoke"]


@pytest.fixture(scope="module")
def scene() -> tuple[HandSample, HandLayer, HandSpheres]:
    """Two rendered hands, their layer and its spheres, without numbers."""
    sample = make_rendered(SMOKE).batch(2, torch.Generator().manual_seed(0))
    layer = HandLayer(load_hand_model())
    return sample.to(META), layer.to(META), HandSpheres(HandLayer(load_hand_model())).to(META)


def mesh(sample: HandSample, layer: HandLayer, spheres: HandSpheres) -> Tensor:
    assert sample.params is not None
    posed = layer(sample.params.rotation, sample.params.pose, sample.params.shape)
    return posed.placed(sample.params.scale, sample.params.translation, sample.crop.cube_mm[:, :1] / 2)[0]


def sphere_terms(sample: HandSample, layer: HandLayer, spheres: HandSpheres) -> Tensor:
    assert sample.joints_mm is not None and sample.vertices_mm is not None
    centres, radii = spheres.centres(sample.joints_mm), spheres.radii(sample.joints_mm, sample.vertices_mm, 1.0)
    return spheres.label_points(sample.vertices_mm, centres, radii) + spheres.penetration(centres, radii).unsqueeze(1)


def cells() -> Cells:
    uvd, foreground = torch.zeros(2, 64, 3, device=META), torch.zeros(2, 64, device=META) > 0
    return Cells(uvd, foreground, torch.arange(9, device=META), [4, 5])


def maps(sample: HandSample, layer: HandLayer, spheres: HandSpheres) -> Tensor:
    assert sample.joints_mm is not None
    joints = sample.crop.uvd_from_mm(sample.joints_mm)
    rows = cells().at_seen(write_maps(joints, cells()))
    rows = rows + write_maps_at(joints.index_select(0, cells().crop_of_seen), cells().uvd_of_seen())
    return read_maps(write_maps(joints, cells()), cells()) + read_rows(rows, cells())


def points(sample: HandSample, layer: HandLayer, spheres: HandSpheres) -> Tensor:
    assert sample.joints_mm is not None
    hand = box_cut(sample.crop, sample.crop.xyz_from_mm(sample.joints_mm))
    drawn, _ = points_from_crop(sample.crop, 64, torch.Generator(), hand)
    return torch.cat([drawn, all_points_xyz(sample.crop)], 1)


def silhouette(sample: HandSample, layer: HandLayer, spheres: HandSpheres) -> Tensor:
    assert sample.joints_mm is not None
    outside = outside_distance(sample.crop.foreground)
    return outside_at(outside, sample.crop.uvd_from_mm(sample.joints_mm)[..., :2])


def convolutions(sample: HandSample, layer: HandLayer, spheres: HandSpheres) -> Tensor:
    network = DualBranchNetwork(SMOKE.network, layer).to(META)
    return network.stage(0)(network.stem(sample.crop.depth))[1]


@pytest.mark.parametrize("work", [mesh, sphere_terms, maps, points, silhouette, convolutions])
def test_work_stays_on_its_device(work: Callable[..., Tensor], scene) -> None:
    assert work(*scene).device == META


def test_the_check_notices_a_stray_tensor_and_a_wait() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.zeros(3, device=META).add(torch.zeros(3))
    with pytest.raises(RuntimeError, match="meta"):
        bool(torch.zeros(3, device=META).any())


@pytest.mark.parametrize("room", ["util", "render", "fitting", "dataloader", "model", "training"])
def test_no_device_is_named(room: str) -> None:
    # Only files are read to the CPU, and only config.py lets a user choose: elsewhere the device is that of the inputs.
    for file in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                assert name != "cuda", f"{file.relative_to(ROOT)} line {node.lineno}"
                words = [*node.args, *(word.value for word in node.keywords if word.arg == "device")]
                named = [w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)]
                reads = name in {"load", "safe_open", "load_file"}
                wrong = [word for word in named if word.partition(":")[0] in {"cpu", "cuda"}]
                assert reads or not wrong, f"{file.relative_to(ROOT)} line {node.lineno} names {wrong}"
