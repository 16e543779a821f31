"""The ladder on real depth: its rows are commands that exist, and what two of them say about tiny recordings."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench import ladder
from bench.ladder import Ladder, main
from bench.ladder_real import REAL, REAL_ROWS, REAL_SHEET, SAME, frames_folder, on_kinect
from bench.ladder_rows import BENCHMARK, ROWS
from bench.ladder_table import NOTHING
from config import EXPERIMENTS, WEIGHTS, DataConfig, Experiment
from dataloader.datasets.camera_file import read_camera
from dataloader.datasets.frames import find_images, list_frames
from dataloader.datasets.shrec import LAYOUT
from dataloader.prepare import prepare
from tests.recordings import hand_image, write_recording
from util.cli import parse_launch
from util.errors import UserError

TINY = (
    "--optim.steps 2 --optim.batch 4 --optim.real-batch 4 --optim.warmup 1 --optim.check-every 2 "
    "--optim.check-frames 4 --optim.final-frames 4 --data.no-keep"
)
SHREC_FRAME = "gesture_1/finger_1/subject_2/essai_1/{}_depth.png"
F = {"shrec": 463.889, "kinect": 363.9}
DEPTH_MM = 450.0
OFF_PX = 3.0


def write_marks(path: Path, uv: dict[str, tuple[float, float]]) -> None:
    """One index tip a frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{name},index_tip,{u:.4f},{v:.4f},{DEPTH_MM}" for name, (u, v) in uv.items()]
    path.write_text("\n".join(["file,joint,u,v,depth_mm", *rows]) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two subjects of SHREC'17, a folder of Kinect frames without a camera file, and marks."""
    data = tmp_path_factory.mktemp("real")
    (data / "shrec").mkdir()
    for subject, n in ((2, 3), (7, 8)):
        frames = [(hand_image(200 + 10 * i, 150), f"0 {200 + 10 * i} 150 150 120") for i in range(n)]
        write_recording(data / "shrec", LAYOUT, f"1 1 {subject} 1", frames)
    (data / "shrec" / "train_gestures.txt").write_text("1 1 2 1 1 1 3\n1 1 7 1 1 1 8\n")
    (data / "kinect").mkdir()
    for i in range(2):
        cv2.imwrite(str(data / "kinect" / f"{i}.png"), hand_image(180, 120 + 20 * i, 600)[:424, :512])
    write_marks(data / "marks" / "shrec.csv", {SHREC_FRAME.format(i): (300.0, 200.0) for i in range(2)})
    write_marks(data / "marks" / "kinect.csv", {"0.png": (250.0, 150.0)})
    return data


def options(data: Path, *line: str) -> list[str]:
    where = ["--runs", data / "runs", "--results", data / "lines.jsonl", "--document", data / "benchmark.md"]
    frames = ["--shrec", data / "shrec", "--kinect", data / "kinect", "--marks", data / "marks"]
    return ["--on", "real", *line, *map(str, [*where, *frames]), f"--more={TINY}"]


def test_every_row_is_a_command(data, tmp_path):
    for name in (*REAL.runs, *REAL.rows):
        weights = REAL.folder(tmp_path, name, 3) / "last.safetensors"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
    roots = {"shrec": data / "shrec", "kinect": frames_folder(data / "kinect", tmp_path / "frames")}

    def launch(name: str) -> Experiment:
        return parse_launch(REAL.words(tmp_path, name, 3, (), roots)).experiment

    for name, row in REAL_ROWS.items():
        known, kinect = launch(name), launch(on_kinect(name))
        assert known.data.name == "shrec" and known.data.root == roots["shrec"]
        assert known.source == ("fitted" if name.endswith("fitted") else "real")
        assert kinect.data.name == "frames" and kinect.data.root == roots["kinect"] and kinect.phase == "test"
        assert kinect.network.stages == known.network.stages or "test" not in row.run.words
    for name in SAME:
        changes = {"name": "benchmark", "root": None}
        twin = parse_launch([ROWS[name].run.experiment, *ROWS[name].run.words]).experiment
        mine = launch(name)
        mine = replace(mine, seed=twin.seed, transfer_net=None, data=replace(mine.data, **changes))
        assert mine == twin, "the same as on the benchmark, on other frames"
    for name in ("transfer-plain", "transfer-consistent"):
        known = launch(name)
        assert known.phase == "transfer" and known.data.name == "shrec" and known.seed == 0
        assert known.transfer.reader == tmp_path / "seed-0" / "pretrain" / "last.safetensors"
    adapted = launch("adapt-consistent")
    assert adapted.transfer_net == tmp_path / "real" / "seed-0" / "transfer-consistent" / "last.safetensors"
    assert launch("stage-2").transfer_net == adapted.transfer_net
    assert launch("shipped-self").start == launch("shipped").start == WEIGHTS / "sensor.safetensors"
    assert launch("shipped-self").optim.steps == EXPERIMENTS["ladder-self"].optim.steps
    assert launch("shipped-fitted").start == launch("shipped").start
    assert launch("shipped-self").rendered.noise, "beside hands like those that the shipped weights learned from"


def test_only_what_knows_no_real_frame_is_shared_with_the_benchmark(tmp_path):
    benchmark = {BENCHMARK.folder(tmp_path, name, 0) for name in (*BENCHMARK.runs, *BENCHMARK.rows)}
    shared = [name for name in (*REAL.runs, *REAL.rows) if REAL.folder(tmp_path, name, 0) in benchmark]
    assert shared == ["pretrain", "adapt-clean"]
    assert all(REAL.words(tmp_path, name, 0) == BENCHMARK.words(tmp_path, name, 0) for name in shared)
    steps = list(REAL.chain("synthetic", 1))
    assert steps == [("pretrain", 1), ("adapt-clean", 1), ("synthetic", 1)]
    assert [REAL.weights_of(name) for name in ("synthetic", "self", "shipped")] == ["adapt-clean", "self", None]


@pytest.fixture(scope="module")
def climbed(data) -> Ladder:
    """A ladder on which the two rows with shipped weights are finished, tiny."""
    (data / "benchmark.md").write_text("# Before\n\n{}\n{}\n\nAfter.\n".format(*REAL_SHEET.markers))
    main(options(data, "--rows", "shipped", "shipped-self"))
    return Ladder(data / "runs", data / "lines.jsonl", data / "benchmark.md", tuple(TINY.split()), REAL, REAL_SHEET)


def test_a_finished_row_leaves_a_line_weights_and_places_in_the_tables(climbed, data):
    lines = [json.loads(text) for text in climbed.results.read_text().splitlines()]
    assert [(line["row"], line["seed"], line["stage"]) for line in lines] == [
        ("shipped", 0, "stage2"),
        ("shipped-self", 0, "stage2"),
    ]
    for line in lines:
        assert (line["shrec"]["frames"], line["kinect"]["frames"]) == (3, 2)
        assert (line["shrec"]["pixel"]["tips"]["n"], line["kinect"]["model"]["tips"]["n"]) == (2, 1)
        assert 0 < line["shrec"]["model"]["iou"] < 1 and line["kinect"]["model"]["surface_mm_predbox"] > 0
        assert "--data.root SHREC" in line["command"] and str(data / "shrec") not in line["command"]
    text = climbed.document.read_text()
    assert text.startswith("# Before") and text.endswith("After.\n")
    assert all(caption in text for caption in REAL_SHEET.tables)
    rows = [row for row in text.splitlines() if row.startswith("| shipped")]
    assert len(rows) == 4 * 2 and not any(" - " in row for row in rows)
    assert climbed.kept("shipped-self", 0).is_file() and not climbed.kept("shipped", 0).exists()


def test_every_kinect_frame_is_in_its_picture(climbed):
    place = climbed.course.folder(climbed.runs, on_kinect("shipped"), 0)
    assert (place / "predictions" / "frames.txt").read_text().split() == ["0.png", "1.png"]
    picture = cv2.imread(str(place / "pictures" / "after.png"))
    assert picture is not None and picture.shape[0] > 2 * 256 and picture.shape[1] > 5 * 256


def test_marks_that_have_changed_are_scored_without_running_anything(climbed, data, monkeypatch):
    """Marks 3 px beside what the pixel branch predicts in the image as stored."""
    for frames, name in (("shrec", "shipped"), ("kinect", on_kinect("shipped"))):
        place = climbed.course.folder(climbed.runs, name, 0) / "predictions"
        files = (place / "frames.txt").read_text().split()
        values = np.loadtxt(place / "after_stage2_pixel_uvd.txt").reshape(len(files), -1, 3)
        tip = 9 if frames == "shrec" else 16
        write_marks(
            data / "marks" / f"{frames}.csv",
            {file: (row[tip, 0] - OFF_PX, row[tip, 1]) for file, row in zip(files, values, strict=True)},
        )
    monkeypatch.setattr(ladder, "subprocess", None)
    before = {line["row"]: line for line in map(json.loads, climbed.results.read_text().splitlines())}
    main(options(data, "--rows", "shipped"))
    assert before == {line["row"]: line for line in map(json.loads, climbed.results.read_text().splitlines())}
    main(options(data, "--rows", "shipped", "--rescore"))
    after = {line["row"]: line for line in map(json.loads, climbed.results.read_text().splitlines())}
    for frames, n in (("shrec", 3), ("kinect", 2)):
        tips = after["shipped"][frames]["pixel"]["tips"]
        assert tips["n"] == n and tips["median_px"] == pytest.approx(OFF_PX, abs=1e-3)
        assert tips["median_mm"] == pytest.approx(OFF_PX * DEPTH_MM / F[frames], abs=1e-3) and tips["within_10"] == 1
        assert after["shipped"][frames]["model"]["iou"] == before["shipped"][frames]["model"]["iou"]
    assert after["shipped-self"] == before["shipped-self"]


def test_without_kinect_frames_there_are_no_such_tables(climbed):
    lines = [json.loads(text) for text in climbed.results.read_text().splitlines()]
    for line in lines:
        line.pop("kinect")
    text = REAL_SHEET.text(lines)
    assert "SHREC'17" in text and "Kinect" not in text
    assert REAL_SHEET.text([]) == NOTHING


def test_kinect_frames_get_a_camera_file_unless_they_have_one(data, tmp_path):
    place = frames_folder(data / "kinect", tmp_path / "frames")
    assert place == tmp_path / "frames" and find_images(place) == ["0.png", "1.png"]
    camera = read_camera(place / "camera.json")
    assert (camera.fx, camera.cy, camera.flip) == (363.9, 206.3, True)
    assert frames_folder(data / "kinect", place) == place, "made anew"
    assert frames_folder(place, tmp_path / "other") == place and not (tmp_path / "other").exists()
    assert not (data / "kinect" / "camera.json").exists()
    with pytest.raises(UserError, match="point --kinect"):
        frames_folder(tmp_path, tmp_path / "other")


def test_a_hand_is_found_in_every_real_kinect_frame(shared, tmp_path):
    config = DataConfig(name="frames", root=frames_folder(shared / "data" / "kinect2", tmp_path), keep=False)
    store = prepare(list_frames(config, "test"), config)
    assert len(store) == 38 and store.mirrored_width == 512
    assert (store.centres_mm[:, 2] > 450).all() and (store.centres_mm[:, 2] < 750).all()


def test_refusals(data, tmp_path):
    with pytest.raises(UserError, match="add --shrec DIR"):
        main(["--on", "real", "--rows", "shipped"])
    with pytest.raises(UserError, match="choose synthetic"):
        main(options(data, "--rows", "supervised"))
    with pytest.raises(UserError, match=r"shrec\.csv is missing"):
        main(["--on", "real", "--rows", "all", "--shrec", str(data / "shrec"), "--marks", str(tmp_path)])
    with pytest.raises(UserError, match="leave --on real out"):
        main(["--on", "real", "--check"])
    with pytest.raises(UserError, match="put them in"):
        REAL_SHEET.write(tmp_path / "absent.md", [])
