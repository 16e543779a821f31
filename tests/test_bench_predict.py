"""The bench of predict.py times every stage on frames that hold hands."""

from pathlib import Path

from bench.predict import CAMERA, stages, stream, write_frames
from predicting.engine import TorchEngine
from predicting.estimator import HandEstimator


def test_every_stage_is_timed(tmp_path: Path) -> None:
    frames = write_frames(tmp_path, 2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["0000.png", "0001.png"]
    assert frames[0].camera.focal.tolist() == list(CAMERA[:2])
    estimator = HandEstimator(engine=TorchEngine(device="cpu"))
    found = [*stages(estimator, frames, "torch", 2), stream(estimator, frames, "torch", 2, 1)]
    names = [f"torch_{stage}" for stage in ("decode", "locate", "crop", "network", "judge", "whole")]
    assert [timed.name for timed in found] == [*names, "torch_stream_batch2"]
    rows = [timed.plain() for timed in found]
    assert all(row["ms"] > 0 and row["frames_per_s"] > 0 and row["p99_ms"] >= row["ms"] for row in rows)
