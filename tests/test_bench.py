"""The benches on tiny sizes: they run, agree with their twins, and end in the JSON that they promise."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import geometry, inference, step
from bench.scaling import scaled
from bench.scene import Scene
from bench.sections import BACKWARD, FORWARD, Replacements, Stopwatch
from bench.timing import Row, Watch, last_line, machine, medians_ms, peak_mib, percentile, table
from config import EXPERIMENTS
from training.prefetch import BLOCK
from util.errors import UserError

SMOKE = EXPERIMENTS["smoke"]
PIECES = {
    *("hand_layer", "rasterise_forward", "rasterise_forward_backward", "surface", "part_surface", "spheres"),
    *("maps_write", "maps_read", "points", "sampler_sensor"),
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.of(EXPERIMENTS["pretrain-compact"], 4, 100)


def test_geometry_agrees_with_its_twins_and_ends_in_json(scene: Scene) -> None:
    rows = [geometry.measure(piece, 1) for piece in geometry.pieces(scene)]
    assert {row.name for row in rows} == PIECES
    assert all(row.about for row in rows)
    for line in json.loads(last_line([row.plain() for row in rows])):
        assert set(line) == {"name", "ours_ms", "twin_ms", "ratio"}
        assert line["ours_ms"] > 0 and line["ratio"] == pytest.approx(line["twin_ms"] / line["ours_ms"], rel=0.05)


def test_the_gradient_twin_is_not_ours_again(scene: Scene) -> None:
    # The twin differentiates its own formula: had it a wrong one, the check would have to notice.
    ours = geometry._gradient(lambda v: geometry.rasterise(v, scene.layer.faces, 128), scene.vertices_uvz)
    with pytest.raises(UserError, match="differ"):
        geometry.close("gradient", ours, 1.01 * ours, 1e-3)
    with pytest.raises(UserError, match="differ"):
        geometry.close("gradient", torch.full((2,), torch.nan), torch.zeros(2), 1.0)


@pytest.mark.parametrize("package", ["pytorch3d", "open3d"])
def test_absent_packages_are_named(scene: Scene, package: str) -> None:
    (line,) = (line for line in geometry.others(scene, 1) if line.startswith(package))
    assert ("not installed" in line) == (find_spec(package) is None)


def test_geometry_command_ends_with_one_line_of_json(root: Path) -> None:
    words = [sys.executable, "bench/geometry.py", "--json", "--repeats", "1", "--only", "hand_layer", "points"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    *_, last = done.stdout.strip().splitlines()
    assert [line["name"] for line in json.loads(last)] == ["hand_layer", "points"]


@pytest.mark.parametrize("phase", ["pretrain", "train"])
def test_a_step_is_taken_apart(phase: Any) -> None:
    # a block of hands lasts two steps, so that one is drawn within three
    optim = replace(SMOKE.optim, batch=BLOCK["cpu"] // 2, first_stage_steps=0, check_frames=1, final_frames=1)
    times = step.measure("tiny", replace(SMOKE, phase=phase, optim=optim), steps=3, warm_up=1)
    assert len(times.ms) == 3 and times.images == BLOCK["cpu"] // 2 + (4 if phase == "train" else 0)
    # what the sections got is what the steps took
    assert sum(times.sections.values()) == pytest.approx(sum(times.ms) / 3, rel=0.05)
    wanted = {step.SAMPLER, step.OPTIMISER, step.LOOP}
    both = {step.CONVOLUTIONS, step.READING, step.LOSSES}
    if phase == "train":
        wanted |= {step.DATA}
        both |= {step.RASTERISER, step.SURFACE}
    wanted |= {name + way for name in both for way in (FORWARD, BACKWARD)}
    assert wanted <= set(times.sections) and all(times.sections[name] > 0 for name in wanted)
    plain = json.loads(json.dumps(times.plain()))
    assert plain["images_per_s"] > 0 and plain["peak_mib"] > 0
    assert sum(plain["shares"].values()) == pytest.approx(1, abs=0.01)
    assert plain["network_share"] == pytest.approx(
        plain["shares"][step.CONVOLUTIONS] + plain["shares"][step.READING], abs=1e-3
    )
    assert all(section in times.lines() for section in step.ORDER)


def test_instrumentation_leaves_nothing_behind() -> None:
    from render import rasterise, surface
    from training import branches, unlabelled

    before = rasterise.rasterise, surface.surface_distance
    with step._instrumented(Stopwatch()):
        assert branches.rasterise is not before[0] and unlabelled.surface_distance is not before[1]
    assert branches.rasterise is rasterise.rasterise is before[0]
    assert unlabelled.surface_distance is surface.surface_distance is before[1]


def test_cases_are_those_of_both_networks() -> None:
    cases = step.cases(EXPERIMENTS["demo"])
    assert {name: case.phase for name, case in cases.items()} == {
        "pretrain_compact": "pretrain",
        "pretrain_full": "pretrain",
        "selfsupervised_compact": "train",
        "selfsupervised_full": "train",
    }
    assert all(case.network.stages == 2 for case in cases.values())
    with pytest.raises(UserError, match="no experiment"):
        step.main(["--experiment", "nothing"])


class _Slow(torch.autograd.Function):
    """Twice the input; sleeps on the way there and on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: float, back: float) -> Tensor:
        ctx.back = back
        time.sleep(there)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        time.sleep(ctx.back)
        return 2 * grads[0], None, None


def test_backward_passes_are_charged_to_what_they_belong_to() -> None:
    stopwatch = Stopwatch()

    def inner(x: Tensor) -> Tensor:
        return _Slow.apply(x, 0.02, 0.06)  # type: ignore[return-value]

    timed_inner = stopwatch.wrapped("inner", inner)

    def outer(x: Tensor) -> Tensor:
        return _Slow.apply(timed_inner(_Slow.apply(x, 0.01, 0.05)), 0.0, 0.04)  # type: ignore[return-value]

    x = torch.ones(3, requires_grad=True)
    with stopwatch.section("step"):
        y = stopwatch.wrapped("outer", outer)(x)
        beside = _Slow.apply(x, 0.0, 0.03)
        with stopwatch.section("backward"):
            (y.sum() + beside.sum()).backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 8.0 + 2.0))
    taken = stopwatch.taken()
    assert taken["inner" + FORWARD] == pytest.approx(0.02, abs=0.015)
    assert taken["inner" + BACKWARD] == pytest.approx(0.06, abs=0.015)
    assert taken["outer" + FORWARD] == pytest.approx(0.01, abs=0.015)
    assert taken["outer" + BACKWARD] == pytest.approx(0.09, abs=0.015)
    assert taken["backward"] == pytest.approx(0.03, abs=0.015)


def test_a_whole_section_keeps_what_others_would_claim() -> None:
    stopwatch = Stopwatch()
    part = stopwatch.wrapped("part", lambda: time.sleep(0.02), backward=False)
    with stopwatch.section("whole", whole=True):
        part()
    part()
    taken = stopwatch.taken()
    assert taken["whole"] >= 0.02 and taken["part"] == pytest.approx(0.02, abs=0.015)


def test_replacements_come_back_after_an_error() -> None:
    original = Scene.of
    with pytest.raises(ValueError, match="stop"), Replacements() as places:
        places.method(Scene, "of", lambda f: staticmethod(lambda *a: None))
        raise ValueError("stop")
    assert Scene.of is original


def test_scaling_covers_its_sizes() -> None:
    found = scaled(SMOKE, batches=(1, 2), points=(16, 32), repeats=1)
    plain = json.loads(json.dumps(found.plain()))
    assert set(plain["batch"]) == {"rasterise", "surface", "part_surface"} and set(plain["batch"]["surface"]) == {
        "1",
        "2",
    }
    assert set(plain["points"]) == {"surface", "part_surface"} and set(plain["points"]["surface"]) == {"16", "32"}
    assert plain["growth"]["rasterise_batch"] == pytest.approx(
        plain["batch"]["rasterise"]["2"] / 2 / plain["batch"]["rasterise"]["1"], abs=0.01
    )
    assert "growth" in found.lines()


def test_inference_times_stages_and_batches(scene: Scene) -> None:
    experiment = replace(SMOKE, start=None)
    found = inference.latencies("tiny", experiment, scene.sample.crop, repeats=2, batches=(1, 3))
    plain = json.loads(last_line([latency.plain() for latency in found]))
    assert [line["name"] for line in plain] == [f"tiny_stage{k}_batch{b}" for k in (1, 2) for b in (1, 3)]
    assert all(line["p95_ms"] >= line["ms"] > 0 and line["crops_per_s"] > 0 for line in plain)


def test_an_exported_network_needs_its_runtime(scene: Scene, tmp_path: Path) -> None:
    if find_spec("onnxruntime") is None:
        with pytest.raises(UserError, match="onnxruntime"):
            inference.onnx_latencies(tmp_path / "network.onnx", scene.sample.crop, 1)
        pytest.skip("onnxruntime is not installed")
    onnx = pytest.importorskip("onnx")
    with pytest.raises(UserError, match="does not exist"):
        inference.onnx_latencies(tmp_path / "network.onnx", scene.sample.crop, 1)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    for name, batch in (("depth", "n"), ("fixed", 3), ("other", "n")):
        shape = [batch, 1, 128, 128] if name != "other" else [batch, 7]
        graph = helper.make_graph(
            [helper.make_node("Neg", [name], ["y"])],
            "network",
            [helper.make_tensor_value_info(name, kind, shape)],
            [helper.make_tensor_value_info("y", kind, shape)],
        )
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / f"{name}.onnx")
    names = [
        [found.name for found in inference.onnx_latencies(tmp_path / f"{name}.onnx", scene.sample.crop, 2, (1, 3))]
        for name in ("depth", "fixed")
    ]
    assert names == [["onnx_depth_batch1", "onnx_depth_batch3"], ["onnx_fixed_batch3"]]
    with pytest.raises(UserError, match="other"):
        inference.onnx_latencies(tmp_path / "other.onnx", scene.sample.crop, 1, (1,))


def test_works_take_turns_and_warm_up() -> None:
    calls: list[str] = []
    works = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert set(medians_ms(works, repeats=3, warm_up=2)) == {"a", "b"}
    assert calls == ["a", "b"] * 5


def test_percentile_and_table() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0 and percentile([1.0], 0.95) == 1.0
    assert percentile(list(map(float, range(100))), 0.95) == 95.0
    assert table(("", "ms", "note"), [("x", 1.0, "fine"), ("longer", 10.25, "")]).splitlines() == [
        "           ms  note",
        "x        1.00  fine",
        "longer  10.25",
    ]
    assert Row("x", 2.0, 5.0).plain() == {"name": "x", "ours_ms": 2.0, "twin_ms": 5.0, "ratio": 2.5}
    assert "cores" in machine() and peak_mib() > 10


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="this system has no /proc/stat")
def test_another_process_at_work_is_noticed() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with Watch() as watch:
            time.sleep(0.5)
    finally:
        busy.kill()
        busy.wait()
    assert "other processes took" in watch.notice
