"""Exported networks say what torch says, whatever the batch; their renderer draws what the project's own draws."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import export
from bench.scene import Scene
from config import COMPACT, EXPERIMENTS, NetworkConfig
from dataloader.crop import HandCrop
from model.folded import folded
from model.network import DualBranchNetwork
from predicting.engine import SHIPPED, TorchEngine, answer_of, load_network
from predicting.estimator import HandEstimator
from predicting.export_onnx import differences
from predicting.exportable import ExportedNetwork, drawn_inverse
from predicting.onnx_engine import OnnxEngine, crop_tensors
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.rasterise import rasterise
from tests.hand_frames import rendered_frames
from util.errors import UserError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in PACKAGES), reason="requirements-optional.txt is not installed"
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.of(EXPERIMENTS["pretrain-compact"], 9, 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Both stages and the first alone, by the command itself.

    In processes of their own: shapes that are free while a graph is traced are none that annotations can be held to.
    """
    folder, root = tmp_path_factory.mktemp("exported"), Path(__file__).resolve().parents[1]
    found = {stages: folder / f"stages{stages}.onnx" for stages in (2, 1)}
    words = {2: ["--int8"], 1: ["--stages", "1"]}
    running = [
        subprocess.Popen(
            [sys.executable, "export.py", "--out", str(found[stages]), *words[stages]],
            cwd=root,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for stages in found
    ]  # side by side: each takes half a minute
    for path, process in zip(found.values(), running, strict=True):
        said, complained = process.communicate(timeout=3000)
        assert process.returncode == 0, complained[-2000:]
        assert path.is_file() and str(path) in said
    return found


@pytest.mark.parametrize(("magnified", "side"), [(0.25, 32), (1.0, 64), (4.0, 32)])
def test_the_graphs_renderer_draws_what_ours_draws(scene: Scene, magnified: float, side: int) -> None:
    """From one with triangles of a twentieth of a cell to one with triangles that fit into no window."""
    pixels, faces = scene.vertices_uvz.clone(), scene.layer.faces
    middle = pixels[..., :2].mean(1, keepdim=True)
    pixels[..., :2] = (pixels[..., :2] - middle) * magnified * side / 128 + side / 2
    ours = rasterise(pixels, faces, side)
    inverse = drawn_inverse(pixels, faces, side)
    assert torch.equal(inverse > 0, ours > 0) and (ours > 0).any()
    assert torch.allclose(torch.where(ours > 0, 1 / inverse.clamp_min(1e-9), 0.0), ours, atol=1e-3)


def test_the_graphs_renderer_leaves_out_what_ours_leaves_out(scene: Scene) -> None:
    pixels, faces = scene.vertices_uvz[:1].clone(), scene.layer.faces
    pixels[..., :2] /= 4
    pixels[0, :300, 2] = 0.5  # too near
    pixels[0, 300:400] = torch.nan
    pixels[0, 400:500, 0] = 5.0  # triangles of no area
    ours = rasterise(pixels, faces, 32)
    inverse = drawn_inverse(pixels, faces, 32)
    assert torch.equal(inverse > 0, ours > 0) and (ours > 0).any()
    assert torch.allclose(torch.where(ours > 0, 1 / inverse.clamp_min(1e-9), 0.0), ours, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        None,
        replace(COMPACT, precision="fp32", model_head="linear", foreground_softmax=False, unit_mm=125.0),
        replace(COMPACT, precision="fp32", stages=1),
    ],
    ids=["shipped", "published kind", "one stage"],
)
def test_what_is_exported_says_what_the_network_says(scene: Scene, config: NetworkConfig | None) -> None:
    if config is None:
        network = load_network(SHIPPED)
    else:
        network = DualBranchNetwork(config, HandLayer(load_hand_model())).eval()
    crop = turned(scene.sample.crop)
    with torch.inference_mode():
        plain = answer_of(network, crop, network(crop)[-1])
        ours = ExportedNetwork(folded(network))(**crop_tensors(crop))
    for a, b in zip(plain[:3], ours[:3], strict=True):
        assert float((a - b).abs().max()) < 0.05
    assert torch.allclose(plain.params, ours.params, atol=1e-3)


def turned(crop: HandCrop) -> HandCrop:
    """The same samples, as if the crop had been cut out at an angle."""
    turn = torch.eye(3)
    turn[:2, :2] = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    return HandCrop(crop.depth, crop.camera, crop.centre_mm, crop.cube_mm, turn @ crop.crop_from_image)


@needs_onnx
@pytest.mark.parametrize("stages", [1, 2])
def test_files_agree_with_torch_for_any_batch(files: dict[int, Path], scene: Scene, stages: int) -> None:
    engine, exact = OnnxEngine(files[stages]), TorchEngine(device="cpu", stages=stages, precision="fp32")
    crop = scene.sample.crop
    for n in (1, 2, 9):
        some = crop.select(torch.arange(n))
        half_mm = float(some.cube_mm.max()) / 2
        answer, expected = engine(some), exact(some)
        for ours, theirs in zip(answer[:3], expected[:3], strict=True):
            assert ours.shape == theirs.shape and ours.dtype == torch.float32
            assert float((ours - theirs).abs().max()) / half_mm < 1e-3
        assert torch.allclose(answer.params, expected.params, atol=1e-3)
    assert torch.equal(engine.faces, exact.faces)


@needs_onnx
def test_a_crop_without_a_hand_is_read_as_in_torch(files: dict[int, Path], scene: Scene) -> None:
    crop = scene.sample.crop.select(torch.tensor([0]))
    empty = crop.with_depth(torch.ones_like(crop.depth))
    exact = TorchEngine(device="cpu", precision="fp32")
    apart = differences(exact, OnnxEngine(files[2]), empty)
    assert all(most < 0.1 for _, most in apart.values())


@needs_onnx
def test_an_exported_network_reads_hands_of_either_side(files: dict[int, Path]) -> None:
    frames = [frame.mirrored() if k % 2 else frame for k, frame in enumerate(rendered_frames()[0])]
    twins = HandEstimator(side="auto", engine=TorchEngine(device="cpu", precision="fp32")).batch(frames)
    for hand, twin in zip(HandEstimator(files[2], "auto", engine="onnx").batch(frames), twins, strict=True):
        assert hand.side == twin.side and hand.status == twin.status
        assert abs(hand.joints_mm - twin.joints_mm).max() < 1.0


@needs_onnx
def test_eight_bits_stay_near(files: dict[int, Path], scene: Scene) -> None:
    small = files[2].with_suffix(".int8.onnx")
    assert small.stat().st_size < 0.8 * files[2].stat().st_size
    apart = differences(OnnxEngine(files[2]), OnnxEngine(small), scene.sample.crop)
    assert 0 < apart["joints_mm"][0] < 2 * export.ALLOWED_MM


def test_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="ending"):
        export.main(["--out", "hand.pt"])
    with pytest.raises(UserError, match="no option"):
        export.main(["--stagess", "1"])
    absent = tmp_path / "absent.onnx"
    if find_spec("onnxruntime") is not None:
        with pytest.raises(UserError, match=r"export\.py --out"):
            OnnxEngine(absent)
        absent.write_bytes(b"nothing of this kind")
        with pytest.raises(UserError, match="no ONNX file"):
            OnnxEngine(absent)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="not installed"):
        OnnxEngine(absent)
    with pytest.raises(UserError, match=r"requirements-optional\.txt"):
        export.main(["--out", str(tmp_path / "hand.onnx")])
