"""Finger tips marked by eye: files of marks, the score on them, pictures to read them off, and the marks we have."""

import csv
import json
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.backend_bases import KeyEvent, MouseButton, MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.mark import main, score_table
from bench.mark_click import Clicker
from bench.mark_views import HEAD, RULER, Folder, View, sheet, together
from tests.recordings import hand_image
from tests.shared import SHARED
from util.errors import UserError
from util.joints import MANO21, SHREC22
from util.marks import NEAR_PX, TIPS, Marks, depth_at, read_marks, score_predictions, spread, tip_errors, write_marks
from util.predictions import write_predictions

DATA = Path(__file__).parent / "data" / "marks"
CAMERA = (460.0, 460.0, 320.0, 240.0)
HEADER = "file,joint,u,v,depth_mm\n"


def read_depth(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def marks_of(*rows: tuple[str, str, float, float, float], empty: tuple[str, ...] = ()) -> Marks:
    values = np.array([row[2:] for row in rows], np.float64).reshape(-1, 3)
    return Marks(tuple(r[0] for r in rows), tuple(r[1] for r in rows), values[:, :2], values[:, 2], empty)


def test_a_file_of_marks_comes_back_as_it_was_written(tmp_path):
    marks = marks_of(
        ("b,1.png", "wrist", 3.5, 4, 500), ("a.png", "thumb_tip", 1.25, -2, np.nan), empty=("none of it.png",)
    )
    write_marks(tmp_path / "m.csv", marks, ("a.png", "none of it.png", "b,1.png"))
    assert (tmp_path / "m.csv").read_text() == (
        f'{HEADER}a.png,thumb_tip,1.25,-2,\nnone of it.png,none,,,\n"b,1.png",wrist,3.5,4,500\n'
    )
    again = read_marks(tmp_path / "m.csv")
    assert again.files == ("a.png", "b,1.png") and again.joints == ("thumb_tip", "wrist")
    assert np.array_equal(again.uv, [[1.25, -2], [3.5, 4]]) and np.array_equal(again.depth_mm[1:], [500.0])
    assert np.isnan(again.depth_mm[0]) and again.frames == ("a.png", "b,1.png", "none of it.png")
    assert again.of(("a.png", "none of it.png")).frames == ("a.png", "none of it.png")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "does not exist"),
        ("a.png,thumb_tip,1,2,3\n", "does not begin with the line file,joint"),
        ("", "does not begin with the line file,joint"),
        (f"{HEADER}a.png,thumb_tip,1,2\n", "line 2 has 4 columns, not 5"),
        (f"{HEADER}a.png,thumb,1,2,3\n", "line 2 names the joint 'thumb': choose thumb_tip"),
        (f"{HEADER}a.png,wrist,1,x,3\n", "line 2 holds 'x' where a number belongs"),
        (f"{HEADER}a.png,wrist,1,2,inf\n", "line 2 holds 'inf' where a number belongs"),
        (f"{HEADER}a.png,wrist,1,,3\n", "line 2 has no u or no v"),
        (f"{HEADER}a.png,wrist,1,2,3\nb.png,wrist,1,2,3\na.png,wrist,1,2,3\n", "line 4 marks wrist of a.png a second"),
        (f"{HEADER}a.png,none,,,\na.png,wrist,1,2,3\n", "line 3 marks wrist of a.png a second time, or beside none"),
        (f"{HEADER}a.png,wrist,1,2,3\na.png,none,,,\n", "line 3 says none of a.png, which has marks"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, text, named):
    if text is not None:
        (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=rf"m\.csv.*{named}.*[.]$"):
        read_marks(tmp_path / "m.csv")


def test_a_mark_without_a_reading_takes_the_nearest():
    depth = np.zeros((20, 20))
    depth[10, 10], depth[10, 13] = 400, 500
    assert depth_at(depth, 10.9, 10.1) == 400, "its own"
    assert depth_at(depth, 12.4, 10.5) == 500 and depth_at(depth, 11.5, 10.5) == 400
    assert depth_at(depth, 10.5, 10.5 - NEAR_PX) == 400 and np.isnan(depth_at(depth, 10.5, 10.4 - NEAR_PX))
    depth[0, 0] = 300
    assert depth_at(depth, -1.0, 0.5) == 300, "beside the image"
    assert np.isnan(depth_at(np.zeros((5, 5)), 2.0, 2.0))


def test_errors_at_marks_are_known_ones():
    joints = np.zeros((2, 21, 3))
    joints[0, MANO21.names.index("index_tip")] = (103, 204, 999)
    joints[1, MANO21.names.index("thumb_tip")] = (50, 60, 999)
    joints[1, MANO21.names.index("wrist")] = (0, 10, 999)
    marks = marks_of(
        ("b", "thumb_tip", 50, 40, 460), ("a", "index_tip", 100, 200, 920), ("b", "wrist", 0, 0, 460), empty=("c",)
    )
    errors = tip_errors(marks, ("a", "b"), joints, (460.0, 920.0, 0.0, 0.0))
    assert np.allclose(errors.px, [20, 5, 10])
    assert np.allclose(errors.mm, [10, np.hypot(3 * 2, 4 * 1), 5])
    found = errors.summary()
    assert found["n"] == 2 and found["median_px"] == found["mean_px"] == 12.5
    assert found["mean_mm"] == pytest.approx((10 + np.hypot(6, 4)) / 2) and found["within_10"] == 1
    assert found["wrist"] == pytest.approx(
        {"n": 1, "median_px": 10, "mean_px": 10, "median_mm": 5, "mean_mm": 5, "within_10": 1}
    )
    nothing = tip_errors(marks.of(("c",)), ("a", "b"), joints, CAMERA).summary()
    assert nothing["n"] == 0 and nothing["median_mm"] is None


def predictions(folder: Path, joint_set, mirrored_width: int | None = 640) -> dict[str, np.ndarray]:
    """Two branches on three frames as the phase test writes them; u v of the thumb's tip in the images as stored."""
    rng = np.random.default_rng(0)
    places = {}
    for branch, scale in (("after_stage1_pixel", 100.0), ("after_stage1_model", 60.0)):
        joints_mm = rng.normal(size=(3, len(joint_set), 3)) * scale + (20, 30, 500)
        for kind in ("uvd", "xyz"):
            write_predictions(folder / f"{branch}_{kind}.txt", joints_mm, CAMERA, mirrored_width)
        tip = joints_mm[:, joint_set.names.index("thumb_tip")]
        uv = tip[:, :2] / tip[:, 2:] * 460 + (320, 240)
        places[branch] = np.stack([mirrored_width - uv[:, 0] if mirrored_width else uv[:, 0], uv[:, 1]], axis=-1)
    (folder / "frames.txt").write_text("a.png\nb.png\nc.png\n")
    return places


@pytest.mark.parametrize("joint_set", [MANO21, SHREC22], ids=lambda s: s.name)
@pytest.mark.parametrize("mirrored_width", [640, None])
def test_predictions_of_a_run_are_scored_by_branch(tmp_path, capsys, joint_set, mirrored_width):
    places = predictions(tmp_path, joint_set, mirrored_width)
    u, v = places["after_stage1_model"][2]
    write_marks(tmp_path / "m.csv", marks_of(("c.png", "thumb_tip", u + 8, v - 6, 575), empty=("z.png",)))
    scores = score_predictions(tmp_path, tmp_path / "m.csv")
    assert set(scores) == set(places)
    assert scores["after_stage1_model"]["median_px"] == pytest.approx(10, abs=1e-3)
    assert scores["after_stage1_model"]["median_mm"] == pytest.approx(12.5, abs=1e-2)
    assert scores["after_stage1_model"]["within_10"] == 0 and scores["after_stage1_model"]["wrist"]["n"] == 0
    other = np.linalg.norm(places["after_stage1_pixel"][2] - (u + 8, v - 6))
    assert scores["after_stage1_pixel"]["mean_px"] == pytest.approx(other, abs=1e-3)
    main(["score", str(tmp_path), "--marks", str(tmp_path / "m.csv")])
    printed = capsys.readouterr().out
    assert printed == f"{score_table(scores)}\n" and "12.50" in printed and "after_stage1_pixel" in printed


def test_what_cannot_be_scored_is_one_sentence(tmp_path):
    marks, folder = tmp_path / "m.csv", tmp_path / "predictions"
    folder.mkdir()
    write_marks(marks, marks_of(("a.png", "thumb_tip", 1, 2, np.nan)))
    with pytest.raises(UserError, match=r"marks without a depth: .*fill"):
        score_predictions(folder, marks)
    write_marks(marks, marks_of(("a.png", "thumb_tip", 1, 2, 500), ("y.png", "wrist", 1, 2, 500), empty=("z.png",)))
    with pytest.raises(UserError, match=r"frames\.txt does not exist"):
        score_predictions(folder, marks)
    (folder / "frames.txt").write_text("a.png\n")
    with pytest.raises(UserError, match=r"lacks 1 of the 2 marked frames, such as y\.png: .*--allow-missing"):
        score_predictions(folder, marks)
    with pytest.raises(UserError, match=r"holds no \*_uvd\.txt"):
        score_predictions(folder, marks, allow_missing=True)
    predictions(folder, MANO21)
    assert score_predictions(folder, marks, allow_missing=True)["after_stage1_pixel"]["n"] == 1
    (folder / "frames.txt").write_text("a.png\nb.png\n")
    with pytest.raises(UserError, match=r"_uvd\.txt has 3 frames and frames\.txt 2"):
        score_predictions(folder, marks, allow_missing=True)
    (folder / "frames.txt").write_text("b.png\n")
    with pytest.raises(UserError, match="lacks 2 of the 2 marked frames"):
        score_predictions(folder, marks, allow_missing=True)
    (folder / "frames.txt").write_text("a.png\nb.png\nc.png\n")
    (folder / "after_stage1_pixel_xyz.txt").unlink()
    with pytest.raises(UserError, match=r"after_stage1_pixel_xyz\.txt does not exist"):
        score_predictions(folder, marks, allow_missing=True)


def test_spread_of_marks_made_twice():
    first = marks_of(
        ("a", "thumb_tip", 0, 0, 500),
        ("a", "index_tip", 0, 0, 1000),
        ("a", "wrist", 0, 0, 500),
        ("b", "ring_tip", 9, 9, 500),
    )
    second = marks_of(
        ("a", "thumb_tip", 3, 4, 1), ("a", "index_tip", 0, 1, 1), ("a", "pinky_tip", 0, 1, 1), ("a", "wrist", 9, 9, 1)
    )
    assert spread(first, second, 500.0) == pytest.approx(
        {"frames": 1, "n": 2, "median_px": 3, "p90_px": 4.6, "median_mm": 3.5, "p90_mm": 4.7, "shared": 2 / 3}
    )


@pytest.fixture
def frames(tmp_path) -> Path:
    """A folder of two frames that are stored mirrored."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(2):
        assert cv2.imwrite(str(folder / f"{i}.png"), hand_image(300 + 40 * i, 150))
    camera = {"fx": 464.0, "fy": 464.0, "cx": 320.0, "cy": 240.0, "mirrored": True}
    (folder / "camera.json").write_text(json.dumps(camera))
    return folder


def test_a_view_is_the_image_as_stored(frames):
    view = Folder.open(frames).view("1.png")
    stored = read_depth(frames / "1.png")
    (left, top), (height, width) = view.corner, view.depth_mm.shape
    part = stored[top : top + height, left : left + width]
    assert np.array_equal(view.depth_mm[view.depth_mm > 0], part[view.depth_mm > 0])
    assert (view.depth_mm > 0).sum() == ((stored > 0) & (stored < 1000)).sum(), "the whole hand is in it"
    picture = sheet(view)
    x, y = view.place(left + 1, top + 1)
    assert (x, y) == (RULER + view.zoom, RULER + view.zoom)
    assert picture.shape == (HEAD + 2 * RULER + height * view.zoom, 2 * (2 * RULER + width * view.zoom), 3)
    marked = sheet(view, marks_of(("1.png", "index_tip", left + 9, top + 9, 1), ("0.png", "wrist", left, top, 1)))
    rows, columns = np.nonzero((marked != picture).any(axis=-1))
    x, y = view.place(left + 9, top + 9)
    assert (np.abs(rows - HEAD - y) < 30).all() and {*(columns // (picture.shape[1] // 2))} == {0, 1}
    assert (np.abs(columns % (picture.shape[1] // 2) - x) < 40).all()
    assert together([picture, picture[:50], picture], 2).shape == (2 * picture.shape[0], 2 * picture.shape[1], 3)


def test_sheets_depths_and_marks_from_the_command_line(frames, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("1.png\n")
    main(["sheet", str(frames), "--out", str(tmp_path / "one"), "--frames", str(tmp_path / "list.txt")])
    main(["sheet", str(frames), "--out", str(tmp_path / "all"), "--columns", "2"])
    assert [*(path.name for path in (tmp_path / "one").iterdir())] == ["000.png"]
    assert "2 frames in 1 pictures" in capsys.readouterr().out
    stored = read_depth(frames / "1.png")
    rows, columns = np.nonzero((stored > 0) & (stored < 1000))
    u, v = float(columns[0]), float(rows[0])
    path = tmp_path / "m.csv"
    write_marks(path, marks_of(("1.png", "index_tip", u + 0.5, v - 2, np.nan), empty=("0.png",)))
    main(["fill", str(path), str(frames)])
    near = stored[max(rows[0] - 2, 0) : rows[0] + 2, columns[0] - 2 : columns[0] + 3]
    assert read_marks(path).depth_mm[0] in near and read_marks(path).frames == ("1.png", "0.png")
    assert path.read_text().splitlines()[1] == "0.png,none,,,", "frames in the order of the data set"
    main(["show", str(path), str(frames), "--out", str(tmp_path / "shown")])
    main(["spread", str(path), str(path), "--focal", "464"])
    assert "median_mm  0.000" in capsys.readouterr().out and len([*(tmp_path / "shown").iterdir()]) == 1
    write_marks(path, marks_of(("1.png", "index_tip", u, v - 9, np.nan)))
    with pytest.raises(UserError, match=r"marks index_tip of 1\.png over 3 px beside the hand"):
        main(["fill", str(path), str(frames)])
    with pytest.raises(UserError, match=r"has neither train_gestures\.txt nor camera\.json"):
        main(["show", str(path), str(tmp_path), "--out", str(tmp_path)])
    (tmp_path / "list.txt").write_text("7.png\n")
    with pytest.raises(UserError, match=r"has no test frame 7\.png"):
        main(["sheet", str(frames), "--out", str(tmp_path), "--frames", str(tmp_path / "list.txt")])


def test_marks_are_clicked_in_a_window(frames):
    folder = Folder.open(frames)
    figure = Figure(figsize=(8, 5))
    canvas = FigureCanvasAgg(figure)
    clicker = Clicker(figure, folder.names, folder.view, marks_of(("0.png", "wrist", 310.0, 200.0, 450)))
    saved: list[Marks] = []
    clicker.saved = saved.append

    def press(*keys: str) -> None:
        for key in keys:
            canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", canvas, key))

    def click_at(view: View, u: float, v: float, panel: int) -> None:
        x, y = view.place(u, v)
        across = panel * (view.depth_mm.shape[1] * view.zoom + 2 * RULER)
        canvas.draw()
        place = figure.axes[0].transData.transform((x + across, y + HEAD))
        canvas.callbacks.process(
            "button_press_event", MouseEvent("button_press_event", canvas, *place, button=MouseButton.LEFT)
        )

    left, top = folder.view("0.png").corner
    press("2")
    click_at(folder.view("0.png"), left + 20, top + 30, panel=1)
    click_at(folder.view("0.png"), left + 21, top + 30, panel=0)
    click_at(folder.view("0.png"), left - 3, top + 30, panel=0)
    press("n", "n", "x", "0", "s")
    (marks,) = saved
    assert marks.files == ("0.png", "0.png") and marks.joints == ("wrist", "index_tip") and marks.empty == ("1.png",)
    assert np.allclose(marks.uv, [[310, 200], [left + 21, top + 30]], atol=0.3)
    press("p", "6", "d", "s")
    assert saved[1].joints == ("index_tip",)


@pytest.mark.parametrize(("name", "least", "tips"), [("shrec", 60, 150), ("kinect", 38, 130)])
def test_the_marks_that_come_with_the_project(name, least, tips):
    marks, again = read_marks(DATA / f"{name}.csv"), read_marks(DATA / f"{name}_again.csv")
    assert len(marks.frames) >= least and len(marks.frames) == len({*marks.frames})
    assert len({*marks.files}) >= (60 if name == "shrec" else 34)
    assert sum(joint in TIPS for joint in marks.joints) >= tips
    assert all(Counter(marks.joints)[tip] >= 20 for tip in TIPS)
    assert (marks.depth_mm > 150).all() and (marks.depth_mm < 1500).all() and {*again.frames} <= {*marks.frames}
    width, height = (640, 480) if name == "shrec" else (512, 424)
    assert (marks.uv >= 0).all() and (marks.uv < (width, height)).all()
    if name == "shrec":
        subjects = Counter(frame.split("/")[2] for frame in marks.frames)
        assert subjects.keys() == {f"subject_{number}" for number in (2, 9, 16, 25)} and min(subjects.values()) >= 10
        assert {frame.split("/")[0] for frame in marks.frames} == {f"gesture_{g}" for g in range(1, 15)}
    distance = spread(marks, again, 464.0 if name == "shrec" else 364.0)
    assert distance["p90_mm"] < 5 and distance["shared"] > 0.8


def test_fifteen_frames_are_marked_twice():
    assert sum(len(read_marks(DATA / f"{name}_again.csv").frames) for name in ("shrec", "kinect")) == 15


@pytest.mark.parametrize("which", ["kinect", "kinect_again"])
def test_kinect_marks_lie_on_a_hand(shared, which):
    folder = shared / "data" / "kinect2"
    if not folder.is_dir():
        pytest.skip("../shared/data/kinect2 is absent")
    marks = read_marks(DATA / f"{which}.csv")
    assert {*read_marks(DATA / "kinect.csv").frames} == {path.name for path in folder.glob("*.png")}
    for file, (u, v), depth_mm in zip(marks.files, marks.uv, marks.depth_mm, strict=True):
        stored = read_depth(folder / file).astype(np.float64)
        on_hand = np.where(np.abs(stored - depth_mm) < 1, stored, 0)
        assert depth_at(on_hand, u, v) == depth_mm


@pytest.mark.parametrize("which", ["shrec", "shrec_again"])
def test_shrec_marks_lie_on_a_hand(which):
    """Against the stored crops: a mark's depth is that of a reading within reach."""
    packed = SHARED / "data" / "shrec17"
    if not (packed / "train_crops.zip").is_file():
        pytest.skip("../shared/data/shrec17 is absent")
    index = np.load(packed / "train_index.npz")
    names = zip(*(index[name] for name in ("gesture", "finger", "subject", "essai")), strict=True)
    row_of = {f"gesture_{g}/finger_{f}/subject_{s}/essai_{e}": row for row, (g, f, s, e) in enumerate(names)}
    marks = read_marks(DATA / f"{which}.csv")
    with zipfile.ZipFile(packed / "train_crops.zip") as archive:
        for file, (u, v), depth_mm in zip(marks.files, marks.uv, marks.depth_mm, strict=True):
            recording, _, image = file.rpartition("/")
            row, number = row_of[recording], int(image.split("_")[0])
            mosaic = np.frombuffer(archive.read(f"{index['sequence'][row]:04d}.png"), np.uint8)
            crops = cv2.imdecode(mosaic, cv2.IMREAD_UNCHANGED)
            assert crops is not None
            top, left = 50 * (number // 4), 50 * (number % 4)
            y0, y1, x0, x1 = (int(edge) for edge in index["box"][row, number])
            crop = np.ascontiguousarray(crops[top : top + 50, left : left + 50])
            part = cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST).astype(np.float64)
            on_hand = np.where(part == depth_mm, part, 0)
            assert depth_at(on_hand, u - x0, v - y0) == depth_mm


def test_files_of_marks_are_plain_csv():
    for path in DATA.glob("*.csv"):
        with path.open(newline="") as file:
            rows = [*csv.DictReader(file)]
        assert rows and all({*row} == {"file", "joint", "u", "v", "depth_mm"} for row in rows)
