"""Hands of stored frames in shards: stopped and gone on with, shared out, changed in between; every frame once."""

import io
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import predict
from dataloader.crop import HandCrop
from dataloader.frame import DepthFrame
from dataloader.sources import frames_of
from predicting.engine import EngineAnswer, TorchEngine
from predicting.estimator import HandEstimator
from predicting.output.remembered import Remembered
from predicting.output.tables import read_predictions_npz
from predicting.output.write import OutputOptions, write_all
from predicting.prediction import HandPrediction, no_hand
from predicting.sharded import FOLDER, are_predictions, columns_of, predictions_of
from tests.hand_frames import rendered_frames
from util.errors import UserError

PLAIN = ["--device", "cpu", "--plain"]
FILES = ("predictions.json", "predictions.npz")


def folder_of(path: Path, n: int) -> list[str]:
    """n frames of one camera, the last without a hand, in an order that is not that of their names as text."""
    frames, _ = rendered_frames()
    path.mkdir()
    for k in range(n - 1):
        depth_mm = frames[0].depth_mm
        cv2.imwrite(str(path / f"{k + 5}.png"), np.where(depth_mm > 0, depth_mm + np.uint16(k), np.uint16(0)))
    cv2.imwrite(str(path / f"{n + 4}.png"), np.zeros((128, 128), np.uint16))
    camera = [*frames[0].camera.focal.tolist(), *frames[0].camera.principal.tolist()]
    return [str(path), "--camera", *map(str, camera)]


def content(out: Path) -> dict[str, bytes]:
    """Arrays of predictions.npz by name, and the bytes of predictions.json."""
    with np.load(io.BytesIO((out / FILES[1]).read_bytes())) as stored:
        arrays = {name: str(stored[name].dtype).encode() + stored[name].tobytes() for name in stored.files}
    return arrays | {FILES[0]: (out / FILES[0]).read_bytes()}


class Reads(TorchEngine):
    """The engine, which counts crops and is stopped before the one too many."""

    crops, most = 0, 1 << 30

    def __call__(self, crop: HandCrop) -> EngineAnswer:
        Reads.crops += len(crop.centre_mm)
        if Reads.crops > Reads.most:
            signal.raise_signal(signal.SIGTERM)
        return super().__call__(crop)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Reads]]:
    monkeypatch.setattr("predicting.estimator.TorchEngine", Reads)
    Reads.crops, Reads.most = 0, 1 << 30
    yield Reads


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch is without gloo"
)
def test_a_killed_run_goes_on_in_two_processes(tmp_path: Path, root: Path, one_thread: None) -> None:
    source = folder_of(tmp_path / "frames", 16)
    words = [*source, *PLAIN, "--batch", "1", "--shard", "1"]
    assert predict.main([*words, "--out", str(tmp_path / "whole")]) == 0
    command = [sys.executable, "predict.py", *words, "--out", str(tmp_path / "killed")]
    rest = {"cwd": root, "env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True}
    process = subprocess.Popen(command, **rest, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(list((tmp_path / "killed" / FOLDER).glob("shard-*"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "killed" / FOLDER).glob("shard-*")}
    assert 3 <= len(kept) < 16 and not (tmp_path / "killed" / FILES[1]).exists()
    done = subprocess.run([*command, "--processes", "2"], **rest, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{len(kept)} of 16 shards" in done.stderr and done.stdout.count("16 frames: ") == 1, "one process tells"
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    rows = [hand.frame for hand in read_predictions_npz(tmp_path / "killed" / FILES[1])]
    assert rows == [f"{k + 5}.png" for k in range(16)], "every frame once, in order"
    assert {path.name for path in (tmp_path / "killed").iterdir()} == set(FILES), "nothing is left"


def test_what_is_the_same_is_kept_and_nothing_else(
    tmp_path: Path, reads: type[Reads], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = folder_of(tmp_path / "frames", 9)
    words = [*source, *PLAIN, "--batch", "1", "--shard", "2", "--candidates", "1", "--out", str(tmp_path / "out")]
    assert predict.main([*words[:-1], str(tmp_path / "whole")]) == 0
    assert reads.crops == 8, "one a frame with a hand"

    def kept(words: list[str], most: int = 0) -> int:
        """How many shards are used, by a call that is stopped when it has read `most` frames."""
        caplog.clear()
        reads.crops, reads.most = 0, most
        assert predict.main(words) == 143
        assert "the same command goes on" in capsys.readouterr().err
        told = re.search(r"(\d+) of 5 shards", caplog.text)
        return 0 if told is None else int(told[1])

    assert kept(words, 7) == 0
    assert len(list((tmp_path / "out" / FOLDER).iterdir())) == 3, "shards of two frames, whole ones only"
    assert kept(words) == 3
    assert kept([*words, "--cube-mm", "240"]) == 0, "another setting"
    assert "3 shards" in caplog.text and "not used" in caplog.text
    assert kept([*words[:2], "480", *words[3:]]) == 0, "another camera"
    assert kept([*words, "--weights", "model/weights/compact.safetensors"]) == 0, "other weights"
    image = tmp_path / "frames" / "5.png"
    found = image.stat()
    os.utime(image, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert kept(words) == 2, "a file of another time, in the first shard"
    (tmp_path / "frames" / "7.png").rename(tmp_path / "frames" / "7b.png")
    assert kept(words) == 1, "a file of another name, in the second"
    (tmp_path / "frames" / "7b.png").rename(tmp_path / "frames" / "7.png")
    reads.crops, reads.most = 0, 1 << 30
    assert predict.main(words) == 0 and reads.crops == 4, "one was touched, and one not done"
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_damaged_image_is_told_and_what_was_done_is_kept(tmp_path: Path, reads: type[Reads]) -> None:
    source = folder_of(tmp_path / "frames", 6)
    words = [*source, *PLAIN, "--batch", "1", "--shard", "1", "--out", str(tmp_path / "out")]
    image = tmp_path / "frames" / "8.png"
    good = image.read_bytes()
    image.write_bytes(good[:100])
    with pytest.raises(UserError, match=r"8\.png"):
        predict.main(words)
    image.write_bytes(good)
    before, reads.crops = reads.crops, 0
    assert predict.main(words) == 0 and 0 < reads.crops < 6 and before > 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["x.png", "--sequence", "--processes", "2"], "one process"),
        (["realsense", "--processes", "2"], "one process"),
        (["x.png", "--processes", "0"], "count"),
        (["x.png", "--shard", "0"], "--shard from 1 to 10,000"),
        (["x.png", "--shard", "10001"], "--shard from 1 to 10,000"),
    ],
)
def test_mistakes_are_said_in_one_sentence(words: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        predict.main(words)


def test_hands_come_back_to_the_last_bit() -> None:
    frames, _ = rendered_frames()
    hands = [*HandEstimator(device="cpu").batch(frames[:2]), no_hand("nothing", 250.0)]
    columns = columns_of(hands)
    assert are_predictions(columns)
    back = predictions_of(columns, [hand.frame for hand in hands])
    for one, other in zip(hands, back, strict=True):
        assert _plain(one) == _plain(other) and list(one.measures) == list(other.measures)
    wrong = [
        {"status": np.array(["ok", "fine", "ok"])},
        {"measures": np.array(["{}", "[1]", "{}"])},
        {"measures": np.array(["{}", "{'iou'", "{}"])},
        {"confidence": np.array([0.5, np.nan, 1.0])},
        {"cube_mm": np.array([250.0, 0.0, 250.0])},
        {"joints_mm": columns["joints_mm"][:, :20]},
        {"params": np.nan_to_num(columns["params"]).astype(np.int64)},
        {"centre_mm": np.full((3, 3), np.inf, np.float32)},
        {"more": np.zeros(3)},
    ]
    for change in wrong:
        assert not are_predictions(columns | change), change
    assert not are_predictions({name: column for name, column in columns.items() if name != "side"})


def _plain(hand: HandPrediction) -> dict:
    return {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in vars(hand).items()}


def test_pictures_hold_few_frames_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_of(tmp_path / "frames", 8)
    stored = frames_of(source[0], tuple(map(float, source[2:6])))  # type: ignore[arg-type]
    hands = HandEstimator(device="cpu").batch(list(stored))
    alive: list[weakref.ref] = []
    most = 0
    make = type(stored).__getitem__

    def watched(self: object, index: int) -> object:
        nonlocal most
        frame = make(self, index)  # type: ignore[arg-type]
        if isinstance(frame, DepthFrame):
            most = max(most, sum(ref() is not None for ref in alive) + 1)
            alive.append(weakref.ref(frame))
        return frame

    monkeypatch.setattr(type(stored), "__getitem__", watched)
    monkeypatch.setattr("predicting.output.write.Remembered", partial(Remembered, kept=2))
    few = write_all(tmp_path / "few", stored, hands, OutputOptions())
    assert len(alive) >= 8 and most <= 5, "two are kept, besides the one that is drawn"
    monkeypatch.undo()
    whole = write_all(tmp_path / "whole", list(stored), hands, OutputOptions())
    assert len(few) == len(whole) == 8 + 4
    for one, other in zip(few, whole, strict=True):
        if one.suffix != ".npz":
            assert one.read_bytes() == other.read_bytes(), one


def test_the_newest_are_not_made_again() -> None:
    made: list[int] = []
    numbers = Remembered(5, lambda k: made.append(k) or k * k, 2)
    assert list(numbers) == [0, 1, 4, 9, 16] and made == [0, 1, 2, 3, 4]
    assert numbers[-1] == 16 and numbers[3] == 9 and len(made) == 5
    assert list(numbers[1:3]) == [1, 4] and made[5:] == [1, 2]
    with pytest.raises(IndexError):
        numbers[5]
