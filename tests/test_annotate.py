"""The command: a data set in, new poses beside it; gone on with, shared out, compared, and refused in one sentence."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import annotate
from annotating.annotations import MEASURES, Annotations
from annotating.choices import Choices
from annotating.compare import compare, comparison_table
from annotating.formats.catalogue import format_of
from annotating.one_shape import SHAPE, OneShape, subject_shapes
from annotating.output import write_frames
from annotating.place import SHARDS, Place
from annotating.run import Annotator, annotate as annotate_source
from bench import annotated
from dataloader.crop import HandCrop
from dataloader.datasets import shrec
from predicting.engine import EngineAnswer, TorchEngine
from predicting.output.tables import read_predictions_npz
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from tests.annotated import hands, true_annotations, write_folder, write_gestures, write_icvl, write_msra, write_nyu
from util.errors import UserError

OWN_FILES = {"icvl": "train.txt", "msra": "P0/1/joint.txt", "nyu": "test/joint_data.mat"}


@cache
def _engine() -> TorchEngine:
    return TorchEngine(device="cpu", precision="fp32")


@cache
def _layer() -> HandLayer:
    return HandLayer(load_hand_model())


def _checksums(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _main(*words: object) -> int:
    return annotate.main([*map(str, words), "--device", "cpu"])


def test_a_data_set_gets_new_skeletons_beside_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "set", tmp_path / "set-annotated"
    write_gestures(root, shrec.LAYOUT)
    before = _checksums(root)
    words = ["shrec", "--root", root, "--meshes", "ply", "--animate", "gesture_3/*", "--link-images"]
    assert _main(*words) == 0
    assert _checksums(root) == before, "originals are only read"
    said = capsys.readouterr().out
    assert said.startswith("shrec: 6 frames: ") and "1 no hand box" in said and "all joints" in said
    compared = json.loads((out / "comparison.json").read_text())["shrec"]
    assert compared["labelled"] == 5 and compared["not_alike"] == ["palm"] and len(compared["all"]["joints"]) == 21
    assert compared["all"]["frames"] == 5 and 0 < compared["all"]["median_mm"] < 40, "clean rendered hands"
    last = "gesture_3/finger_1/subject_7/essai_1/2_depth.png"
    assert json.loads((out / "summary.json").read_text())["parts"]["shrec"]["without_hand"] == {"no hand box": [last]}
    lines = (out / "shrec-frames.csv").read_text().splitlines()
    assert len(lines) == 7 and lines[-1].startswith(f"{last},") and ",no hand,no hand box,0.0000," in lines[-1]
    # in the camera of the images as stored: the mesh lies on the hand of the unflipped image
    assert len(list((out / "meshes").rglob("*.ply"))) == 5
    mesh = (out / "meshes/gesture_1/finger_1/subject_2/essai_1/0_depth.ply").read_bytes()
    vertices = np.frombuffer(mesh.partition(b"end_header\n")[2], "<f4", 778 * 3).reshape(-1, 3)
    seen = hands("gestures", 3)[0][0][:, ::-1] > 0
    u, v = (vertices[:, :2] / vertices[:, 2:] * 463.889 + (320, 240)).astype(int).T
    assert seen[v.clip(0, 479), u.clip(0, 639)].mean() > 0.7 > seen[v.clip(0, 479), 639 - u.clip(0, 639)].mean()
    film = Image.open(out / "animations/shrec_gesture_3_finger_1_subject_7_essai_1.gif")
    assert getattr(film, "n_frames", 1) == 3
    # with links to the images it is a data set
    linked = out / "gesture_1/finger_1/subject_2/essai_1/0_depth.png"
    assert linked.is_symlink() and linked.read_bytes() == (root / linked.relative_to(out)).read_bytes()
    # the same command has nothing left to predict, and writes the same
    shard = next((out / SHARDS).rglob("*.npz"))
    written, stamp = _checksums(out), shard.stat().st_mtime_ns
    assert _main(*words) == 0 and _checksums(out) == written and shard.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("name", "write"), [("icvl", write_icvl), ("msra", write_msra), ("nyu", write_nyu)])
def test_labelled_data_sets(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / "set")
    before = _checksums(tmp_path / "set")
    few = ["--subjects", "3", "--frames", "1"] if name == "msra" else []
    assert _main(name, "--root", tmp_path / "set", "--out", tmp_path / "new", *few) == 0
    assert _checksums(tmp_path / "set") == before
    for part in json.loads((tmp_path / "new/comparison.json").read_text()).values():
        assert part["all"]["frames"] > 0 and 0 < part["all"]["median_mm"] < 40, "clean rendered hands"
    if name == "msra":
        assert not (tmp_path / "new/P0").exists()
        assert (tmp_path / "new/P3/1/joint.txt").read_text().splitlines()[2].split() == ["0.0000"] * 63
    else:
        assert (tmp_path / "new" / OWN_FILES[name]).is_file()


class _Interrupted:
    """An engine that is interrupted, as by Ctrl-C, after so many batches, and counts the crops that it has read."""

    def __init__(self, after: int) -> None:
        self.after, self.crops = after, 0

    @property
    def faces(self) -> torch.Tensor:
        return _engine().faces

    def __call__(self, crop: HandCrop) -> EngineAnswer:
        if self.after == 0:
            raise KeyboardInterrupt
        self.after -= 1
        self.crops += len(crop.centre_mm)
        return _engine()(crop)


def test_what_was_stopped_goes_on(tmp_path: Path) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT)
    choices = Choices("shrec", tmp_path / "set", device="cpu", batch=1, shard=2)
    [source] = format_of(choices).open(choices)
    whole = annotate_source(source, choices, Place(source.root, tmp_path / "whole"), OneShape(_engine(), _layer()))
    place = Place(source.root, tmp_path / "stopped")
    stopped = _Interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        annotate_source(source, choices, place, OneShape(stopped, _layer()))
    assert stopped.crops == 3 and len(list(place.shards.rglob("*.npz"))) == 1, "one shard of two frames is whole"
    rest = _Interrupted(-1)
    found = annotate_source(source, choices, place, OneShape(rest, _layer()))
    assert rest.crops == 3, "of five frames with a hand, the two that were kept are not read again"
    for name, column in found.columns().items():
        assert np.array_equal(column, whole.columns()[name], equal_nan=column.dtype.kind == "f"), name
    # other settings are other work
    again = _Interrupted(-1)
    annotate_source(source, replace(choices, cube_mm=240.0), place, OneShape(again, _layer()))
    assert again.crops == 5


def test_ctrl_c_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT)
    monkeypatch.setattr(TorchEngine, "__call__", _Interrupted(0).__call__)
    assert _main("shrec", "--root", tmp_path / "set") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "set-annotated/gesture_1").exists(), "nothing is written before all is predicted"


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch is without gloo"
)
def test_two_processes_leave_what_one_leaves(tmp_path: Path, root: Path) -> None:
    write_folder(tmp_path / "set", 4)
    words = ["folder", "--root", tmp_path / "set", "--shard", "1", "--batch", "2", "--meshes", "obj"]
    command = [sys.executable, "annotate.py", *map(str, words), "--out", str(tmp_path / "two"), "--processes", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--device", "cpu"], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("frames: 4 frames: ") == 1, "one process tells"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert _main(*words, "--out", tmp_path / "one") == 0
    finally:
        torch.set_num_threads(threads)
    one, two = (_checksums(tmp_path / out) for out in ("one", "two"))
    for told in (one, two):
        assert told.pop("summary.json"), "it holds the settings, and these differ"
    assert one == two and len([name for name in one if name.startswith("meshes/")]) == 3
    rows = read_predictions_npz(tmp_path / "two/predictions.npz")
    assert [row.frame for row in rows] == ["8.png", "9.png", "10.png", "11.png"] and rows[3].status == "no hand"


def test_one_shape_a_subject(tmp_path: Path) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT)
    choices = Choices("shrec", tmp_path / "set", device="cpu", refine=2)
    [source] = format_of(choices).open(choices)
    free = true_annotations(source, hands("gestures", 3)[1], without=(5,))
    free.params[:, SHAPE] += np.array([[0], [1], [5], [-1], [-2], [0]], np.float32)  # the third frame is far off
    free.status[3] = "poor fit"
    shapes = subject_shapes([source], [free])
    assert set(shapes) == {"subject 2", "subject 7"}
    assert np.allclose(shapes["subject 2"], np.median(free.params[:3, SHAPE], axis=0))
    assert np.allclose(shapes["subject 7"], free.params[4, SHAPE]), "a hand that does not fit says nothing of its shape"
    held = {
        "subject 2": np.array([0.3] * 10 + [1.05], np.float32),
        "subject 7": np.array([0.0] * 10 + [0.9], np.float32),
    }
    rows = [0, 1, 3, 4]
    plain = Annotator(source, replace(choices, refine=0), OneShape(_engine(), _layer()), None)(rows)
    for refine in (0, 2):
        steady = Annotator(source, replace(choices, refine=refine), OneShape(_engine(), _layer()), held)(rows)
        for k, subject in enumerate(["subject 2"] * 2 + ["subject 7"] * 2):
            assert np.allclose(steady.params[k, SHAPE], held[subject], atol=1e-5)
        if not refine:
            away = steady.joints_mm.mean(1) - plain.joints_mm.mean(1)
            assert np.abs(away).max() < 0.01, "the middle of the joints stays"
        decoded = dict(steady.surfaces(_layer(), range(4)))
        tips = np.stack([decoded[k][_layer().tip_vertex_ids.numpy()] for k in range(4)])
        assert np.abs(tips - steady.joints_mm[:, 16:]).max() < 0.01, "joints are those of the parameters"


def test_distances_are_those_of_joints_that_both_define(tmp_path: Path) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT)
    choices = Choices("shrec", tmp_path / "set")
    [source] = format_of(choices).open(choices)
    found = true_annotations(source, hands("gestures", 3)[1], without=(1,))
    moved = replace(found, joints_mm=found.joints_mm + np.array([0, 3, 4], np.float32))
    moved.status[0] = "poor fit"
    result = compare(source, moved)
    assert result is not None and result["labelled"] == 5 and result["labelled_without_hand"] == 1
    assert result["all"]["frames"] == 4 and result["fitting"]["frames"] == 3
    assert result["all"]["mean_mm"] == pytest.approx(5, abs=0.01)
    assert all(joint["median_mm"] == pytest.approx(5, abs=0.01) for joint in result["fitting"]["joints"].values())
    table = comparison_table({"shrec": result})
    assert "4 frames, 3 of them fit" in table and "index_tip" in table and "palm" in table.splitlines()[-1]
    unlabelled = replace(source, labels_mm=None)
    assert compare(unlabelled, moved) is None


def test_marked_tips_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT)
    choices = Choices("shrec", tmp_path / "set")
    [source] = format_of(choices).open(choices)
    found = true_annotations(source, hands("gestures", 3)[1], without=(1,))
    write_frames(source, found, Place(source.root, tmp_path / "new"))
    tip_mm = source.as_stored(found.joints_mm[0, 16].astype(np.float64))
    u, v = tip_mm[:2] / tip_mm[2] * 463.889 + (320, 240)
    marks = tmp_path / "marks.csv"
    rows = [f"{source.files[0]},index_tip,{u + 4.63889},{v},{tip_mm[2]}", f"{source.files[1]},index_tip,9,9,400"]
    marks.write_text("\n".join(["file,joint,u,v,depth_mm", *rows]) + "\n")
    annotated.main([str(tmp_path / "new"), "--marks", str(marks)])
    cells = capsys.readouterr().out.splitlines()[1].split()
    assert cells[:3] == ["new", "1", "1"] and float(cells[3]) == pytest.approx(tip_mm[2] / 100, abs=0.06)


def test_a_frame_depends_on_nothing_beside_it(tmp_path: Path) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT)
    choices = Choices("shrec", tmp_path / "set", device="cpu")
    [source] = format_of(choices).open(choices)
    annotator = Annotator(source, choices, OneShape(_engine(), _layer()), None)
    together, alone = annotator(range(6)), annotator([1])
    assert np.abs(together.joints_mm[1] - alone.joints_mm[0]).max() < 0.01 and together.why[5] == "no hand box"
    assert isinstance(alone, Annotations) and alone.seen.tolist() == [True]
    # of the pixel branch on demand, beside the same hand
    pixel = Annotator(source, replace(choices, joints="pixel"), OneShape(_engine(), _layer()), None)([1])
    assert np.array_equal(pixel.params, alone.params)
    apart = np.linalg.norm(pixel.joints_mm - alone.joints_mm, axis=-1).mean()
    agreement = alone.measures[0, MEASURES.index("agreement_mm")]
    assert apart == pytest.approx(agreement, rel=1e-3) and apart > 0.5


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "Name a data set"),
        (["shrec"], "add --root DIR"),
        (["shrec", "--root", "nowhere"], "--root nowhere is no folder"),
        (["shrec", "--root", "SET", "--out", "SET/new"], "lie in each other"),
        (["shrec", "--root", "SET", "--out", "SET"], "lie in each other"),
        (["shrec", "--root", "SET", "--out", "SET/.."], "lie in each other"),
        (["shrec", "--root", "SET", "--out", "OTHER"], "holds other things than annotations"),
        (["shrec", "--root", "SET", "--out", "OTHER/a.txt"], "is a file"),
        (["shrec", "--root", "SET", "--subjects", "5"], "has no subject 5: choose from 2, 7"),
        (["shrec", "--root", "SET", "--split", "test"], r"test_gestures\.txt is missing"),
        (["msra", "--root", "SET"], "no subject P0 to P8"),
        (["icvl", "--root", "SET"], r"test_seq_1\.txt is missing"),
        (["nyu", "--root", "SET"], r"joint_data\.mat is missing"),
        (["dhg", "--root", "SET"], r"informations_troncage_sequences\.txt is missing"),
        (["folder", "--root", "SET"], "Nothing says what camera"),
        (["folder", "--root", "SET", "--subjects", "1"], "--subjects is for msra and shrec and dhg"),
        (["shrec", "--root", "SET", "--camera", "1", "1", "1", "1"], "--camera is for folder"),
        (["folder", "--root", "SET", "--camera", "1", "1", "1", "1", "--sensor", "sr300"], "leave one out"),
        (["shrec", "--root", "SET", "--frames", "0"], "--frames 0 is less than 1"),
        (["shrec", "--root", "SET", "--refine", "-1"], "--refine counts steps from 0"),
        (["shrec", "--root", "SET", "--animate-frames", "0", "3"], "add --animate PATTERN"),
        (["shrec", "--root", "SET", "--animate", "*", "--animate-frames", "3", "1"], "swap or mend them"),
        (["shrec", "--root", "SET", "--animate", "P0/*"], "matches no recording: choose such as gesture_1/"),
        (["shrec", "--root", "SET", "--animate", "*", "--animate-frames", "1", "3"], "has 1 frames: begin earlier"),
        (["shrec", "--root", "SET", "--weights", "none.safetensors"], "none.safetensors does not exist"),
        (["shrec", "--root", "SET", "--one-shapes"], "has no option '--one-shapes'"),
        (["shrek", "--root", "SET"], r"no data set 'shrek' .did you mean shrec"),
        (["--root", "SET", "shrec"], "Name a data set first"),
    ],
)
def test_mistakes_are_said_in_one_sentence(tmp_path: Path, words: list[str], complaint: str) -> None:
    write_gestures(tmp_path / "SET", shrec.LAYOUT, 1)
    (tmp_path / "OTHER").mkdir()
    (tmp_path / "OTHER/a.txt").write_text("precious")
    before = _checksums(tmp_path)
    own = [str(tmp_path / word) if word.split("/")[0] in ("SET", "OTHER") else word for word in words]
    with pytest.raises(UserError, match=complaint) as raised:
        annotate.main(own)
    assert str(raised.value).count("\n") == 0 and _checksums(tmp_path) == before


def test_a_damaged_image_and_a_link_into_the_data_set(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_gestures(root, shrec.LAYOUT)
    image = root / "gesture_1/finger_1/subject_2/essai_1/1_depth.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(UserError, match=r"1_depth\.png is no readable image"):
        _main("shrec", "--root", root)
    image.write_bytes(whole)
    before = _checksums(root)
    (tmp_path / "set-annotated/gesture_1").symlink_to(root / "gesture_1")
    with pytest.raises(UserError, match="by a link: remove it"):
        _main("shrec", "--root", root)
    assert _checksums(root) == before


def test_help_and_mistakes_do_without_torch(root: Path) -> None:
    words = "import sys, annotate; sys.argv = ['annotate.py', 'shrec']; from util.cli import run_entry; "
    words += "code = run_entry(annotate.main); sys.exit(code if 'torch' not in sys.modules else 1)"
    done = subprocess.run([sys.executable, "-c", words], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "add --root DIR" in done.stderr
