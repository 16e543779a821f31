"""NYU in its own layout: the published loader's numbers, tiny files in the real format, and damaged ones."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from config import DataConfig
from config_data import NyuConfig
from dataloader.datasets.nyu import CAMERA, PUBLISHED_FRAMES, SECOND_SUBJECT, list_nyu, read_nyu_png
from tests.crops import assert_as_published
from tests.shared import REFERENCE, needs_reference
from util.errors import UserError
from util.joints import NYU36_OF_MANO21, NYU36_OF_NYU14

PUBLISHED = REFERENCE / "datasets/nyu"


def _joints(frames: int, seed: int = 0) -> np.ndarray:
    """(3, frames, 36, 3) labels as the data set has them, y up; the views are metres apart, no hand is level."""
    generator = np.random.default_rng(seed)
    middle = np.stack([generator.uniform(-100, 100, (3, frames)), np.full((3, frames), 90.0)], -1)
    middle = np.concatenate([middle, generator.uniform(600, 900, (3, frames, 1))], -1)
    middle[1:, :, 0] += np.array([[1000.0], [2000.0]])
    return middle[:, :, None] + generator.uniform(-60, 60, (3, frames, 36, 3))


def _write_depth(path: Path, depth_mm: np.ndarray) -> None:
    """A frame as NYU stores it: green the high byte, blue the low one; red holds something else."""
    assert cv2.imwrite(
        str(path), np.stack([depth_mm & 255, depth_mm >> 8, np.full_like(depth_mm, 77)], -1).astype("u1")
    )


def _write_centres(path: Path, centres_mm: np.ndarray) -> None:
    path.write_text("".join(f"{x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in centres_mm))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five test frames, the images of two of them, no centres."""
    (tmp_path / "test").mkdir()
    xyz = _joints(5)
    savemat(tmp_path / "test/joint_data.mat", {"joint_xyz": xyz, "joint_uvd": np.zeros_like(xyz)}, do_compression=True)
    for n, view in ((1, 1), (2, 3)):
        _write_depth(tmp_path / f"test/depth_{view}_{n:07d}.png", np.full((480, 640), 700 + n, np.uint16))
    return tmp_path


def _config(root: Path, cube_mm: float | None = None, **nyu: object) -> DataConfig:
    return DataConfig(name="nyu", root=root, cube_mm=cube_mm, nyu=replace(NyuConfig(), **nyu))


def _mean_mm(root_frames: int = 5) -> np.ndarray:
    """(3, frames, 3) mean joint, y down."""
    return _joints(root_frames).mean(axis=2) * (1, -1, 1)


@needs_reference
def test_crops_and_joints_as_published() -> None:
    listing = list_nyu(_config(PUBLISHED), "test")
    assert_as_published(listing, PUBLISHED / "expected_test_view0.npz")
    params = listing.read_parameters()
    assert params is not None and params.pose.shape == (4, 45)
    assert params.rotation[0].tolist() == pytest.approx([-0.03039, 0.034208, -0.058847])
    [notice] = listing.notices
    assert "4 frames" in notice and "8,252" in notice


@needs_reference
def test_the_keypoints_of_the_model_are_among_the_36() -> None:
    few, all_21 = (list_nyu(_config(PUBLISHED, joints=name), "test") for name in ("nyu14", "mano21"))
    assert few.joints_mm is not None and all_21.joints_mm is not None
    twins = [(joint, keypoints[0]) for joint, keypoints in enumerate(few.joints.twins) if len(keypoints) == 1]
    assert len(twins) >= 11
    for joint, keypoint in twins:
        assert NYU36_OF_NYU14[joint] == NYU36_OF_MANO21[keypoint]
        assert np.array_equal(few.joints_mm[:, joint], all_21.joints_mm[:, keypoint])


def test_depth_is_blue_and_green(tmp_path: Path) -> None:
    depth_mm = np.arange(480 * 640, dtype=np.uint32).reshape(480, 640) % 5000
    _write_depth(tmp_path / "frame.png", depth_mm)
    read = read_nyu_png(tmp_path / "frame.png")
    assert read.dtype == np.uint16 and np.array_equal(read, depth_mm)


def test_views_follow_one_another(root: Path) -> None:
    listing = list_nyu(_config(root, views=(2, 0)), "test")
    assert len(listing) == 10 and listing.camera == CAMERA
    assert listing.files[1] == "test/depth_3_0000002.png" and listing.files[5] == "test/depth_1_0000001.png"
    assert (listing.read(listing.path(1)) == 702).all() and (listing.read(listing.path(5)) == 701).all()
    joints = _joints(5)[[2, 0]][:, :, NYU36_OF_NYU14].reshape(10, 14, 3) * (1, -1, 1)
    assert listing.joints_mm is not None and np.allclose(listing.joints_mm, joints)
    assert listing.groups == ("subject 1",) * 10
    assert listing.joint_set == "nyu14" and len(listing.joints) == 14


def test_rendered_frames_have_the_same_labels(root: Path) -> None:
    listing = list_nyu(_config(root, synthetic=True, joints="mano21"), "test")
    assert listing.files[0] == "test/synthdepth_1_0000001.png"
    joints = _joints(5)[0][:, NYU36_OF_MANO21] * (1, -1, 1)
    assert listing.joints_mm is not None and np.allclose(listing.joints_mm, joints)


def test_without_centres_hands_are_located_and_that_is_said(root: Path) -> None:
    listing = list_nyu(_config(root), "test")
    assert listing.centres_mm is None
    assert any("center_test_0_refined.txt is absent" in notice for notice in listing.notices)


@pytest.mark.parametrize("name", ["center_test_0_refined.txt", "center_test_refined.txt"])
@pytest.mark.parametrize("sign", [1, -1])
def test_centres_circulate_in_either_sign(root: Path, name: str, sign: int) -> None:
    centres_mm = _mean_mm()[0]
    _write_centres(root / "test" / name, centres_mm * (1, sign, 1))
    listing = list_nyu(_config(root), "test")
    assert listing.centres_mm is not None and np.allclose(listing.centres_mm, centres_mm, atol=1e-3)


def test_centres_without_a_view_are_those_of_view_0(root: Path) -> None:
    _write_centres(root / "test/center_test_refined.txt", _mean_mm()[0])
    listing = list_nyu(_config(root, views=(0, 1)), "test")
    assert listing.centres_mm is not None
    assert np.isfinite(listing.centres_mm[:5]).all() and np.isnan(listing.centres_mm[5:]).all()
    assert any("center_test_1_refined.txt is absent" in notice for notice in listing.notices)


def test_a_centre_said_to_be_invalid_is_located(root: Path) -> None:
    path = root / "test/center_test_0_refined.txt"
    _write_centres(path, _mean_mm()[0] * (1, -1, 1))
    path.write_text("\n".join(["invalid", *path.read_text().splitlines()[1:]]))
    listing = list_nyu(_config(root), "test")
    assert listing.centres_mm is not None
    assert np.isnan(listing.centres_mm[0]).all() and np.allclose(listing.centres_mm[1:], _mean_mm()[0, 1:], atol=1e-3)


def test_the_second_subject_has_a_smaller_cube(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    savemat(tmp_path / "test/joint_data.mat", {"joint_xyz": np.ones((2, SECOND_SUBJECT + 2, 36, 3))})
    for cube_mm, edge in ((None, 250.0), (300.0, 300.0)):
        listing = list_nyu(_config(tmp_path, cube_mm, views=(1, 0)), "test")
        cubes_mm = listing.cubes_mm.reshape(2, SECOND_SUBJECT + 2, 3)
        assert (cubes_mm[:, :SECOND_SUBJECT] == edge).all()
        assert np.allclose(cubes_mm[:, SECOND_SUBJECT:], edge * 5 / 6)
        assert listing.groups.index("subject 2") == SECOND_SUBJECT and listing.groups.count("subject 2") == 4
    (tmp_path / "test").rename(tmp_path / "train")
    train = list_nyu(_config(tmp_path), "train")
    assert (train.cubes_mm == 250).all() and train.groups == ()


def test_hand_parameters_are_of_one_view(root: Path) -> None:
    folder = root / "posePara_lm_collosion"
    folder.mkdir()
    for part, columns in (("pose", 45), ("glb", 3), ("shape", 10)):
        np.savetxt(folder / f"nyu-test-1-{part}.txt", np.arange(5.0 * columns).reshape(5, columns))
    params = list_nyu(_config(root, views=(1,)), "test").read_parameters()
    assert params is not None and params.rotation[4].tolist() == [12, 13, 14]
    assert list_nyu(_config(root), "test").parameters is None
    assert list_nyu(_config(root, views=(1, 0)), "test").parameters is None


def test_the_published_number_of_frames_needs_no_notice(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    savemat(tmp_path / "test/joint_data.mat", {"joint_xyz": np.ones((1, PUBLISHED_FRAMES["test"], 36, 3), np.float32)})
    listing = list_nyu(_config(tmp_path), "test")
    assert len(listing) == 8252 and listing.files[-1] == "test/depth_1_0008252.png"
    assert [notice for notice in listing.notices if "frames" in notice] == []


def test_damaged_images_are_told(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    with pytest.raises(UserError, match=r"frame\.png is missing: unpack"):
        read_nyu_png(path)
    noise = np.random.default_rng(0).integers(400, 900, (480, 640))
    _write_depth(path, noise)
    whole = path.read_bytes()
    for length in (0, 20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"frame\.png is no readable image: unpack it again"):
            read_nyu_png(path)
    cv2.imwrite(str(path), noise.astype(np.uint16))
    with pytest.raises(UserError, match=r"frame\.png is not an 8-bit colour PNG"):
        read_nyu_png(path)
    _write_depth(path, noise[:240])
    with pytest.raises(UserError, match=r"frame\.png is 640x240, not 640x480"):
        read_nyu_png(path)


def test_damaged_labels_are_told(root: Path) -> None:
    path = root / "test/joint_data.mat"
    whole = path.read_bytes()

    def fails(sentence: str, config: DataConfig | None = None) -> None:
        with pytest.raises(UserError, match=sentence) as told:
            list_nyu(config or _config(root), "test")
        assert "\n" not in str(told.value)

    for length in (0, 60, 200, len(whole) // 2):
        path.write_bytes(whole[:length])
        fails(r"joint_data\.mat cannot be read as a MATLAB file .*: take the joint_data\.mat")
    # the header of format 7.3, which is HDF5 inside
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512))
    fails(r"joint_data\.mat is in MATLAB's format 7\.3")
    savemat(path, {"joint_uvd": np.zeros((3, 5, 36, 3))})
    fails(r"joint_data\.mat has no joint_xyz in it")
    savemat(path, {"joint_xyz": np.zeros((3, 5, 14, 3))})
    fails(r"joint_data\.mat has joint_xyz of shape \(3, 5, 14, 3\)")
    savemat(path, {"joint_xyz": "five frames"})
    fails(r"joint_data\.mat cannot be read as a MATLAB file \(joint_xyz is no array of real numbers")
    savemat(path, {"joint_xyz": np.ones((2, 5, 36, 3))})
    fails(r"joint_data\.mat has 2 views: leave view 2 out", _config(root, views=(2,)))
    gap = np.ones((3, 5, 36, 3))
    gap[0, 3, 7, 1] = np.nan
    savemat(path, {"joint_xyz": gap})
    fails(r"joint_data\.mat has a joint that is not finite, or a kilometre off, in frame 4")
    path.unlink()
    fails(r"joint_data\.mat is missing: point data\.root")


def test_centres_of_other_frames_are_told(root: Path) -> None:
    path = root / "test/center_test_0_refined.txt"
    for lines, sentence in (
        ("1 2 700\n" * 4, r"refined\.txt has 4 lines for 5 frames: take the file"),
        ("1 2 700\n" * 4 + "1 2\n", r"refined\.txt line 5 has 2 numbers, not 3"),
        ("1 2 700\n" * 4 + "1 nan 700\n", r"refined\.txt line 5 holds a number that is not finite"),
    ):
        path.write_text(lines)
        with pytest.raises(UserError, match=sentence):
            list_nyu(_config(root), "test")
    _write_centres(path, _mean_mm()[2])
    with pytest.raises(
        UserError, match=r"refined\.txt lies \d+ mm from the labelled hands: take the file of this view"
    ):
        list_nyu(_config(root), "test")


@pytest.mark.parametrize("views", [(), (0, 0), (1, 3)])
def test_views_that_there_are_not(root: Path, views: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"data\.nyu\.views is .*: choose among"):
        list_nyu(_config(root, views=views), "test")


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root is not set: point it at the folder of the unpacked NYU"):
        list_nyu(DataConfig(name="nyu"), "test")
    with pytest.raises(UserError, match=r"gone is no folder: point data\.root"):
        list_nyu(_config(tmp_path / "gone"), "train")
