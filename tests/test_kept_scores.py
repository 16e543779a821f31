"""Phase test in shards: killed and gone on with, what changed is scored anew, and what is left behind is the same."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.kill_resume import differences
from config import EXPERIMENTS, WEIGHTS, Experiment
from training import measures
from training.kept_scores import FOLDER, are_scores, in_shards, kept_scores
from training.run import run
from training.setup import make_fabric, make_network
from training.sources import load_frames
from util.cli import parse_launch
from util.run_folder import RunFolder

SMOKE = EXPERIMENTS["smoke"]
TEST = replace(
    SMOKE,
    phase="test",
    device="cpu",
    start=WEIGHTS / "compact.safetensors",
    demo=replace(SMOKE.demo, train_frames=8, test_frames=100),
    pictured=1,
)


def words_of(experiment: Experiment, folder: Path) -> list[str]:
    demo = ["--demo.train-frames", str(experiment.demo.train_frames), "--demo.test-frames"]
    words = ["--phase", "test", "--device", "cpu", "--load-model", str(experiment.start), *demo]
    return ["smoke", *words, str(experiment.demo.test_frames), "--pictured", "1", "--run-dir", str(folder)]


def test_a_killed_test_goes_on(tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """tests/test_parallel.py holds two processes against one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run(TEST, tmp_path / "whole")
        folder = tmp_path / "killed"
        rest = {"cwd": root, "env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True}
        command = [sys.executable, "train_render.py", *words_of(TEST, folder)]
        process = subprocess.Popen(command, **rest, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not list((folder / FOLDER).glob("shard-*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kept = {file: file.stat().st_mtime_ns for file in (folder / FOLDER).glob("shard-*")}
        assert len(kept) == 1 and not (folder / "results.json").exists()
        with caplog.at_level("INFO"):
            run(parse_launch(["--run-dir", str(folder), "--resume"]).experiment, folder, resume=True)
    finally:
        torch.set_num_threads(threads)
    assert f"{len(kept)} of 2 shards" in caplog.text
    assert differences(tmp_path / "whole", folder) == []
    whole, after = ({str(file.relative_to(f)) for file in f.rglob("*")} for f in (tmp_path / "whole", folder))
    assert after == whole and "predictions/after_stage2_model_uvd.txt" in whole
    for file in ("results.json", "predictions/frames.txt", "pictures/after.png"):
        assert (tmp_path / "whole" / file).read_bytes() == (folder / file).read_bytes()
    names = (folder / "predictions" / "frames.txt").read_text().splitlines()
    assert len(set(names)) == len(names) == 100


def test_only_what_is_missing_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.kept_scores.BATCH", 4)
    few = replace(TEST, demo=replace(TEST.demo, test_frames=10))
    weights = WEIGHTS / "compact.safetensors"
    network, layer = make_network(few, make_fabric(few), weights)
    store = load_frames(few, "test")
    shards = kept_scores(few, RunFolder(tmp_path), network, store, weights)
    scored: list[int] = []
    fit, most = measures.fit_measures, 2

    def counted(crop, output, layer, observed):
        if most and len(scored) == most:
            raise KeyboardInterrupt
        scored.append(len(crop.centre_mm))
        return fit(crop, output, layer, observed)

    def score(share: measures.Share = measures.shared) -> tuple[str, dict[str, bytes]]:
        found: dict[str, torch.Tensor] = {}
        results = measures.score_frames(network, store, layer, 4, found, share)
        return json.dumps(results), {branch: joints.numpy().tobytes() for branch, joints in found.items()}

    whole = score()
    monkeypatch.setattr(measures, "fit_measures", counted)
    with pytest.raises(KeyboardInterrupt):
        score(in_shards(shards))
    assert scored == [4] * 2 and shards.missing() == [1, 2], "a batch of two stages"
    most = 0
    scored.clear()
    assert score(in_shards(shards)) == whole
    assert scored == [4, 4, 2, 2], "what is left"
    scored.clear()
    assert score(in_shards(shards)) == whole and scored == []


def test_what_is_kept_is_of_these_frames_and_weights(tmp_path: Path) -> None:
    few = replace(TEST, demo=replace(TEST.demo, test_frames=4))
    weights = WEIGHTS / "compact.safetensors"
    network, _ = make_network(few, make_fabric(few), weights)
    store = load_frames(few, "test")
    folder = RunFolder(tmp_path)
    rows = {"stage1_pixel joints_mm": np.zeros((4, 21, 3), np.float32), "stage1_pixel iou": np.zeros(4, np.float32)}
    kept_scores(few, folder, network, store, weights).run(lambda shard: rows)

    def missing(experiment: Experiment = few, frames=store, path: Path = weights) -> list[int]:
        return kept_scores(experiment, folder, network, frames, path).missing()

    assert missing() == [] and missing(replace(few, processes=2, pictured=7)) == []
    assert missing(frames=replace(store, centres_mm=store.centres_mm + 1)) == [0]
    assert missing(frames=replace(store, pixels=store.pixels + 1)) == [0]
    assert missing(frames=replace(store, names=store.names[::-1])) == [0]
    assert missing(path=WEIGHTS / "sensor.safetensors") == [0]
    assert missing(replace(few, network=replace(few.network, precision="fp32"))) == [0]
    for wrong in ({}, {"a": rows["stage1_pixel iou"]}, {"a b": rows["stage1_pixel iou"]}, {"a joints_mm": np.zeros(4)}):
        assert not are_scores(wrong)
    assert are_scores(rows)
