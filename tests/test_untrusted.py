"""Files that lie about themselves, and names and links in them that would lead elsewhere."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from bench.fuzz_files import ROOTS, hand_pickle
from config import DataConfig
from dataloader.datasets.camera_file import read_camera
from dataloader.datasets.catalogue import list_split
from dataloader.datasets.frames import find_images, read_stored
from dataloader.frame import MOST_PIXELS, decode_image
from dataloader.prepare import prepare, prepare_frame
from dataloader.sources import frames_of
from predicting.engine import SHIPPED, load_network
from render.hand_model import load_hand_model
from util.arrays import read_npy, read_npz
from util.checkpoint import read_checkpoint
from util.errors import UserError
from util.marks import read_marks
from util.reading import checked_name

CAMERA = (475.0, 475.0, 320.0, 240.0)
REMEDY = "mend it"


def _png(width: int, height: int, packed: bytes) -> bytes:
    parts = (b"IHDR" + struct.pack(">2I5B", width, height, 16, 0, 0, 0, 0), b"IDAT" + packed, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )


def test_images_of_all_sizes(tmp_path: Path) -> None:
    for ending in (".png", ".tif"):
        cv2.imwrite(str(tmp_path / f"one{ending}"), np.full((1, 1), 500, np.uint16))
        assert read_stored(tmp_path / f"one{ending}").tolist() == [[500]]
        assert frames_of(str(tmp_path / f"one{ending}"), CAMERA)[0].depth_mm.tolist() == [[500]]
    path = tmp_path / "large.png"
    for width, height in ((10_000, 10_000), (MOST_PIXELS // 64 + 1, 64), (60_000, 60_000), (2**31 - 1, 1), (0, 5)):
        path.write_bytes(_png(width, height, zlib.compress(bytes(1000))))
        with pytest.raises(UserError, match=r"large\.png"):
            decode_image(path)
    path.write_bytes(_png(9000, 9000, zlib.compress(bytes(9000 * 18_001), 1)))  # all its pixels are there
    with pytest.raises(UserError, match=r"large\.png is 9000x9000, larger than a depth sensor's"):
        decode_image(path)
    tiff = tmp_path / "large.tif"
    stored = bytearray(cv2.imencode(".tif", np.ones((4, 4), np.uint16))[1].tobytes())
    start, entries = struct.unpack_from("<I", stored, 4)[0], {}
    for k in range(struct.unpack_from("<H", stored, start)[0]):
        at = start + 2 + 12 * k
        entries[struct.unpack_from("<H", stored, at)[0]] = at
    for tag in (256, 257):
        struct.pack_into("<HHII", stored, entries[tag], tag, 4, 1, 10_000)
    tiff.write_bytes(stored)
    with pytest.raises(UserError, match=r"large\.tif is 10000x10000"):
        decode_image(tiff)


def _npy(shape: str, kind: str, content: bytes) -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ("(100000, 100000)", "<f4"),
        ("(-1, 4)", "<f4"),
        ("(2, -2)", "<f4"),
        ("(2, 2)", "|O"),
        ("(2, 2)", "|V4"),
        ("(3, 2)", "<f4"),
    ],
)
def test_arrays_whose_header_lies(tmp_path: Path, shape: str, kind: str) -> None:
    content = _npy(shape, kind, bytes(16))
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("depth.npy", content)
    for read in (read_stored, lambda path: frames_of(str(path), CAMERA)):
        with pytest.raises(UserError, match=r"a\.npy is no readable array"):
            read(tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"a\.npz .*no readable array"):
        frames_of(str(tmp_path / "a.npz"), CAMERA)


def test_swapped_bytes_and_orders_are_read_right(tmp_path: Path) -> None:
    depth = np.arange(6, dtype=np.uint16).reshape(2, 3) + 300
    for k, stored in enumerate(
        (depth.astype(">u2"), np.asfortranarray(depth), depth.astype(">f4"), depth.astype("<i8"))
    ):
        np.save(tmp_path / f"{k}.npy", stored)
        np.savez(tmp_path / f"{k}.npz", stored)
        for path in (tmp_path / f"{k}.npy", tmp_path / f"{k}.npz"):
            frame = frames_of(str(path), CAMERA)[0].depth_mm
            assert frame.tolist() == depth.tolist() and frame.dtype.isnative
        torch.from_numpy(read_npy(tmp_path / f"{k}.npy", REMEDY))  # takes no others


def test_archives_that_unpack_to_too_much(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("depth.npy", "w") as file,
    ):
        file.write(_npy("(40, 1024, 1024)", "<u2", b""))
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"bomb\.npz packs 83,.* and is not unpacked"):
        frames_of(str(bomb), CAMERA)
    np.savez_compressed(tmp_path / "two.npz", a=np.ones(100), b=np.ones(100))
    with pytest.raises(UserError, match=r"two\.npz unpacks to 1,856 bytes"):
        read_npz(tmp_path / "two.npz", REMEDY, most=1000)
    assert list(read_npz(tmp_path / "two.npz", REMEDY, ["b", "c"], most=1000)) == ["b"]
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "two.npz", "a") as archive:
        archive.writestr("a.npy", b"")
    with pytest.raises(UserError, match="two arrays of a name"):
        read_npz(tmp_path / "two.npz", REMEDY)


def test_cameras_of_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    good = {"fx": 475.0, "fy": 475.0, "cx": 320.0, "cy": 240.0}
    for key, value in (
        ("fx", "NaN"),
        ("cx", "Infinity"),
        ("fy", "-475"),
        ("fx", "1e-300"),
        ("cy", "1" + "0" * 400),
        ("unit_mm", "0"),
    ):
        path.write_text(json.dumps({**good, key: 0}).replace(f'"{key}": 0', f'"{key}": {value}'))
        with pytest.raises(UserError, match=rf"camera\.json says {key} is"):
            read_camera(path)
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not valid JSON"):
        read_camera(path)
    for camera in ((float("nan"), 1.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (1.0, -1.0, 0.0, 0.0)):
        cv2.imwrite(str(tmp_path / "a.png"), np.ones((2, 2), np.uint16))
        with pytest.raises(UserError, match="is no camera"):
            frames_of(str(tmp_path / "a.png"), camera)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a.png", "a/../../b.png", "..\\a.png", "C:\\a.png", "a\0.png", "a" * 300, ""]
)
def test_names_in_files_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.txt names"):
        checked_name(name, "train.txt", REMEDY)
    for good in ("a.png", "..a/b..png", "2014/äö 1.png", "a/./b"):
        assert checked_name(good, "train.txt", REMEDY) == good
    if not name.isprintable() or not name:
        return
    files = {
        k: v.replace(b"201403121135/a.png", name.encode())
        for k, v in ROOTS["icvl"]().items()
        if not k.startswith("Depth")
    }
    for path, content in files.items():
        (tmp_path / path).write_bytes(content)
    config = replace(DataConfig(name="icvl", root=tmp_path), icvl=replace(DataConfig().icvl, sub_sequences="all"))
    with pytest.raises(UserError, match=r"train\.txt line 1 names"):
        list_split(config, "train")
    (tmp_path / "marks.csv").write_text(f"file,joint,u,v,depth_mm\n{name},index_tip,1,2,3\n")
    with pytest.raises(UserError, match=r"marks\.csv line 2 names"):
        read_marks(tmp_path / "marks.csv")


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_links_do_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    inner, outer = tmp_path / "data", tmp_path / "elsewhere"
    files = {name: ROOTS["frames"]()[name] for name in ("a.png", "camera.json")}
    _write(inner, files)
    _write(outer, files)
    (inner / "sub").mkdir()
    (inner / "sub/loop").symlink_to(inner)
    (inner / "again").symlink_to(inner / "sub")
    assert find_images(inner) == ["a.png"]  # links in a ring are gone through once
    config = DataConfig(name="frames", root=inner, keep=False)
    (inner / "b.png").symlink_to(inner / "a.png")
    assert list_split(config, "test").files == ("a.png", "b.png")
    for link, target in (("c.png", outer / "a.png"), ("all", outer)):
        (inner / link).symlink_to(target)
        with pytest.raises(UserError, match=f"{link} is a link that leads out of"):
            list_split(config, "test")
        with pytest.raises(UserError, match=f"{link} is a link that leads out of"):
            frames_of(str(inner))
        assert len(list_split(replace(config, follow_links=True), "test")) == 3
        (inner / link).unlink()
    (inner / ".prepared").symlink_to(outer)
    with pytest.raises(UserError, match=r"--data\.cache DIR"):
        prepare(list_split(config, "test"), replace(config, keep=True))


def test_listed_images_are_not_taken_from_outside_by_links(tmp_path: Path) -> None:
    _write(tmp_path / "data", ROOTS["icvl"]())
    image = tmp_path / "data/Depth/test_seq_1/a.png"
    image.rename(tmp_path / "a.png")
    image.symlink_to(tmp_path / "a.png")
    config = DataConfig(name="icvl", root=tmp_path / "data")
    with pytest.raises(UserError, match=r"a\.png lies outside .*--data\.follow-links"):
        prepare_frame(list_split(config, "test"), 0, 0, 128)
    assert not isinstance(prepare_frame(list_split(replace(config, follow_links=True), "test"), 0, 0, 128), str)


def test_a_hand_pickle_takes_no_memory_and_no_place_outside_its_arrays(tmp_path: Path) -> None:
    arrays, path = ROOTS["hand"](), tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(hand_pickle(arrays))
    model = load_hand_model(path)
    assert np.allclose(model.joint_regressor, arrays["J_regressor"], atol=1e-6)
    import scipy.sparse

    sparse = scipy.sparse.csc_matrix(arrays["J_regressor"])
    sparse.indices[0] = 10_000  # scipy writes there when it is unpacked
    huge = scipy.sparse.csc_matrix((10**6, 10**6))
    wrong = {
        "index": pickle.dumps({**arrays, "J_regressor": sparse}, 2),
        "size": pickle.dumps({**arrays, "J_regressor": huge}, 2),
        "memo": b"\x80\x02]r\xff\xff\xff\xff.",  # asks for a table of four billion entries
        "bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        "array": b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
    }
    for name, content in wrong.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"MANO_RIGHT\.pkl"):
            load_hand_model(path)
        assert name


def test_weights_that_ask_for_more_than_they_hold(tmp_path: Path) -> None:
    with safetensors.safe_open(SHIPPED, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    path = tmp_path / "a.safetensors"
    for key, value in (("widths", [10**6] * 4), ("widths", [-1, 8, 8, 8]), ("head_width", 10**9), ("fusion_width", 0)):
        safetensors.torch.save_file(state, path, {"config": json.dumps({**config, key: value})})
        with pytest.raises(UserError, match=r"a\.safetensors"):
            load_network(path)
    state[next(iter(state))] = torch.full_like(state[next(iter(state))], torch.nan)
    safetensors.torch.save_file(state, path, {"config": json.dumps(config)})
    with pytest.raises(UserError, match=r"a\.safetensors are not finite"):
        load_network(path)
    weights = {f"model.{k}.conv_block.{j}.weight": torch.zeros(8, 8, 3, 3) for k in (10, 10**15) for j in (1, 5)}
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")
    packed = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "a.pth") as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for member in archive.infolist():
            other.writestr(member.filename, archive.read(member))
    (tmp_path / "a.pth").write_bytes(packed.getvalue())
    with pytest.raises(UserError, match="damaged or packed"):
        read_checkpoint(tmp_path / "a.pth")
