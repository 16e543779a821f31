"""Frames of one's own: files, folders, patterns, stacks, cameras by name, and a live sensor's interface."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dataloader.named_cameras import NAMED, named_camera, nominal_intrinsics
from dataloader.realsense import live_frames
from dataloader.sources import frames_of
from util.errors import UserError

CAMERA = (475.0, 475.0, 4.0, 3.0)
DEPTH = np.arange(48, dtype=np.uint16).reshape(6, 8) + 500


def _png(path: Path, depth: np.ndarray = DEPTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), depth)
    return path


def test_a_file_is_one_frame_in_millimetres(tmp_path: Path) -> None:
    (frame,) = frames_of(str(_png(tmp_path / "a.png")), CAMERA)
    assert frame.name == "a.png" and frame.depth_mm.dtype == np.uint16 and np.array_equal(frame.depth_mm, DEPTH)
    assert frame.camera.focal.tolist() == [475, 475] and frame.camera.principal.tolist() == [4, 3]


def test_units_are_metres_a_stored_unit(tmp_path: Path) -> None:
    source = str(_png(tmp_path / "a.png"))
    assert np.allclose(frames_of(source, CAMERA, 0.000125)[0].depth_mm, DEPTH / 8)
    np.save(tmp_path / "b.npy", np.array([[0.5, np.nan], [-1.0, np.inf]]))
    assert frames_of(str(tmp_path / "b.npy"), CAMERA, 1.0)[0].depth_mm.tolist() == [[500, 0], [0, 0]]


def test_a_folder_is_read_in_natural_order_of_unique_names(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "sub/1.tif", ".hidden/1.png"):
        _png(tmp_path / name)
    np.save(tmp_path / "12.npy", np.stack([DEPTH + k for k in range(11)]))
    frames = frames_of(str(tmp_path), CAMERA)
    assert frames.names == ["9.png", "10.png", *(f"12.npy/{k:02}" for k in range(11)), "sub/1.tif"]
    assert [frame.name for frame in frames] == frames.names and len(set(frames.names)) == len(frames)
    assert np.array_equal(frames[5].depth_mm, DEPTH + 3) and frames[2:4].names == frames.names[2:4]


def test_a_pattern_names_files_from_their_common_folder(tmp_path: Path) -> None:
    for name in ("a/2.png", "a/10.png", "b/1.png", "b/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        _png(tmp_path / name) if name.endswith("png") else (tmp_path / name).write_text("")
    assert frames_of(f"{tmp_path}/*/*", CAMERA).names == ["a/2.png", "a/10.png", "b/1.png"]
    assert frames_of(f"{tmp_path}/a/*.png", CAMERA).names == ["2.png", "10.png"]


def test_stacks_in_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", anything=np.stack([DEPTH, DEPTH + 1]), labels=np.zeros(2))
    assert frames_of(str(tmp_path / "one.npz"), CAMERA).names == ["one.npz/0", "one.npz/1"]
    np.savez(tmp_path / "named.npz", depth=DEPTH[None] + 7, other=DEPTH[None])
    assert np.array_equal(frames_of(str(tmp_path / "named.npz"), CAMERA)[0].depth_mm, DEPTH + 7)
    np.savez(tmp_path / "many.npz", first=DEPTH, second=DEPTH)
    with pytest.raises(UserError, match=r"many\.npz holds first, second: call the array"):
        frames_of(str(tmp_path / "many.npz"), CAMERA)


def test_camera_json_beside_the_images_says_camera_unit_and_side(tmp_path: Path) -> None:
    _png(tmp_path / "a.png")
    (tmp_path / "camera.json").write_text('{"fx": 1, "fy": 2, "cx": 3, "cy": 4, "unit_mm": 0.5, "side": "left"}')
    frames = frames_of(str(tmp_path))
    assert frames.side == "left" and frames[0].camera.focal.tolist() == [1, 2]
    assert np.allclose(frames[0].depth_mm, DEPTH / 2)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.png", None, "does not exist: give a file, a folder"),
        ("text.txt", b"no image", "is no depth image by its ending"),
        ("torn.npz", b"PK no zip", "is no readable array"),
        ("torn.npy", b"no array", "is no readable array"),
    ],
)
def test_what_is_no_source_is_said_in_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint) as error:
        frames_of(str(tmp_path / name), CAMERA)
    assert name in str(error.value)


def test_damage_in_a_folder_is_found_when_its_frame_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((4, 4), np.uint8))
    (tmp_path / "torn.png").write_bytes(b"no image")
    frames = frames_of(str(tmp_path), CAMERA)
    for index, complaint in enumerate((r"grey\.png holds uint8", r"torn\.png is no readable image")):
        with pytest.raises(UserError, match=complaint):
            frames[index]


@pytest.mark.parametrize(
    ("camera", "unit_m", "complaint"),
    [
        (None, None, "Nothing says what camera took"),
        ((0.0, 1.0, 2.0, 3.0), None, "--camera 0 1 2 3 is no camera"),
        (CAMERA, 0.0, "--unit 0 is no length"),
        ("kinect9", None, "no sensor 'kinect9': choose kinect1"),
    ],
)
def test_a_camera_is_needed(tmp_path: Path, camera, unit_m: float | None, complaint: str) -> None:
    source = str(_png(tmp_path / "a.png"))
    with pytest.raises(UserError, match=complaint):
        frames_of(source, camera, unit_m)


def test_an_empty_folder_holds_no_frame(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no frame"):
        frames_of(str(tmp_path), CAMERA)


def test_sensors_by_name(tmp_path: Path) -> None:
    _png(tmp_path / "a.png", np.full((480, 640), 4000, np.uint16))
    (frame,) = frames_of(str(tmp_path / "a.png"), "sr305")
    assert frame.depth_mm[0, 0] == 500 and frame.camera.focal.tolist() == [476, 476]
    with pytest.raises(UserError, match="kinect2 is known for images of 512x424, not 640x480: give --camera"):
        frames_of(str(tmp_path / "a.png"), "kinect2")[0]


def test_nominal_cameras_look_ahead_and_their_fields_of_view_are_real() -> None:
    for name, sensor in NAMED.items():
        assert named_camera(name) is sensor and 0 < sensor.unit_m <= 0.001
        for (width, height), (fx, fy, cx, cy) in sensor.modes.items():
            assert nominal_intrinsics(name, (width, height)) == (fx, fy, cx, cy)
            assert abs(cx / width - 0.5) < 0.03 and abs(cy / height - 0.5) < 0.08
            assert 50 < 2 * np.degrees(np.arctan(width / 2 / fx)) < 95


class _Recorded:
    """Recorded frames with as much of pyrealsense2's interface as a live source touches."""

    def __init__(self, frames: list[np.ndarray | None], broken: bool = False) -> None:
        self.stream, self.format = SimpleNamespace(depth="depth"), SimpleNamespace(z16="z16")
        self.config = lambda: SimpleNamespace(enable_stream=lambda *asked: self.asked.append(asked))
        self.pipeline = lambda: self
        self.asked: list[tuple] = []
        self.stopped, self._frames, self._broken = 0, iter(frames), broken
        self._buffer = np.zeros((6, 8), np.uint16)

    def start(self, _config: object) -> "_Recorded":
        if self._broken:
            raise RuntimeError("No device connected")
        return self

    def stop(self) -> None:
        self.stopped += 1

    def get_stream(self, _kind: str) -> "_Recorded":
        return self

    def as_video_stream_profile(self) -> "_Recorded":
        return self

    def get_intrinsics(self) -> SimpleNamespace:
        return SimpleNamespace(fx=420.0, fy=421.0, ppx=3.5, ppy=2.5, width=8, height=6)

    def get_device(self) -> "_Recorded":
        return self

    def first_depth_sensor(self) -> "_Recorded":
        return self

    def get_depth_scale(self) -> float:
        return 0.0010000000474974513  # as float32 in the real one

    def wait_for_frames(self) -> "_Recorded":
        return self

    def get_depth_frame(self) -> "_Recorded | None":
        try:
            frame = next(self._frames)
        except StopIteration:
            raise RuntimeError("Frame didn't arrive within 5000") from None
        if frame is None:
            return None
        self._buffer[:] = frame  # one piece of memory for all frames, as the sensor has
        return self

    def get_data(self) -> np.ndarray:
        return self._buffer


def test_live_frames_are_copied_and_the_sensor_stops() -> None:
    sensor = _Recorded([DEPTH, None, DEPTH + 1, DEPTH + 2])
    first, second = live_frames(most=2, package=sensor)
    assert sensor.stopped == 1 and sensor.asked == [("depth",)]
    assert np.array_equal(first.depth_mm, DEPTH) and np.array_equal(second.depth_mm, DEPTH + 1)
    assert [first.name, second.name] == ["realsense/000000", "realsense/000001"]
    assert first.camera.focal.tolist() == [420, 421] and first.camera.principal.tolist() == [4, 3]


def test_live_frames_stop_with_their_reader_and_say_what_is_missing() -> None:
    sensor = _Recorded([DEPTH] * 5)
    frames = live_frames((8, 6), 60, package=sensor)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert sensor.stopped == 1 and sensor.asked == [("depth", 8, 6, "z16", 60)]
    with pytest.raises(UserError, match=r"No RealSense sensor answers \(No device connected\)"):
        next(live_frames(package=_Recorded([], broken=True)))
    with pytest.raises(UserError, match="delivers no frame"):
        list(live_frames(package=_Recorded([DEPTH])))


def test_without_the_package_the_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyrealsense2", None)
    with pytest.raises(UserError, match="pip install pyrealsense2"):
        next(live_frames())
