"""`python -m dataloader`: what is installed, and what is missing, as a user reads it."""

import json
from pathlib import Path

import cv2
import pytest

from dataloader.__main__ import main
from dataloader.datasets.shrec import LAYOUT
from tests.recordings import hand_image, write_recording
from util.errors import UserError


def _frames(root: Path, n: int = 4) -> Path:
    (root / "camera.json").write_text(json.dumps({"fx": 475.0, "fy": 475.0, "cx": 320.0, "cy": 240.0}))
    for k in range(n):
        cv2.imwrite(str(root / f"{k}.png"), hand_image(200 + 20 * k, 150))
    (root / "test.txt").write_text("3.png\n")
    return root


def test_a_whole_data_set_is_told_in_lines_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "sheet.png"
    assert main(["frames", "--root", str(_frames(tmp_path)), "--picture", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "train  3 frames" in lines and "test   1 frames" in lines
    assert "train  centres: 0 given, 3 to be located by depth" in lines
    assert "train  files: 3 of 3 are there" in lines and "train  prepared: not yet, the first run does it" in lines
    assert lines[-1].startswith("2 of 2 splits are complete")
    sheet = cv2.imread(str(picture))
    assert sheet is not None and sheet.shape[0] > 500, "four crops of 256 pixels in rows of three"


def _recorded(root: Path) -> Path:
    """SHREC'17 with one recording of subject 2 (tested on) and one of subject 3."""
    frames = [(hand_image(300, 150), f"{k} 280 130 200 160") for k in range(3)]
    rows = []
    for subject in (2, 3):
        write_recording(root, LAYOUT, f"1 1 {subject} 1", frames)
        rows.append(f"1 1 {subject} 1 1 1 3")
    (root / "train_gestures.txt").write_text("\n".join(rows) + "\n")
    return root


def test_missing_and_damaged_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _recorded(tmp_path)
    words = ["shrec", "--root", str(root), "--test-subjects", "2", "--picture", str(tmp_path / "sheet.png")]
    assert main(words) == 0
    (root / "gesture_1/finger_1/subject_2/essai_1/1_depth.png").unlink()
    damaged = root / "gesture_1/finger_1/subject_3/essai_1/0_depth.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    capsys.readouterr()
    assert main(words) == 1
    output = capsys.readouterr().out
    assert "test   files: 2 of 3 are there, MISSING gesture_1/finger_1/subject_2/essai_1/1_depth.png" in output
    assert f"train  {damaged}" in output and "0 of 2 splits are complete" in output


def test_a_split_that_cannot_be_listed_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _recorded(tmp_path)
    (root / "gesture_1/finger_1/subject_3/essai_1/general_informations.txt").unlink()
    assert main(["shrec", "--root", str(root), "--test-subjects", "2", "--picture", str(tmp_path / "a.png")]) == 1
    output = capsys.readouterr().out
    assert output.count("train ") == 1 and "train  cannot be used: " in output and "1 of 2 splits" in output


@pytest.mark.parametrize("words", [["demo"], ["imagenet", "--root", "."], ["nyu", "--rooot", "."], []])
def test_a_mistake_is_one_sentence(words: list[str]) -> None:
    with pytest.raises(UserError):
        main(words)
