"""What is written beside a data set its own loader reads back; frames without a hand keep their rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from annotating.annotations import Annotations
from annotating.choices import Choices
from annotating.formats.catalogue import format_of
from annotating.formats.nyu import ASIDE, IN_BETWEEN
from annotating.place import Place
from annotating.source import NOT_ASKED, Source
from config import DataConfig, IcvlConfig, NyuConfig, ShrecConfig
from dataloader.datasets import dhg, shrec
from dataloader.datasets.gestures import NO_BOX, Gesture
from dataloader.datasets.icvl import INVALID, list_icvl
from dataloader.datasets.msra import list_msra
from dataloader.datasets.nyu import list_nyu
from gesture.skeletons import read_skeletons
from predicting.output.tables import read_predictions_npz
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.parameter_files import read_parameter_files
from tests.annotated import (
    hands,
    joints,
    true_annotations,
    write_folder,
    write_gestures,
    write_icvl,
    write_msra,
    write_nyu,
)
from util.errors import UserError
from util.joints import ICVL16, MSRA21, NYU14, NYU36_OF_MANO21, NYU36_OF_NYU14, SHREC22


def _opened(choices: Choices) -> tuple[list[Source], Place]:
    assert choices.root is not None
    return format_of(choices).open(choices), Place(choices.root, None)


def _written(choices: Choices, optics: str, n: int, without: tuple[int, ...]) -> tuple[list[Source], list[Annotations]]:
    """The truth written beside a tiny data set, in each source without some hands."""
    sources, place = _opened(choices)
    found = [true_annotations(source, hands(optics, n)[1], without) for source in sources]
    for source, own in zip(sources, found, strict=True):
        format_of(choices).write(source, own, place)
    return sources, found


@pytest.mark.parametrize("name", ["shrec", "dhg"])
def test_skeletons_of_gestures(tmp_path: Path, name: str) -> None:
    layout = {"shrec": shrec.LAYOUT, "dhg": dhg.LAYOUT}[name]
    write_gestures(tmp_path / "set", layout)
    choices = Choices(name, tmp_path / "set")  # type: ignore[arg-type]
    [source], [found] = _written(choices, "gestures", 3, without=(1, 5))
    assert len(source) == 6 and source.listed.tolist() == [0, 1, 2, 3, 4, -1] and source.reason(5) == NO_BOX
    out = tmp_path / "set-annotated"
    if name == "shrec":
        listing = shrec.list_shrec(DataConfig(name="shrec", root=out, shrec=ShrecConfig("lists")), "train")
        rows = [0, 1, 2, 3, 4]
    else:  # the gestures alone: frames 1 and 2 of the first recording, 0 and 1 of the second
        config = DataConfig(name="dhg", root=out, test_subjects=(2,))
        listing, other = (dhg.list_dhg(config, split) for split in ("test", "train"))
        assert other.joints_mm is not None and listing.joints_mm is not None
        assert np.allclose(other.joints_mm[0], joints(hands("gestures", 3)[1], SHREC22)[0], atol=1e-3)
        rows = [1, 2]
    expected = found.joints_of("shrec22")[rows]
    assert listing.joints_mm is not None and listing.files == tuple(source.files[row] for row in rows)
    assert np.array_equal(np.isnan(listing.joints_mm), np.isnan(expected)), "a row of zeros is not known"
    assert np.nanmax(np.abs(listing.joints_mm - expected)) < 1e-3, "mm"
    # what trains gesture recognisers reads the same rows, in the camera of the images as stored
    folder = out / "gesture_1/finger_1/subject_2/essai_1"
    table = np.loadtxt(folder / layout.joints_world).reshape(-1, 22, 3)
    assert table.shape[0] == 3 and not table[1].any()
    assert np.abs(table[0] * 1000 * (-1, 1, 1) - found.joints_of("shrec22")[0]).max() < 1e-3
    read = read_skeletons(folder / layout.joints_world, Gesture(1, 1, 2, 1, 3), SHREC22)
    assert read.filled == 1, "the row of zeros is no hand there either"


def test_only_the_subjects_asked_for(tmp_path: Path) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT, skeletons=False)
    [source], _ = _written(Choices("shrec", tmp_path / "set", subjects=(7,)), "gestures", 3, without=())
    assert set(source.subjects) == {"subject 7"} and source.labels_mm is None
    assert (tmp_path / "set-annotated/train_gestures.txt").read_text() == "3 1 7 1 3 5 3\n"
    assert not (tmp_path / "set-annotated/gesture_1").exists()


def test_label_lines_of_icvl(tmp_path: Path) -> None:
    names = write_icvl(tmp_path / "set", 4)
    sources, found = _written(Choices("icvl", tmp_path / "set", turned=True), "small", 4, without=(1,))
    assert [source.name for source in sources] == ["icvl-train", "icvl-test"]
    out = tmp_path / "set-annotated"
    lines = (out / "train.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == list(names) and set(lines[1].split()[1:]) == {"0.0000"}
    listing = list_icvl(DataConfig(name="icvl", root=out, icvl=IcvlConfig("all")), "train")
    assert listing.dropped == {INVALID: 1} and listing.files == tuple(f"Depth/{names[k]}" for k in (0, 2, 3))
    expected = joints(hands("small", 4)[1], ICVL16)[[0, 2, 3]]
    assert listing.joints_mm is not None and np.abs(listing.joints_mm - expected).max() < 1e-3, "mm"
    assert listing.centres_mm is not None
    assert np.allclose(listing.centres_mm, found[0].centre_mm[[0, 2, 3]], atol=1e-3)
    test = list_icvl(DataConfig(name="icvl", root=out), "test")
    assert test.files == ("Depth/test_seq_1/a.png",) and test.dropped == {INVALID: 1}
    # without --turned the copy has no line
    train, _ = format_of(Choices("icvl", tmp_path / "set")).open(Choices("icvl", tmp_path / "set"))
    assert train.files == tuple(f"Depth/{name}" for name in names[:3])


def test_joint_files_and_parameters_of_msra(tmp_path: Path) -> None:
    write_msra(tmp_path / "set")
    [source], [found] = _written(Choices("msra", tmp_path / "set"), "msra", 2, without=(1,))
    assert len(source) == 36 and source.sequences[:3] == ("P0/1", "P0/1", "P0/2")
    listing = list_msra(DataConfig(name="msra", root=tmp_path / "set-annotated", test_subjects=(0, 3)), "test")
    expected = np.nan_to_num(found.joints_of(MSRA21.name))
    assert listing.files == source.files and listing.joints_mm is not None
    assert np.abs(listing.joints_mm - expected).max() < 1e-3 and not listing.joints_mm[1].any()
    assert (
        listing.centres_mm is not None
        and np.isnan(listing.centres_mm).any(axis=1).tolist() == [False, True] + [False] * 34
    )
    params = listing.read_parameters()
    assert params is not None and len(params.pose) == 36 and params.scale[1] == 0 and not params.pose[1].any()
    layer = HandLayer(load_hand_model())
    mesh = layer(params.rotation, params.pose, params.shape)
    _, decoded = mesh.placed(params.scale, params.translation, 1.0)
    kept = [0, *range(2, 36)]
    assert (decoded[kept] - torch.from_numpy(found.joints_mm[kept])).abs().max() < 1e-2, "parameters are those hands'"


def test_joint_data_of_nyu(tmp_path: Path) -> None:
    write_nyu(tmp_path / "set")
    [source], [found] = _written(Choices("nyu", tmp_path / "set"), "nyu", 3, without=(2,))
    out = tmp_path / "set-annotated"
    for joint_set in ("nyu14", "mano21"):
        config = DataConfig(name="nyu", root=out, nyu=NyuConfig(joints=joint_set))
        listing = list_nyu(config, "test")
        expected = found.joints_of(joint_set)
        assert listing.files == source.files and listing.joints_mm is not None and not listing.joints_mm[2].any()
        assert np.abs(listing.joints_mm[:2] - expected[:2]).max() < 1e-9
        assert listing.centres_mm is not None and np.isnan(listing.centres_mm[2]).all()
        assert np.allclose(listing.centres_mm[:2], found.centre_mm[:2], atol=1e-3)
        params = listing.read_parameters()
        assert params is not None and np.allclose(params.pose[1], found.params[1, 3:48], atol=1e-5)
    with pytest.raises(UserError, match="not finite"):
        list_nyu(DataConfig(name="nyu", root=out, nyu=NyuConfig(views=(1,))), "test")
    told = {*NYU36_OF_MANO21, *(NYU36_OF_NYU14[k] for k in range(len(NYU14))), *IN_BETWEEN, *ASIDE}
    assert told == set(range(36)) and not set(IN_BETWEEN) & set(NYU36_OF_MANO21) and len(IN_BETWEEN) == 9


def test_predictions_of_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    [source], [found] = _written(Choices("folder", tmp_path / "set"), "small", 4, without=(3,))
    out = tmp_path / "set-annotated"
    rows = read_predictions_npz(out / "predictions.npz")
    assert [row.frame for row in rows] == ["8.png", "9.png", "10.png", "11.png"] == list(source.files)
    assert rows[3].status == "no hand" and np.isnan(rows[3].joints_mm).all() and np.isnan(rows[3].vertices_mm).all()
    for row, truth in zip(rows[:3], hands("small", 4)[1], strict=False):
        assert np.array_equal(row.joints_mm, truth.joints_mm)
        assert np.abs(row.vertices_mm - truth.vertices_mm).max() < 1e-2, "surfaces are decoded from parameters"
    assert read_parameter_files(out / "posePara_lm_collosion/frames").pose.shape == (4, 45)
    assert len(found) == 4


def test_frames_beyond_those_asked_for_keep_their_rows(tmp_path: Path) -> None:
    write_gestures(tmp_path / "set", shrec.LAYOUT)
    [source], _ = _opened(Choices("shrec", tmp_path / "set"))
    few = source.first(2)
    assert [few.reason(row) for row in range(6)] == ["", "", NOT_ASKED] * 2
    assert len(few) == 6 and source.first(None) is source


def test_left_hands_have_the_parameters_of_right_ones(tmp_path: Path) -> None:
    _, truth = hands("small", 2)
    flip = np.array([-1, 1, 1], np.float32)
    left = replace(
        truth[1],
        side="left",
        joints_mm=truth[1].joints_mm * flip,
        vertices_mm=truth[1].vertices_mm * flip,
        centre_mm=truth[1].centre_mm * flip,
    )
    found = Annotations.of_predictions([truth[1], left], ["", ""])
    params = found.hands_mm().vector()
    assert torch.allclose(params[0], params[1], atol=1e-4)
    layer = HandLayer(load_hand_model())
    surfaces = dict(found.surfaces(layer, [0, 1]))
    assert np.abs(surfaces[1] - left.vertices_mm).max() < 1e-2 and np.abs(surfaces[0] * flip - surfaces[1]).max() < 1e-4
