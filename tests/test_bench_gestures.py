"""bench/gestures.py: poses of every frame, recognisers that learn from them, and the table of what came out."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.gesture_poses import FILE
from bench.gestures import KEYS, MARKERS, SOURCES, Table, main, tables
from dataloader.datasets.shrec import LAYOUT, LISTS
from tests.recordings import EMPTY, hand_image, write_recording
from util.errors import UserError

SUBJECTS = (2, 3, 5, 7, 11)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two gestures by five subjects, two frames each; the second frame of the last shows nothing."""
    folder, rows = tmp_path_factory.mktemp("gestures"), []
    (folder / "shrec").mkdir()
    for gesture in (1, 8):
        for subject in SUBJECTS:
            images = [hand_image(200 + 10 * subject, 150 + gesture), hand_image(260, 160)]
            frames = [(image, "0 200 150 250 120") for image in images]
            if (gesture, subject) == (8, 11):
                frames[1] = EMPTY, "1 0 0 0 0"
            write_recording(folder / "shrec", LAYOUT, f"{gesture} 1 {subject} 1", frames)
            rows.append(f"{gesture} 1 {subject} 1 {gesture} {2 * gesture - 1} 2\n")
    (folder / "shrec" / LISTS["train"]).write_text("".join(rows))
    (folder / "table.md").write_text("# Before\n\n{}\nwhat was there\n{}\n\nAfter.\n".format(*MARKERS))
    return folder


def options(place: Path, *words: str) -> list[str]:
    where = ["--shrec", str(place / "shrec"), "--runs", str(place / "runs"), "--results", str(place / "lines.jsonl")]
    return [*where, "--document", str(place / "table.md"), "--folds", "0", "--seeds", "0", *words]


def test_a_recogniser_learns_from_the_poses_of_a_network(place: Path) -> None:
    words = ("--sources", "sensor", "--recognisers", "dg-sta", "--classes", "14", "--steps", "2")
    main(options(place, *words))
    poses = place / "runs" / "poses" / "sensor"
    with np.load(poses / "gesture_1/finger_1/subject_2/essai_1" / FILE) as file:
        assert file["frame"].tolist() == ["0_depth.png", "1_depth.png"]
        assert np.isfinite(file["joints_mm"]).all() and 300 < file["joints_mm"][..., 2].mean() < 600
    with np.load(poses / "gesture_8/finger_1/subject_11/essai_1" / FILE) as file:
        assert np.isfinite(file["joints_mm"]).all((1, 2)).tolist() == [True, False], "its row stays"
    (line,) = [json.loads(text) for text in (place / "lines.jsonl").read_text().splitlines()]
    assert [line[key] for key in KEYS] == ["sensor", "dg-sta", 14, 0, 0]
    assert 0 <= line["accuracy"] <= 1 and (line["tested"], line["steps"]) == (2, 2)
    text = (place / "table.md").read_text()
    assert text.startswith("# Before") and text.endswith("After.\n") and "what was there" not in text
    assert f"| DG-STA | {SOURCES['sensor'].about} | {100 * line['accuracy']:.1f} | - | 1 x 1 / - |" in text
    written = (poses / "gesture_1/finger_1/subject_2/essai_1" / FILE).stat().st_mtime_ns
    main(options(place, *words))
    assert len((place / "lines.jsonl").read_text().splitlines()) == 1, "what is finished is not done again"
    assert (poses / "gesture_1/finger_1/subject_2/essai_1" / FILE).stat().st_mtime_ns == written


def test_means_spreads_and_gains_are_those_of_the_lines() -> None:
    accuracy = {("sensor", 0): 0.80, ("sensor", 1): 0.90, ("sensor-fitted", 0): 0.84, ("sensor-fitted", 1): 0.92}
    lines = [
        dict(zip(KEYS, (source, "dg-sta", 28, 0, seed), strict=True)) | {"accuracy": value}
        for (source, seed), value in accuracy.items()
    ]
    text = tables(lines)
    assert f"| {SOURCES['sensor'].about} | - | 85.0 ± 7.1 | - / 1 x 2 |" in text
    assert "| DG-STA | sensor to sensor-fitted | - | +3.0 ± 1.4 |" in text


def test_a_fold_learns_from_its_own_subjects_and_goes_on_where_it_stopped(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, list[str]]] = []
    table = Table(place / "shrec", tmp_path, more=("--optim.steps", "1"))
    monkeypatch.setattr("bench.gestures._finish", lambda program, words, *_: commands.append((program, words)))
    assert table.weights("sensor", 1) == SOURCES["sensor"].start and not commands
    weights = table.weights("sensor-fitted-refined", 1)
    assert weights == tmp_path / "sensor-fitted" / "fold-1" / "last.safetensors", "one network for both"
    ((program, words),) = commands
    assert program == "train_render.py" and words[0] == "shrec-train"
    at = words.index("--data.test-subjects")
    assert words[at + 1 : at + 3] == ["3", "--seed"], "who is held out: every fifth subject"


def test_mistakes_are_one_sentence(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        main(["--shrec", str(tmp_path / "absent")])
    (tmp_path / "lines.jsonl").write_text('{"source": "sensor"}\n')
    with pytest.raises(UserError, match="damaged line"):
        main([*options(place), "--table", "--results", str(tmp_path / "lines.jsonl")])
