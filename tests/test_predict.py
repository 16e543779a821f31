"""The command: files in, predictions and a page out; mistakes in one sentence."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import predict
from predicting.estimator import HandEstimator
from predicting.output.tables import read_predictions_npz
from tests.hand_frames import rendered_frames
from util.errors import UserError


def _folder(tmp_path: Path, n: int = 3) -> tuple[Path, list[str]]:
    """A folder of frames of one camera, the last without a hand, and the options that say the camera."""
    frames, _ = rendered_frames()
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(n - 1):
        cv2.imwrite(str(folder / f"{k + 8}.png"), frames[0].depth_mm + np.uint16(k))
    cv2.imwrite(str(folder / f"{n + 7}.png"), np.zeros((128, 128), np.uint16))
    camera = [*frames[0].camera.focal.tolist(), *frames[0].camera.principal.tolist()]
    return folder, ["--camera", *map(str, camera), "--out", str(tmp_path / "out")]


def test_a_folder_becomes_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, options = _folder(tmp_path)
    predict.main([str(folder), *options, "--device", "cpu", "--meshes", "ply"])
    hands = read_predictions_npz(tmp_path / "out" / "predictions.npz")
    assert [hand.frame for hand in hands] == ["8.png", "9.png", "10.png"]
    assert hands[2].status == "no hand" and np.isnan(hands[2].joints_mm).all()
    assert np.isfinite(hands[0].joints_mm).all() and hands[0].side == "right"
    assert {"predictions.json", "report.html", "contact_sheet.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert len(list((tmp_path / "out" / "meshes").iterdir())) == 2
    said = capsys.readouterr().out
    assert said.startswith("3 frames: ") and "1 no hand" in said and str(tmp_path / "out" / "report.html") in said


def test_a_sequence_becomes_the_same_rows(tmp_path: Path) -> None:
    folder, options = _folder(tmp_path)
    words = ["--device", "cpu", "--sequence", "--smooth", "--steady-shape", "--plain", "--frames", "2"]
    predict.main([str(folder), *options, *words])
    hands = read_predictions_npz(tmp_path / "out" / "predictions.npz")
    assert [hand.frame for hand in hands] == ["8.png", "9.png"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"predictions.npz", "predictions.json"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "Name a source"),
        (["absent"], "Nothing says what camera|does not exist"),
        (["x.png", "--sensor", "sr305", "--camera", "1", "1", "1", "1"], "leave one out"),
        (["x.png", "--smooth"], "add --sequence"),
        (["x.png", "--batch", "0"], "count from 1 up"),
        (["x.png", "--weights", "absent.safetensors"], "absent.safetensors does not exist"),
        (["x.png", "--sensor", "kinect9"], "does not exist"),
        (["x.png", "--sides", "left"], "has no option '--sides' .did you mean --side"),
    ],
)
def test_mistakes_are_said_in_one_sentence(words: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        predict.main(words)


def test_out_may_not_lie_among_the_frames(tmp_path: Path) -> None:
    folder, options = _folder(tmp_path)
    with pytest.raises(UserError, match="whose images are read"):
        predict.main([str(folder), *options[:-1], str(folder / "out")])


def test_help_and_mistakes_do_without_torch(root: Path) -> None:
    words = "import sys, predict; sys.argv = ['predict.py', 'x.png', '--smooth']; from util.cli import run_entry; "
    words += "code = run_entry(predict.main); sys.exit(code if 'torch' not in sys.modules else 1)"
    done = subprocess.run([sys.executable, "-c", words], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "add --sequence" in done.stderr


def test_three_lines_of_python() -> None:
    assert predict.HandEstimator is HandEstimator
    with pytest.raises(AttributeError):
        predict.HandEstimators  # noqa: B018


def test_torch_hub_gives_the_same_estimator(root: Path) -> None:
    estimator = torch.hub.load(str(root), "hand_estimator", source="local", device="cpu")
    frames, _ = rendered_frames()
    hand = estimator.batch(frames[:1])[0]  # type: ignore[union-attr]
    assert hand.frame == "0.png" and hand.status != "no hand"
