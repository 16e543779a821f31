"""What goes wrong around a run: signals, disks, rights, workers, data. Real processes and real errors throughout."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from bench.health import children
from bench.kill_resume import differences
from config import EXPERIMENTS
from dataloader.packing import STARTING, save_packed
from dataloader.store import FrameStore
from tests.test_store import _stored
from train_render import main
from training.batch_file import read_batch
from training.finite import FiniteTerms
from training.loop import Loop
from training.parts import Part, Ready
from training.prefetch import rendered_steps, worker_deaths_told
from training.run import run
from training.setup import make_network, make_rendered
from util.cli import run_entry
from util.errors import UserError
from util.files import write_whole
from util.interruption import signals_end_it
from util.run_folder import RunFolder

SMOKE = EXPERIMENTS["smoke"]
TINY = replace(SMOKE.optim, steps=2, batch=2, real_batch=2, check_every=1, log_every=1, check_frames=4, final_frames=4)
PRETRAIN = replace(SMOKE, phase="pretrain", optim=TINY)
LONG = ["smoke", "--phase", "pretrain", "--device", "cpu", "--optim.steps", "100000", "--optim.check-every", "100000"]
SHORT = ["smoke", "--phase", "pretrain", "--device", "cpu", "--optim.steps", "2"]


def sentence(said: str) -> str:
    """The one line after progress bars and notices; a traceback is none."""
    assert "Traceback" not in said and "Exception" not in said, said
    return said.replace("\r", "\n").strip().splitlines()[-1]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """The command in this process: its words -> exit code, last line of stderr."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train_render.py", *words])
        capfd.readouterr()
        code = run_entry(main)
        return code, sentence(capfd.readouterr().err)

    return call


def until(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_signal_ends_a_process_well(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [sys.executable, "train_render.py", *LONG, "--run-dir", str(folder)]
    process = subprocess.Popen(words, cwd=root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until(lambda: any(folder.glob("tensorboard/*")))  # the loop is there; steps begin
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    told, step = sentence(stderr), RunFolder(folder).load_last()["step"]
    assert told == f"Stopped by SIGUSR1 after step {step}; --run-dir {folder} --resume goes on."


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_outside_of_steps_ends_a_command_at_once(
    number: signal.Signals, capsys: pytest.CaptureFixture
) -> None:
    def entry(words: object) -> None:
        with signals_end_it():
            os.kill(os.getpid(), number)
            pytest.fail("it went on")

    assert run_entry(entry) == 0
    assert sentence(capsys.readouterr().err).startswith(f"Stopped by {number.name}; --resume")


def test_a_file_that_may_not_grow_is_one_sentence(command: Callable, tmp_path: Path) -> None:
    """Weights of this network fit, its training state does not."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, limits[1]))
    try:
        code, said = command(*SHORT, "--run-dir", str(tmp_path / "run"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2 and "File too large" in said
    assert (tmp_path / "run" / "last.safetensors").is_file() and not list(tmp_path.rglob("*.pt"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, on which two training states have room beside everything else, but not three."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4800k", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a disk needs rights")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_no_checkpoint(small_disk: Path, tmp_path: Path) -> None:
    four = replace(PRETRAIN, optim=replace(TINY, steps=4))
    run(four, tmp_path / "whole")
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        run(four, small_disk / "run")
    assert RunFolder(small_disk / "run").load_last()["step"] == 2
    assert not list(small_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    run(four, small_disk / "run", resume=True)
    found = differences(tmp_path / "whole", small_disk / "run")
    assert [name for name in found if "random/python" not in name] == []  # from which checks of types draw, in tests


def test_a_disk_that_is_full_from_the_start_is_one_sentence(small_disk: Path, command: Callable) -> None:
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    code, said = command(*SHORT, "--run-dir", str(small_disk / "run"))
    assert code == 2 and "No space left on device" in said


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_run_folder_is_one_sentence(begun: bool, small_disk: Path, command: Callable) -> None:
    folder = small_disk / "run"
    if begun:
        RunFolder.open(folder, PRETRAIN)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, said = command(*([] if begun else SHORT), "--run-dir", str(folder), *(["--resume"] if begun else []))
    assert code == 2 and str(folder) in said and "cannot be written" in said and "Read-only" in said


def test_a_folder_without_access_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Wherever the system says it: nobody may write what is root's."""
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o555)

    def entry(words: object) -> None:
        if os.getuid() != 0:
            (folder / "a").write_text("")
        else:
            Path("/proc/sys/kernel/ostype").write_text("")

    assert run_entry(entry) == 2
    assert "Permission denied" in sentence(capsys.readouterr().err)


def test_errors_of_the_program_stay_what_they_are() -> None:
    with pytest.raises(FileNotFoundError):
        run_entry(lambda words: Path("/nowhere/at/all").write_text(""))  # type: ignore[func-returns-value]


def test_a_worker_that_dies_is_one_sentence(tmp_path: Path) -> None:
    experiment = replace(SMOKE, optim=replace(SMOKE.optim, workers=1))
    before = children()
    batches = rendered_steps(experiment, make_rendered(SMOKE), 0, 10_000, 128)
    (worker,) = (child for child in children() if child not in before and _is_worker(child))
    next(batches)
    os.kill(worker, signal.SIGTERM)
    next(batches)  # it leaves such signals to its parent
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(UserError, match=r"process that draws rendered hands died.*--resume"):  # noqa: SIM117
        with worker_deaths_told(tmp_path):
            for _ in batches:
                time.sleep(0.01)


def _is_worker(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_data_set_that_shrinks_is_one_sentence_and_one_that_is_removed_is_still_there(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    save_packed(folder, (_stored(k) for k in range(3)), {"size": 128, "joint_set": "mano21", "mirrored_width": 0}, {})
    store = FrameStore.load(folder)
    whole = store.batch(range(3)).crop.depth
    pixels = folder / "pixels.u16"
    pixels.rename(tmp_path / "elsewhere")
    assert torch.equal(store.batch(range(3)).crop.depth, whole), "who has it open keeps it"
    (tmp_path / "elsewhere").rename(pixels)
    os.truncate(pixels, 4096)
    with pytest.raises(UserError, match="has become shorter"):
        store.batch(range(3))


def test_what_a_killed_preparation_left_is_removed_but_not_a_running_one(tmp_path: Path) -> None:
    left, running, young = (tmp_path / f".kept.{name}.part" for name in ("left", "running", "young"))
    for folder in (left, running, young):
        folder.mkdir()
        if folder != young:
            os.utime(folder, (0, time.time() - 2 * STARTING))
    program = "import fcntl, os, sys; f = os.open(sys.argv[1], 0); fcntl.flock(f, 2); print(1, flush=True); input()"
    words = [sys.executable, "-c", program, str(running)]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline()
    rest = {"size": 128, "joint_set": "mano21", "mirrored_width": 0}
    save_packed(tmp_path / "kept", iter([_stored(0)]), rest, {})
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "kept", running, young])
    other.kill()
    other.wait()
    save_packed(tmp_path / "kept", iter([_stored(0)]), rest, {})
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "kept", young])


def test_a_run_that_diverges_keeps_the_batch(tmp_path: Path) -> None:
    wild = replace(PRETRAIN, optim=replace(TINY, steps=20, learning_rate=1e30, warmup=0, clip=1e30, check_every=100))
    with pytest.raises(
        UserError, match=r"Step \d+: .* is not finite \(its batch is not-finite-\d+\.safetensors\)"
    ) as told:
        run(wild, tmp_path / "run")
    (file,) = (tmp_path / "run").glob("not-finite-*.safetensors")
    kept = read_batch(file)
    step = int(kept.about["step"])
    assert str(told.value).startswith(f"Step {step}: {kept.about['terms']} ")
    drawn = next(rendered_steps(wild, make_rendered(wild), step, step + 1, TINY.batch))
    sample = kept.samples["rendered"]
    assert torch.equal(sample.crop.depth, drawn.crop.depth) and torch.equal(sample.joints_mm, drawn.joints_mm)  # type: ignore[arg-type]
    assert torch.equal(sample.params.vector(), drawn.params.vector())  # type: ignore[union-attr]
    assert torch.equal(sample.crop.pixels_from_mm(drawn.joints_mm), drawn.crop.pixels_from_mm(drawn.joints_mm))  # type: ignore[arg-type]
    write_whole(file, file.read_bytes()[:100])
    with pytest.raises(UserError, match="holds no batch"):
        read_batch(file)


def a_loop(folder: Path, skip: int, at_once: bool = True) -> tuple[Loop, torch.Tensor]:
    fabric = Fabric(accelerator="cpu", devices=1)
    experiment = replace(SMOKE, optim=replace(SMOKE.optim, skip=skip))
    network, _ = make_network(experiment, fabric)
    loop = Loop(experiment, fabric, network, RunFolder.open(folder, experiment))
    if not at_once:
        loop.finite = FiniteTerms(fabric.device, at_once=False)
    return loop, network.stage(0).pixel.offsets.weight


def test_as_many_steps_as_allowed_are_skipped_and_leave_no_trace(tmp_path: Path) -> None:
    loop, weight = a_loop(tmp_path / "run", skip=2)
    running = next(buffer for name, buffer in loop.network.named_buffers() if name.endswith("running_mean"))
    seen = []

    def losses(step: int, part: Part) -> Ready:
        seen.append((weight.detach().clone(), running.clone()))
        running.add_(1.0 if step % 2 == 0 else float("nan"))
        return Ready(lambda counts: {"maps": weight.square().sum() * (1.0 if step % 2 == 0 else float("nan"))})

    loop.run(losses, 1)
    assert loop.skipped == 2 and loop.folder.load_last()["skipped"] == 2
    weights, means = zip(*seen, strict=True)
    assert not torch.equal(weights[0], weights[1]) and torch.equal(weights[1], weights[2])
    assert torch.equal(means[1], means[2]) and bool(running.isfinite().all())

    loop, weight = a_loop(tmp_path / "again", skip=1)
    with pytest.raises(UserError, match="Step 3: maps is not finite"):
        loop.run(losses, 1)


def test_the_batch_is_kept_where_it_is_noticed_late(tmp_path: Path) -> None:
    """As on a GPU; here it is only told apart by a switch."""
    loop, weight = a_loop(tmp_path / "run", skip=0, at_once=False)
    batches = list(rendered_steps(SMOKE, make_rendered(SMOKE), 0, 4, 2))

    def losses(step: int, part: Part) -> Ready:
        factor = float("nan") if step == 0 else 1.0
        return Ready(lambda counts: {"maps": weight.square().sum() * factor}, {"rendered": batches[step]})

    with pytest.raises(UserError, match=r"Step 0: maps is not finite \(its batch is not-finite-0"):
        loop.run(losses, 1)
    kept = read_batch(tmp_path / "run" / "not-finite-0.safetensors")
    assert np.array_equal(kept.samples["rendered"].crop.depth, batches[0].crop.depth)
    assert not np.array_equal(batches[1].crop.depth, batches[0].crop.depth)
