"""A run that goes on ends where an undisturbed one does, bit for bit; a damaged checkpoint costs steps, not the run."""

import logging
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.kill_resume import differences
from config import EXPERIMENTS, Experiment
from render.surface import surface_distance
from render.surface_clusters import Clusters
from training.replicas import Learning
from training.run import run
from training.setup import make_fabric, make_network
from util.errors import UserError
from util.files import is_unfinished, remove_unfinished, write_whole
from util.interruption import Interrupted, signals_end_it
from util.random_state import random_state, seed_all, set_random_state
from util.run_folder import RunFolder
from util.training_state import is_whole, load_training_state, save_training_state, sealed

SMOKE = EXPERIMENTS["smoke"]
OPTIM = replace(SMOKE.optim, steps=4, check_every=4, log_every=1)
PHASES = {
    "pretrain": replace(SMOKE, phase="pretrain", optim=replace(OPTIM, first_stage_steps=2)),
    "train": replace(SMOKE, first=None, optim=OPTIM),
    # nothing but the mode that a run is in says that its normalisation learns only from the first check on
    "labelled": replace(SMOKE, network=replace(SMOKE.network, stages=1), first=None, source="labelled", optim=OPTIM),
    # a pool of 3 is full after a step and a half: what it shows is part of what has to go on
    "transfer": replace(
        SMOKE,
        phase="transfer",
        optim=replace(OPTIM, batch=2, real_batch=2),
        transfer=replace(SMOKE.transfer, pool=3, truth_frames=4),
    ),
}
"""The others are killed, and compared in the same way, by bench/kill_resume.py."""


def interrupted(experiment: Experiment, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until a real SIGTERM, which comes while a step's losses are computed."""

    def raised_at(learning: Learning, at: int, *rest: Any) -> Any:
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(learning, at, *rest)

    original = Learning.gradient
    with monkeypatch.context() as patch, signals_end_it(), pytest.raises(Interrupted, match=f"after step {step + 1};"):
        patch.setattr(Learning, "gradient", raised_at)
        run(experiment, folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict]]:
    """Folder and results of a run of a phase that nobody disturbs; each is run once."""

    @cache
    def whole(phase: str) -> tuple[Path, dict]:
        folder = tmp_path_factory.mktemp("whole") / "run"
        return folder, run(PHASES[phase], folder)

    return whole


def differing(one: Path, other: Path) -> list[str]:
    """Differences but for Python's own generator, from which only the checks of types draw that tests have."""
    return [name for name in differences(one, other) if "random/python" not in name]


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_goes_on_bit_for_bit(
    phase: str, undisturbed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, results = undisturbed(phase)
    interrupted(PHASES[phase], tmp_path / "parts", 1, monkeypatch)
    assert load_training_state(tmp_path / "parts" / "last.pt")["step"] == 2
    seed_all(99)  # another session has another state
    resumed = run(PHASES[phase], tmp_path / "parts", resume=True)
    assert differing(folder, tmp_path / "parts") == []
    np.testing.assert_equal({**resumed, "seconds": 0}, {**results, "seconds": 0})


def test_a_run_killed_before_its_first_checkpoint_begins_anew(undisturbed: Callable, tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "killed", PHASES["pretrain"])
    folder.tensorboard().close()
    (folder.path / ".last.pt.abc.part").write_bytes(b"torn")
    run(PHASES["pretrain"], folder.path, resume=True)
    assert differing(undisturbed("pretrain")[0], folder.path) == []
    assert not [path for path in folder.path.rglob("*") if is_unfinished(path)]


def test_what_differs_is_found(tmp_path: Path) -> None:
    """The comparison itself: one bit, a number, a type, an absent file."""
    one, other = (RunFolder.open(tmp_path / name, SMOKE) for name in ("one", "other"))
    weights = {"w": torch.ones(3), "v": torch.tensor(2.0)}
    for folder in (one, other):
        folder.save_last(weights, {"width": 1}, {"step": 1, "seconds": float(folder is one)})
    assert differences(one.path, other.path) == []
    other.save_last({**weights, "w": torch.tensor([1.0, 1.0, 1.0 + 2**-23])}, {"width": 1}, {"step": 1.0})
    found = ["last.pt: step", "last.pt: weights/w", "last.safetensors: w"]
    assert differences(one.path, other.path) == found
    other.last_state.unlink()
    assert differences(one.path, other.path) == ["last.pt is absent", "last.safetensors: w"]


def test_the_surface_is_laid_out_alike_whatever_is_met_first() -> None:
    _, layer = make_network(SMOKE, make_fabric(SMOKE))
    generator = torch.Generator().manual_seed(0)
    fists = layer(torch.zeros(2, 3), 2 * torch.randn(2, 45, generator=generator), torch.zeros(2, 10)).vertices_m
    surface_distance(fists[:, :10], fists, layer.faces)
    _, other = make_network(SMOKE, make_fabric(SMOKE))
    one, two = (Clusters.of(fists, own.faces, own.part_faces) for own in (layer, other))
    assert torch.equal(one.faces, two.faces)
    one, two = (Clusters.of(fists, own.faces, ()) for own in (layer, other))
    assert torch.equal(one.faces, two.faces)
    assert not torch.equal(one.faces, Clusters.of(fists, layer.faces.clone(), ()).faces), "a pose does decide"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """With two checkpoints, of steps 1 and 2."""
    run_folder = RunFolder.open(tmp_path / "run", SMOKE)
    for step in (1, 2):
        run_folder.save_last({"w": torch.full((3,), float(step))}, {"width": 1}, {"step": step})
    return run_folder


def test_the_checkpoint_before_is_kept(folder: RunFolder) -> None:
    assert folder.load_last()["step"] == 2
    assert load_training_state(folder.previous_state)["step"] == 1


@pytest.mark.parametrize("damage", ["torn", "emptied", "one bit", "removed", "something else"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    damage: str, folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder.last_state
    content = bytearray(file.read_bytes())
    if damage == "removed":
        file.unlink()
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes({"torn": content[: len(content) // 2], "emptied": b"", "something else": b"PK"}[damage])
    with caplog.at_level(logging.WARNING):
        assert folder.load_last()["step"] == 1
    (said,) = [record.getMessage() for record in caplog.records]
    assert str(file) in said and str(folder.previous_state) in said
    # the damaged one never takes the place of the good one
    folder.save_last({"w": torch.zeros(3)}, {"width": 1}, {"step": 3})
    assert [load_training_state(path)["step"] for path in (folder.last_state, folder.previous_state)] == [3, 1]


def test_two_damaged_checkpoints_are_one_sentence(folder: RunFolder) -> None:
    for file in (folder.last_state, folder.previous_state):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"last\.pt is damaged, and .*previous\.pt is damaged: .*--load-model"):
        folder.load_last()


def test_every_byte_is_under_the_checksum(tmp_path: Path) -> None:
    save_training_state(tmp_path / "a.pt", {"step": 1})
    content = (tmp_path / "a.pt").read_bytes()
    assert is_whole(content)
    for at in range(len(content)):
        assert not is_whole(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]), at
    assert torch.load(tmp_path / "a.pt", weights_only=True) == {"step": 1}, "any reader of torch's files reads it"
    with pytest.raises(ValueError, match="comment"):
        sealed(content)


def test_a_state_of_before_checksums_is_read(tmp_path: Path) -> None:
    torch.save({"step": 5}, tmp_path / "old.pt")
    assert load_training_state(tmp_path / "old.pt") == {"step": 5}


def test_a_folder_in_which_only_unfinished_files_lie_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.x1.part").write_bytes(b"{")
    RunFolder.open(tmp_path / "run", SMOKE)


def test_only_unfinished_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    kept = [tmp_path / "a.part", tmp_path / ".hidden", tmp_path / "pictures" / "b.png"]
    for file in (*kept, tmp_path / ".a.part", tmp_path / "pictures" / ".b.png.part"):
        write_whole(file, b"1")
    remove_unfinished(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_random_states_go_on(tmp_path: Path) -> None:
    def drawn() -> list[float]:
        return [random.random(), random.gauss(0, 1), float(np.random.standard_normal()), float(torch.rand(()))]  # noqa: NPY002

    seed_all(3)
    random.gauss(0, 1)  # leaves a spare number behind, as NumPy's does
    np.random.standard_normal()  # noqa: NPY002
    save_training_state(tmp_path / "state.pt", random_state())
    first = drawn()
    assert drawn() != first
    set_random_state(load_training_state(tmp_path / "state.pt"))
    assert drawn() == first
    seed_all(3)
    again = random.gauss(0, 1)
    seed_all(3)
    assert random.gauss(0, 1) == again
