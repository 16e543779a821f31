"""What is written of predictions is what was predicted, in every format, read back by readers that are not ours."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from predicted import CUBE_MM, HAND_MM, WITHOUT_HAND, sequence

from predicting.output.drawing import STATUS_COLOURS, Surface, even_choice, frame_picture, view_hand
from predicting.output.meshes import GLB_FRAME, write_mesh
from predicting.output.pictures import contact_sheet, overlay_picture, write_film
from predicting.output.recording import load_rerun
from predicting.output.tables import read_predictions_npz, write_predictions_npz
from predicting.output.write import OutputOptions, file_names, write_all
from predicting.prediction import no_hand
from render.hand_model import load_hand_model
from util.draw import PAPER
from util.errors import UserError

NOTHING_MORE = OutputOptions(overlays=False, sheet=False, report=False)


@pytest.fixture(scope="module")
def surface() -> Surface:
    return Surface.of(load_hand_model())


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """All files of the sequence but the page, given in another order than that of names."""
    frames, predictions = sequence()
    options = OutputOptions(meshes=("ply", "obj", "glb"), films=("gif", "mp4"), report=False)
    out = tmp_path_factory.mktemp("output") / "new"
    return out, write_all(out, frames[::-1], predictions[::-1], options)


def test_every_file_is_told_and_there(everything: tuple[Path, list[Path]]) -> None:
    out, written = everything
    assert sorted(written) == sorted(file for file in out.rglob("*") if file.is_file())
    names = {file.relative_to(out).as_posix() for file in written}
    assert {"predictions.npz", "predictions.json", "contact_sheet.png", "film.gif", "film.mp4"} <= names
    assert {f"overlays/take_frame{k}.png" for k in range(8, 14)} <= names
    meshes = {f"meshes/take_frame{k}.{kind}" for k in (8, 9, 11, 12, 13) for kind in ("ply", "obj", "glb")}
    assert {name for name in names if name.startswith("meshes/")} == meshes, "a frame without a hand has none"


def test_rows_are_in_natural_order_and_read_back(everything: tuple[Path, list[Path]]) -> None:
    rows = read_predictions_npz(everything[0] / "predictions.npz")
    _, predictions = sequence()
    assert [row.frame for row in rows] == [f"take/frame{k}.png" for k in range(8, 14)]
    for row, told in zip(rows, predictions, strict=True):
        for name in ("joints_mm", "vertices_mm", "params", "centre_mm"):
            np.testing.assert_array_equal(getattr(row, name), getattr(told, name))
        assert (row.status, row.side, row.cube_mm) == (told.status, told.side, told.cube_mm)
        assert row.confidence == pytest.approx(told.confidence)
        assert row.measures == pytest.approx(told.measures)
    assert np.isnan(rows[WITHOUT_HAND].vertices_mm).all()


def test_json_says_the_same(everything: tuple[Path, list[Path]]) -> None:
    text = (everything[0] / "predictions.json").read_text(encoding="utf-8")
    rows = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    _, predictions = sequence()
    for row, told in zip(rows, predictions, strict=True):
        assert (row["frame"], row["status"], row["side"]) == (told.frame, told.status, told.side)
        for name in ("joints_mm", "vertices_mm", "params", "centre_mm"):
            if told.status == "no hand":
                assert row[name] is None
            else:
                np.testing.assert_allclose(row[name], getattr(told, name), atol=0.006)
    assert "measures" in rows[0] and "iou" not in rows[0]["measures"], "what was not measured is left out"


def test_no_hand_anywhere_is_written_too(tmp_path: Path) -> None:
    frames, predictions = sequence()
    written = write_all(tmp_path, [frames[WITHOUT_HAND]], [predictions[WITHOUT_HAND]], OutputOptions(films=("gif",)))
    assert {"report.html", "film.gif", "contact_sheet.png"} <= {file.name for file in written}
    assert read_predictions_npz(tmp_path / "predictions.npz")[0].status == "no hand"


@pytest.mark.parametrize("k", [8, 13])
def test_ply_and_obj_hold_the_hand(everything: tuple[Path, list[Path]], surface: Surface, k: int) -> None:
    prediction = sequence()[1][k - 8]
    turned = surface.faces[:, ::-1] if prediction.side == "left" else surface.faces
    header, _, body = (everything[0] / f"meshes/take_frame{k}.ply").read_bytes().partition(b"end_header\n")
    assert b"element vertex 778\n" in header and b"element face 1538\n" in header
    np.testing.assert_array_equal(np.frombuffer(body, "<f4", 778 * 3).reshape(-1, 3), prediction.vertices_mm)
    faces = np.frombuffer(body[778 * 12 :], np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    assert (faces["n"] == 3).all()
    np.testing.assert_array_equal(faces["corners"], turned)
    lines = [line.split() for line in (everything[0] / f"meshes/take_frame{k}.obj").read_text().splitlines()]
    places = np.array([line[1:] for line in lines if line[0] == "v"], float)
    corners = np.array([line[1:] for line in lines if line[0] == "f"], int)
    np.testing.assert_allclose(places, prediction.vertices_mm, atol=1e-4)
    np.testing.assert_array_equal(corners, turned + 1)


@pytest.mark.parametrize("k", [8, 13])
def test_glb_is_gltf(everything: tuple[Path, list[Path]], surface: Surface, k: int) -> None:
    content = (everything[0] / f"meshes/take_frame{k}.glb").read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON" and size % 4 == 0
    told = json.loads(content[20 : 20 + size])
    data = content[20 + size + 8 :]
    assert len(data) == told["buffers"][0]["byteLength"]
    views = [data[v["byteOffset"] : v["byteOffset"] + v["byteLength"]] for v in told["bufferViews"]]
    places, normals = (np.frombuffer(view, "<f4").reshape(-1, 3) for view in views[:2])
    prediction = sequence()[1][k - 8]
    np.testing.assert_allclose(places, prediction.vertices_mm * GLB_FRAME, rtol=1e-5)
    np.testing.assert_allclose(places.max(0), told["accessors"][0]["max"], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    corners = np.frombuffer(views[2], "<u4").reshape(-1, 3)
    assert sorted(map(sorted, corners.tolist())) == sorted(map(sorted, surface.faces.tolist()))


@pytest.mark.parametrize("kind", ["ply", "obj", "glb"])
def test_another_reader_finds_the_outside_outside(everything: tuple[Path, list[Path]], kind: str) -> None:
    """Also of left hands: a closed surface whose triangles turn the right way has a positive volume."""
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    unit = 1e-9 if kind != "glb" else 1.0
    for k in (8, 13):
        mesh = trimesh.load(everything[0] / f"meshes/take_frame{k}.{kind}", force="mesh", process=False)
        assert mesh.vertices.shape == (778, 3) and mesh.faces.shape == (1538, 3)
        ring_closed = trimesh.Trimesh(mesh.vertices - mesh.vertices.mean(0), mesh.faces, process=False)
        assert 1e-4 < ring_closed.volume * unit < 1e-3, "a hand is a third of a litre"


def test_an_unknown_kind_of_mesh_is_a_mistake(tmp_path: Path, surface: Surface) -> None:
    with pytest.raises(ValueError, match=r"none of .ply"):
        write_mesh(tmp_path / "hand.stl", sequence()[1][0].vertices_mm, surface.faces)


def test_the_hand_is_drawn_where_it_is(surface: Surface) -> None:
    """With the truth as prediction, the drawn hand is the one that the sensor saw, left hands too."""
    frames, predictions = sequence()
    for frame, prediction in zip(frames, predictions, strict=True):
        view = view_hand(frame, prediction, surface)
        if prediction.status == "no hand":
            assert view is None
            continue
        assert view is not None
        seen, drawn = view.depth.numpy() < 0.99, view.rendered.numpy() < 0.99
        assert (seen & drawn).sum() / (seen | drawn).sum() > 0.93
        assert np.abs(view.depth.numpy() - view.rendered.numpy())[seen & drawn].mean() * CUBE_MM / 2 < 2.5
        skeleton, mesh = view.skeleton(1), view.mesh(1)
        assert skeleton.shape == mesh.shape == (128, 128, 3)
        assert (mesh[drawn].astype(int).sum(1) > sum(PAPER)).all()


def test_the_frame_shows_the_box_in_the_status_colour() -> None:
    frames, predictions = sequence()
    for i, (frame, prediction) in enumerate(zip(frames, predictions, strict=True)):
        picture = frame_picture(frame, prediction, 300)
        assert picture.shape == (300, 400, 3)
        marked = (picture == STATUS_COLOURS[prediction.status]).all(-1)
        if i == WITHOUT_HAND:
            assert not marked.any()
            continue
        edge = round(200 * CUBE_MM / HAND_MM * 2)
        rows, columns = np.nonzero(marked)
        assert np.ptp(rows) + 1 == pytest.approx(edge, abs=2)
        assert np.ptp(columns) + 1 == pytest.approx(edge, abs=2)


def test_a_hand_beyond_the_border_is_drawn(surface: Surface) -> None:
    frames, predictions = sequence()
    for shift in ((-250, 0, 0), (0, 190, 0), (0, 0, 3000)):
        moved = replace(predictions[0], centre_mm=predictions[0].centre_mm + np.array(shift, np.float32))
        assert overlay_picture(frames[0], moved, view_hand(frames[0], moved, surface)).shape[0] > 384


def test_films_have_a_picture_a_frame(everything: tuple[Path, list[Path]], tmp_path: Path) -> None:
    with Image.open(everything[0] / "film.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 6
        assert gif.info["duration"] == 70
    film = cv2.VideoCapture(str(everything[0] / "film.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 6 and film.get(cv2.CAP_PROP_FPS) == 15
    overlay = cv2.imread(str(everything[0] / "overlays/take_frame8.png"))
    there, first = film.read()
    assert overlay is not None and there
    assert np.abs(first.astype(int) - overlay[: first.shape[0], : first.shape[1]]).mean() < 6
    pictures = [np.full((20, 30, 3), 200, np.uint8), np.full((25, 10, 3), 100, np.uint8)]
    write_film(tmp_path / "mixed.gif", pictures, 10)
    with Image.open(tmp_path / "mixed.gif") as gif:
        assert gif.size == (30, 20) and getattr(gif, "n_frames", 1) == 2


def test_sheets_show_the_first_and_the_last() -> None:
    assert list(even_choice(3, 5)) == [0, 1, 2]
    chosen = list(even_choice(1000, 60))
    assert len(set(chosen)) == 60 and chosen[0] == 0 and chosen[-1] == 999
    frames, predictions = sequence()
    assert contact_sheet(frames[:1], predictions[:1], [None]).shape[1] < 600


def test_names_of_files_are_told_apart() -> None:
    assert file_names(["a/1.png", "b/1.png", "stack.npz/07"]) == ["a_1", "b_1", "stack.npz_07"]
    assert file_names(["x.png", "x.npy"]) == ["0_x", "1_x"]
    assert file_names(["Hand.png", "hand.png"]) == ["0_Hand", "1_hand"]
    for name in file_names(["../../etc/x.png", "...", "a b:c*.tif", "é/ö.png"]):
        assert re.fullmatch(r"[^./\\:*\s][^/\\:*\s]*", name)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    frames, predictions = sequence()
    with pytest.raises(ValueError, match="one for one"):
        write_all(tmp_path, frames, predictions[::-1], NOTHING_MORE)
    with pytest.raises(ValueError, match="at least one"):
        write_all(tmp_path, [], [], NOTHING_MORE)
    with pytest.raises(ValueError, match="same"):
        write_all(tmp_path, [frames[0]] * 2, [predictions[0]] * 2, NOTHING_MORE)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    frames, predictions = sequence()
    with pytest.raises(UserError, match="choose another folder"):
        write_all(tmp_path / "out", frames, predictions, NOTHING_MORE)


def test_damaged_tables_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    with pytest.raises(UserError, match="does not exist"):
        read_predictions_npz(path)
    path.write_bytes(b"PK no zip")
    with pytest.raises(UserError, match="cannot be read"):
        read_predictions_npz(path)
    write_predictions_npz(path, sequence()[1])
    whole = dict(np.load(path))
    for name, wrong, message in (
        ("joints_mm", whole["joints_mm"][:, :20], "joints_mm"),
        ("frame", np.arange(6), "frame"),
        ("status", np.array(["maybe"] * 6), "maybe"),
        ("measure_iou", np.zeros(5), "measure_iou"),
    ):
        np.savez(path, allow_pickle=False, **{**whole, name: wrong})
        with pytest.raises(UserError, match=message):
            read_predictions_npz(path)
    np.savez(path, allow_pickle=False, **{name: a for name, a in whole.items() if name != "params"})
    with pytest.raises(UserError, match="params"):
        read_predictions_npz(path)


def test_no_rows_read_back_as_none(tmp_path: Path) -> None:
    write_predictions_npz(tmp_path / "none.npz", [])
    assert read_predictions_npz(tmp_path / "none.npz") == []


def test_a_recording_without_its_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    frames, predictions = sequence()
    with pytest.raises(UserError, match="pip install rerun-sdk"):
        write_all(tmp_path, frames, predictions, replace(NOTHING_MORE, recording=True))
    assert not any(tmp_path.iterdir()), "said before anything is written"


def test_a_recording_is_written_where_the_package_is(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    assert load_rerun().__name__ == "rerun"
    frames, predictions = sequence()
    predictions = (*predictions[:-1], no_hand(predictions[-1].frame, CUBE_MM))
    write_all(tmp_path, frames, predictions, replace(NOTHING_MORE, recording=True))
    content = (tmp_path / "recording.rrd").read_bytes()
    assert content[:3] == b"RRF" and len(content) > 20_000
