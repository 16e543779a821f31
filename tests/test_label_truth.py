"""The bench of label truth: hands seen three times, and what is said of a reader's joints."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.label_truth import EXPERIMENT, READERS, Scene, main, measures, scenes, sensed, told, translated
from model.correcting import CorrectingGenerator
from render.poor_optics import PoorOptics
from render.structured_light import StructuredLight
from training.setup import make_rendered
from training.translation import Translation
from util.checkpoint import save_weights
from util.streams import stream

TARGET = EXPERIMENT.benchmark


@pytest.fixture(scope="module")
def seen() -> tuple[Scene, Tensor]:
    """Eight hands at the target's distances, and the faces of hands with forearms."""
    focal = TARGET.sensor.focal_px
    source = replace(EXPERIMENT.rendered, focal_px=(focal, focal), range_mm=TARGET.range_mm)
    rendered = make_rendered(replace(EXPERIMENT, rendered=source))
    return scenes(rendered, 8, stream("test label truth")), rendered.forearm.faces


def test_a_sensor_without_errors_shows_the_same_hands_in_the_same_places(seen: tuple[Scene, Tensor]) -> None:
    scene, faces = seen
    crop = scene.clean.crop
    plain = sensed(scene, faces, lambda depth_mm, _: depth_mm, stream("test"))
    both = crop.foreground & plain.foreground
    half_mm = crop.cube_mm[:, 2, None, None, None] / 2
    change_mm = ((plain.depth - crop.depth) * half_mm)[both]
    assert both.sum() > 0.95 * (crop.foreground | plain.foreground).sum()
    assert change_mm.abs().median() < 1 and change_mm.median().abs() < 0.2
    along = torch.stack([(crop.depth.roll(-1, axis) - crop.depth.roll(1, axis)).flatten() / 2 for axis in (-1, -2)], 1)
    shift = torch.linalg.lstsq(along, (crop.depth - plain.depth).flatten()[:, None]).solution
    assert shift.abs().max() < 0.2, "samples of a crop: what is seen has not moved in the image"


def test_the_sensor_errs_anew_in_each_draw(seen: tuple[Scene, Tensor]) -> None:
    scene, faces = seen
    sensor = PoorOptics(TARGET.optics, TARGET.sensor.focal_px, StructuredLight(TARGET.sensor))
    one, same, other = (sensed(scene, faces, sensor, stream("test", k)).depth for k in (0, 0, 1))
    assert torch.equal(one, same) and (one != other).float().mean() > 0.05


def test_a_translation_errs_anew_in_each_draw(seen: tuple[Scene, Tensor]) -> None:
    scene, _ = seen
    torch.manual_seed(0)
    translation = Translation(CorrectingGenerator(), torch.device("cpu"), anchored=True, bf16=False)
    zero, same, other = (translated(scene, translation, k).depth for k in (0, 0, 1))
    hand = scene.clean.crop.foreground
    half_mm = scene.clean.crop.cube_mm[:, 2, None, None, None] / 2
    errors = [((depth - scene.clean.crop.depth) * half_mm)[hand & (depth < 0.9)] for depth in (zero, other)]
    apart = ((zero - other) * half_mm)[hand & (zero < 0.9) & (other < 0.9)]
    assert torch.equal(zero, same)
    # independent errors differ from each other by more than either is large
    assert apart.abs().median() > 1.2 * max(float(error.abs().median()) for error in errors)


def test_unsteadiness_averages_out_and_a_displacement_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    true_mm = 100 * torch.rand(1, 200, 21, 3, generator=generator)
    clean_mm = true_mm + torch.tensor([1.0, 0.0, 0.0])
    noise_mm = 6 * torch.randn(8, 200, 21, 3, generator=generator)
    noisy, moved = clean_mm + noise_mm, clean_mm + noise_mm + torch.tensor([0.0, 3.0, 0.0])
    found, shifted = (measures(clean_mm, seen_mm, true_mm) for seen_mm in (noisy, moved))
    assert 9 < found["moved_mm"] < 10 and 3 < found["steady_mm"] < 4
    assert found["lasting_mm"] < 0.6 and found["bias_mm"] < 0.5 and found["error_bias_mm"] == pytest.approx(1, abs=0.2)
    assert shifted["lasting_mm"] == pytest.approx(3, abs=0.2) and shifted["bias_mm"] == pytest.approx(3, abs=0.2)
    assert shifted["error_bias_mm"] == pytest.approx(10**0.5, abs=0.2)
    others = clean_mm + 6 * torch.randn(noise_mm.shape, generator=generator)
    apart = told({"clean": clean_mm, "translated": moved, "sensed": others}, true_mm)["apart"]
    assert apart["lasting_mm"] == pytest.approx(3, abs=0.2) and apart["bias_mm"] == pytest.approx(3, abs=0.2)


def test_the_command_says_it_of_each_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    generator = CorrectingGenerator(4, 1)
    net = tmp_path / "net.safetensors"
    save_weights(net, generator.state_dict(), {"generator": generator.size._asdict()})
    main(["--transfer-net", str(net), "--hands", "4", "--draws", "2", "--readers", *map(str, READERS[:2])])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found) == ["sensor", "benchmark-final"]
    for looks in found.values():
        assert looks["clean"]["error_mm"] < 40 and looks["sensed"]["moved_mm"] > 1
        assert len(looks["bias_by_joint_mm"]["translated"]) == 21
