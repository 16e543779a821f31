"""The bench of frames without a hand: what it makes, erases and counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.no_hand import SEED, SIZE, body, erased, main, noise, room, sensed, share_ok, things
from predicting.estimator import HandEstimator
from tests.hand_frames import rendered_frames


def test_frames_are_depth_images_and_differ() -> None:
    rng = np.random.default_rng(SEED)
    frames = [sensed(make(rng), rng) for make in (room, body, things)] + [noise(rng)]
    assert all(depth.shape == SIZE and depth.dtype == np.float32 and depth.min() >= 0 for depth in frames)
    assert all((depth > 0).mean() > 0.6 for depth in frames)
    head, wall = frames[1], frames[0]
    assert head[head > 0].min() < wall[wall > 0].min()


def test_what_is_erased_is_the_hand_that_was_found() -> None:
    frames, _ = rendered_frames()
    estimator = HandEstimator()
    answers = estimator.batch(frames)
    frame, hand = next((frame, hand) for frame, hand in zip(frames, answers, strict=True) if hand.status == "ok")
    without = erased(frame, hand)
    near = np.asarray(frame.depth_mm) < hand.centre_mm[2] + hand.cube_mm / 2
    assert not without.depth_mm[near].any() and np.array_equal(without.depth_mm[~near], frame.depth_mm[~near])
    counted = share_ok([hand, *estimator.batch([without])])
    assert (counted["frames"], counted["ok"]) == (2, 1)


def test_the_command_counts_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--frames", "4", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name: row["frames"] for name, row in found.items()} == {
        **dict.fromkeys(("room", "body", "things", "noise"), 1),
        "hands": 4,
    }
    assert json.loads(capsys.readouterr().out) == found
