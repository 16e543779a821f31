"""evaluate.py: scores worked out by hand, published scores, files in every form, and each error's sentence."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import evaluate
from tests.shared import SHARED
from util.benchmarks import BENCHMARKS
from util.errors import UserError
from util.predictions import read_predictions, write_predictions

PUBLISHED = SHARED / "data" / "benchmarks"
EXPECTED = PUBLISHED / "expected_scores.json"
FRAMES = 6


def hands(joints: int, frames: int = FRAMES) -> np.ndarray:
    """(frames, joints, 3) mm in front of the camera, y down, away from its axis."""
    rng = np.random.default_rng(0)
    return rng.uniform(-80, 80, (frames, joints, 3)) + np.array((60, -90, 700))


def uvd(name: str, joints_mm: np.ndarray) -> np.ndarray:
    """Pixels and mm, projected here as the data sets define it."""
    fx, fy, cx, cy = BENCHMARKS[name].camera
    x, y, z = np.moveaxis(joints_mm, -1, 0)
    return np.stack([fx * x / z + cx, fy * y / z + cy, z], axis=-1)


def write(path: Path, values: np.ndarray) -> str:
    np.savetxt(path, values.reshape(len(values), -1), fmt="%.6f")
    return str(path)


def scores(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    """What --json prints on its last line."""
    evaluate.main([*words, "--json"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Labels of 6 NYU frames, and predictions: joint 3 is 14 mm off in x, in frame 5 also joint 12, 42 mm in y."""
    true_mm = hands(14)
    predicted_mm = true_mm.copy()
    predicted_mm[:, 3, 0] += 14
    predicted_mm[5, 12, 1] += 42
    return {
        "truth": write(tmp_path / "truth.txt", uvd("nyu", true_mm)),
        "truth_xyz": write(tmp_path / "truth_xyz.txt", true_mm),
        "uvd": write(tmp_path / "pixels.txt", uvd("nyu", predicted_mm)),
        "xyz": write(tmp_path / "camera.txt", predicted_mm),
        "xyz-up": write(tmp_path / "upwards.txt", predicted_mm * (1, -1, 1)),
    }


@pytest.mark.parametrize("kind", ["uvd", "xyz", "xyz-up"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "auto"])
def test_scores_by_hand(files: dict[str, str], capsys: pytest.CaptureFixture[str], kind: str, told: bool) -> None:
    words = ["--format", kind] if told else []
    found = scores(capsys, "nyu", files[kind], "--ground-truth", files["truth"], *words)
    (score,) = found["files"].values()
    assert (found["data_set"], score["reading"], score["frames"], score["joints"]) == ("nyu", kind, 6, 14)
    assert score["mean_mm"] == pytest.approx((6 * 14 + 42) / (6 * 14), abs=1e-4)
    assert score["mean_first_11_mm"] == pytest.approx(14 / 11, abs=1e-4)
    assert score["joint_mm"]["ring_root"] == pytest.approx(14, abs=1e-4)
    assert score["joint_mm"]["wrist_1"] == pytest.approx(7, abs=1e-4)
    assert score["success"] == pytest.approx({"20": 500 / 6, "30": 500 / 6, "40": 500 / 6, "50": 100})
    assert score["curve"]["percent"][13:16:2] == pytest.approx([0, 500 / 6])
    assert score["parts"] == {}


def test_labels_in_millimetres(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("nyu", files["uvd"], "--ground-truth", files["truth_xyz"], "--truth-format", "xyz")
    assert scores(capsys, *words)["files"]["pixels"]["mean_mm"] == pytest.approx(1.5, abs=1e-4)
    with pytest.raises(UserError, match=r"outside the 640x480 image.*--truth-format xyz"):
        evaluate.main(["nyu", files["uvd"], "--ground-truth", files["truth_xyz"]])


def test_readings_that_are_both_near_are_not_guessed(tmp_path: Path) -> None:
    true_mm = hands(14) * (1, 0.01, 1)  # nearly on the optical axis: up and down are all but the same
    truth = write(tmp_path / "truth.txt", uvd("nyu", true_mm + np.array((0, 90, 0))))
    prediction = write(tmp_path / "a.txt", true_mm + np.array((300, 2, 0)))
    with pytest.raises(UserError, match=r"a\.txt is \d+ mm off the labels when read as .* add --format"):
        evaluate.main(["nyu", prediction, "--ground-truth", truth])


@pytest.mark.parametrize(
    ("name", "kept", "joints"),
    [("nyu", list(range(11)), 14), ("icvl", list(range(15)), 16), ("msra", list(range(1, 20)), 21)],
)
def test_published_subsets_are_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kept: list[int], joints: int
) -> None:
    true_mm = hands(joints)
    moved = true_mm + (np.arange(joints) + 1.0)[:, None] * (1, 0, 0)
    truth, prediction = (write(tmp_path / f"{n}.txt", uvd(name, mm)) for n, mm in (("t", true_mm), ("p", moved)))
    words = (name, prediction, "--ground-truth", truth)
    assert scores(capsys, *words)["files"]["p"]["mean_mm"] == pytest.approx((joints + 1) / 2, abs=1e-4)
    published = scores(capsys, *words, "--as-published")
    assert published["as_published"] is True
    assert published["files"]["p"]["joints"] == len(kept)
    assert published["files"]["p"]["mean_mm"] == pytest.approx(np.mean(kept) + 1, abs=1e-4)


def test_hands17_is_scored_in_millimetres_with_names_of_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    true_mm = hands(21)

    def named(path: Path, joints_mm: np.ndarray, start: int = 0) -> str:
        rows = ["\t".join(map(str, row)) for row in joints_mm.reshape(len(joints_mm), -1)]
        path.write_text("".join(f"image_D{i + start:08d}.png\t{row}\n" for i, row in enumerate(rows)))
        return str(path)

    truth = named(tmp_path / "truth.txt", true_mm)
    prediction = named(tmp_path / "p.txt", true_mm + np.array((0, 0, 5)))
    found = scores(capsys, "hands17", prediction, "--ground-truth", truth)["files"]["p"]
    assert (found["reading"], found["mean_mm"]) == ("xyz", pytest.approx(5))
    other = named(tmp_path / "other.txt", true_mm, start=1)
    with pytest.raises(UserError, match=r"other\.txt has frame image_D00000001\.png where the labels have .*row 0"):
        evaluate.main(["hands17", other, "--ground-truth", truth])
    with pytest.raises(UserError, match="no published evaluation of hands17"):
        evaluate.main(["hands17", prediction, "--ground-truth", truth, "--as-published"])


def test_several_files_are_one_table_and_one_figure(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nyu", files["uvd"], files["truth"], "--ground-truth", files["truth"]]
    evaluate.main([*words, "--plot", str(tmp_path / "new" / "curves.png")])
    out = capsys.readouterr().out
    heads = next(line for line in out.splitlines() if "first 11" in line)
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert " ".join(heads.split()) == "mean mm first 11 20 mm % 30 mm % 40 mm % 50 mm %"
    assert rows["pixels"].split() == ["pixels", "1.50", "1.27", "83.33", "83.33", "83.33", "100.00"]
    assert rows["truth"].split()[1] == "0.00"
    assert rows["ring_root"].split() == ["ring_root", "14.00", "0.00"]
    picture = cv2.imread(str(tmp_path / "new" / "curves.png"))
    assert picture is not None
    assert picture.shape[1] == 2160
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (picture == colour[::-1]).all(axis=-1).sum() > 500, "a curve of each file"
    for suffix, head in ((".pdf", b"%PDF"), (".svg", b"<?xml")):
        path = tmp_path / f"curves{suffix}"
        evaluate.main([*words, "--plot", str(path)])
        assert path.read_bytes().startswith(head)
    assert b"pinky root" in (tmp_path / "curves.svg").read_bytes(), "letters stay letters"


def test_files_of_one_name_are_told_apart_by_their_folders(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        copies.append(write(tmp_path / folder / "p.txt", uvd("nyu", hands(14))))
    assert list(scores(capsys, "nyu", *copies, "--ground-truth", files["truth"])["files"]) == ["a/p", "b/p"]
    with pytest.raises(UserError, match="named twice"):
        evaluate.main(["nyu", copies[0], copies[0], "--ground-truth", files["truth"]])


def test_subjects_and_sequences_are_split_where_the_published_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    true_mm = hands(16, 1596)
    moved = true_mm.copy()
    moved[:702, :, 2] += 1
    moved[702:, :, 2] += 3
    truth, prediction = write(tmp_path / "t.txt", true_mm), write(tmp_path / "p.txt", moved)
    words = ("icvl", prediction, "--ground-truth", truth, "--truth-format", "xyz")
    parts = scores(capsys, *words)["files"]["p"]["parts"]
    assert {name: part["frames"] for name, part in parts.items()} == {"sequence 1": 702, "sequence 2": 894}
    assert [part["mean_mm"] for part in parts.values()] == pytest.approx([1, 3])
    assert [BENCHMARKS["nyu"].groups(8252)[row] for row in (2439, 2440)] == ["subject 1", "subject 2"]
    for frames in (76_391, 76_375):
        groups = BENCHMARKS["msra"].groups(frames)
        assert (len(groups), groups[0], groups[8498], groups[8499], groups[-1]) == (
            frames, "subject 0", "subject 0", "subject 1", "subject 8",
        )  # fmt: skip
    assert BENCHMARKS["nyu"].groups(8251) == ()


@pytest.mark.parametrize("name", ["p_uvd.txt", "p_xyz.txt", "p_uvd.npz", "p_xyz.npz"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_written_predictions_are_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, mirrored: bool
) -> None:
    icvl = BENCHMARKS["icvl"]
    stored_mm = hands(16)  # in the orientation of the data set's own images
    fx, fy, cx, cy = icvl.camera
    loaded_mm, camera, width = (
        (stored_mm * (-1, 1, 1), (fx, fy, 320 - cx, cy), 320) if mirrored else (stored_mm, icvl.camera, None)
    )
    write_predictions(tmp_path / name, loaded_mm.astype(np.float32), camera, width, icvl.joints.names)
    file = read_predictions(tmp_path / name, 16, icvl.joints.names)
    wanted = uvd("icvl", stored_mm) if "uvd" in name else stored_mm
    assert np.abs(file.values - wanted).max() < 1e-3
    truth = write(tmp_path / "truth.txt", uvd("icvl", stored_mm))
    found = scores(capsys, "icvl", str(tmp_path / name), "--ground-truth", truth)["files"][Path(name).stem]
    assert found["reading"] == Path(name).stem[-3:]
    assert found["mean_mm"] < 1e-3


def test_the_writer_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    camera, joints_mm = BENCHMARKS["nyu"].camera, hands(14)
    for name in ("p.txt", "p_uvd.csv"):
        with pytest.raises(ValueError, match="does not end in"):
            write_predictions(tmp_path / name, joints_mm, camera)
    joints_mm[3, 4, 2] = 0
    with pytest.raises(ValueError, match="have a depth"):
        write_predictions(tmp_path / "p_uvd.txt", joints_mm, camera)
    joints_mm[3, 4, 2] = np.nan
    with pytest.raises(ValueError, match="some are missing"):
        write_predictions(tmp_path / "p_xyz.txt", joints_mm, camera)
    assert not list(tmp_path.iterdir())


def test_labels_of_a_data_set_are_those_of_its_own_orientation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "icvl"
    root.mkdir()
    joints_mm = hands(16) * (1, 1, 0.5)
    rows = [" ".join(f"{value:.4f}" for value in frame.flatten()) for frame in uvd("icvl", joints_mm)]
    for sequence, chosen in ((1, rows[:2]), (2, rows[2:])):
        lines = [f"test_seq_{sequence}/image_{i:04d}.png {row}\n" for i, row in enumerate(chosen)]
        (root / f"test_seq_{sequence}.txt").write_text("".join(lines))
    prediction = write(tmp_path / "p.txt", uvd("icvl", joints_mm + np.array((3, 0, 0))))
    found = scores(capsys, "icvl", prediction, "--root", str(root))["files"]["p"]
    assert found["mean_mm"] == pytest.approx(3, abs=1e-3)
    assert {name: part["frames"] for name, part in found["parts"].items()} == {"sequence 1": 2, "sequence 2": 4}
    with pytest.raises(UserError, match="does not exist"):
        evaluate.main(["icvl", prediction, "--root", str(tmp_path / "absent")])


def damaged(path: Path, line: int, text: str) -> str:
    """A copy of a file with another line (from 0)."""
    lines = path.read_text().splitlines()
    lines[line] = text.format(*lines[line].split())
    copy = path.with_name("damaged.txt")
    copy.write_text("\n".join(lines))
    return str(copy)


NUMBERS = " ".join(f"{{{k}}}" for k in range(42))


@pytest.mark.parametrize(
    ("line", "text", "sentence"),
    [
        (2, NUMBERS.replace("{7}", "nan"), "line 3 holds a number that is not finite"),
        (2, NUMBERS.replace("{7}", "inf"), "line 3 holds a number that is not finite"),
        (1, NUMBERS.replace("{7}", "oops"), "line 2 holds 'oops', which is no number"),
        (0, NUMBERS.replace("{0}", "oops"), "line 1 holds 'oops', which is no number"),
        (4, NUMBERS.removesuffix(" {41}"), "line 5 has 41 numbers, not 42 for 14 joints"),
        (4, NUMBERS + " 1", "line 5 has 43 numbers, not 42 for 14 joints"),
        (3, "", "has 5 frames and .*truth.txt has 6"),
    ],
)
def test_a_damaged_line_is_named(files: dict[str, str], line: int, text: str, sentence: str) -> None:
    wrong = damaged(Path(files["uvd"]), line, text)
    with pytest.raises(UserError, match=rf"damaged\.txt {sentence}.*: .*\.$"):
        evaluate.main(["nyu", wrong, "--ground-truth", files["truth"]])


def test_a_damaged_npz_is_told(files: dict[str, str], tmp_path: Path) -> None:
    joints = hands(14)
    names = BENCHMARKS["nyu"].joints.names
    unknown = joints.copy()
    unknown[2, 1, 0] = np.nan
    cases = {
        "shape": ({"joints_mm": joints[:, :13]}, r"shape \(6, 13, 3\), not \(frames, 14, 3\)"),
        "neither": ({"joints": joints}, "holds neither of joints_uvd and joints_mm"),
        "both": ({"joints_uvd": joints, "joints_mm": joints}, "keep one of them"),
        "nan": ({"joints_mm": unknown}, r"frame 2 \(from 0\) holds a number that is not finite"),
        "names": ({"joints_mm": joints, "names": np.array(names[::-1])}, "holds the joints palm, wrist_1"),
        "empty": ({"joints_mm": joints[:0]}, "holds no frames"),
        "objects": ({"joints_mm": np.array([{}], object)}, "cannot be read, it is no readable array"),
    }
    for name, (arrays, sentence) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=rf"{name}\.npz .*{sentence}"):
            evaluate.main(["nyu", str(tmp_path / f"{name}.npz"), "--ground-truth", files["truth"]])
    (tmp_path / "zip.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"zip\.npz cannot be read"):
        evaluate.main(["nyu", str(tmp_path / "zip.npz"), "--ground-truth", files["truth"]])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Name a data set (nyu, icvl, msra, hands17) and files of predictions"),
        (["nyu"], "There is nothing to score"),
        (["nyu", "p.txt"], "Labels come from one of --ground-truth FILE and --root DIR"),
        (["nyu", "p.txt", "--ground-truth", "t.txt", "--root", "."], "Labels come from one of"),
        (["nyu", "p.txt", "--ground-truth", "absent.txt"], "absent.txt does not exist"),
        (["nyu", "p.txt", "--ground-truth", "absent.txt", "--plot", "a.jpg"], "--plot a.jpg does not end in"),
        (["nyu", "p.txt", "--ground-truth", "t.txt", "--subjects", "1"], "--subjects is for msra"),
        (["shrec", "p.txt"], "shrec"),
        (["nyu", "p.txt", "--groundtruth", "t.txt"], "did you mean --ground-truth?"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(root: Path, words: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "evaluate.py", *words], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_what_holds_no_predictions_is_told(files: dict[str, str], tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("\n\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, sentence in ((tmp_path, "does not exist"), (empty, "holds no frames"), (binary, "read as text")):
        with pytest.raises(UserError, match=sentence):
            evaluate.main(["nyu", str(path), "--ground-truth", files["truth"]])


def test_files_are_scored_without_torch(files: dict[str, str], root: Path) -> None:
    program = f"import sys, evaluate; evaluate.main({['nyu', files['uvd'], '--ground-truth', files['truth']]!r}); "
    program += "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True)


@pytest.mark.skipif(not EXPECTED.is_file(), reason="../shared/data/benchmarks is not at hand")
@pytest.mark.parametrize("name", ["nyu", "icvl"])
def test_published_predictions_score_as_published(capsys: pytest.CaptureFixture[str], name: str) -> None:
    expected = json.loads(EXPECTED.read_text())[name]
    predictions = [str(PUBLISHED / name / f"{method}.txt") for method in expected]
    found = scores(capsys, name, *predictions, "--ground-truth", str(PUBLISHED / name / "test_groundtruth.txt"))
    assert list(found["files"]) == list(expected)
    for method, wanted in expected.items():
        score = found["files"][method]
        assert score["mean_mm"] == pytest.approx(wanted["mean_mm"], abs=0.001)
        assert score["success"] == pytest.approx(wanted["success"], abs=0.01)
        assert len(score["parts"]) == 2
        if "mean_first_11_mm" in wanted:
            assert score["mean_first_11_mm"] == pytest.approx(wanted["mean_first_11_mm"], abs=0.001)
