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

from bench.kill_resume import differences
from config import EXPERIMENTS
from dataloader.packing import STARTING, save_packed
from dataloader.store import FrameStore
from training.batch_file import read_batch
from training.finite import FiniteTerms
from training.loop import Loop
from training.parts import Part, Ready
from training.prefetch import rendered_steps, worker_deaths_told
from training.run import run
from training.setup import make_network, make_rendered
from util.errors import UserError
from util.files import write_whole
from util.run_folder import RunFolder

SMOKE = EXPERIMENTS["smoke"]
TINY = replace(SMOKE.optim, steps=2, batch=2, real_batch=2, check_every=1, log_every=1, check_frames=4, final_frames=4)
PRETRAIN = replace(SMOKE, phase="pretrain", optim=TINY)
LONG = ["smoke", "--phase", "pretrain", "--device", "cpu", "--optim.steps", "100000", "--optim.check-every", "100000"]
NOBODY = 65534


def started(root: Path, *words: str, **how: object) -> subprocess.Popen:
    command = [sys.executable, "train_render.py", *words]
    return subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **how)  # type: ignore[call-overload]


def until(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def sentence(stderr: str) -> str:
    """The one line after progress bars and notices; a traceback is none."""
    assert "Traceback" not in stderr and "Exception" not in stderr, stderr
    return stderr.replace("\r", "\n").strip().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_run_well(number: signal.Signals, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = started(root, *LONG, "--run-dir", str(folder))
    until(lambda: any(folder.glob("tensorboard/*")))  # the loop is there; steps begin
    time.sleep(0.5)
    process.send_signal(number)
    asked = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert time.monotonic() - asked < 20
    told = sentence(stderr)
    assert told.startswith(f"Stopped by {number.name}") and "--resume" in told
    step = RunFolder(folder).load_last()["step"]
    assert f"after step {step};" in told


def test_a_signal_before_the_first_step_ends_a_run_at_once(root: Path, tmp_path: Path) -> None:
    process = started(root, *LONG, "--run-dir", str(tmp_path / "run"))
    until((tmp_path / "run" / "config.json").is_file)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0 and sentence(stderr).startswith("Stopped by SIGTERM")


def limited() -> None:
    """No file of this process may grow beyond 600 kB: weights of this network fit, its training state does not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))


def test_a_file_that_may_not_grow_is_one_sentence(root: Path, tmp_path: Path) -> None:
    words = ["smoke", "--phase", "pretrain", "--optim.steps", "2", "--run-dir", str(tmp_path / "run")]
    process = started(root, *words, preexec_fn=limited)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "File too large" in sentence(stderr) and "last" not in {file.stem for file in tmp_path.rglob("*.pt")}


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


def test_a_disk_that_is_full_from_the_start_is_one_sentence(small_disk: Path, root: Path) -> None:
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    process = started(root, "smoke", "--phase", "pretrain", "--run-dir", str(small_disk / "run"))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2 and "No space left on device" in sentence(stderr)


def unprivileged() -> None:
    """Root may write everywhere; nobody may not."""
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_run_folder_is_one_sentence(begun: bool, root: Path, tmp_path: Path) -> None:
    """Written by somebody else, or by nobody at all."""
    from util.cli import run_entry  # noqa: F401  (in this interpreter: who may not read the project cannot start one)

    folder = tmp_path / "run"
    if begun:
        RunFolder.open(folder, PRETRAIN)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            unprivileged()
            with pytest.raises(UserError, match=r"cannot be (written|read).*Permission denied|not empty"):
                RunFolder.open(folder, PRETRAIN, resume=begun)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    tmp_path.chmod(0o755)


def test_a_worker_that_dies_is_one_sentence(tmp_path: Path) -> None:
    experiment = replace(SMOKE, optim=replace(SMOKE.optim, workers=1))
    batches = rendered_steps(experiment, make_rendered(SMOKE), 0, 10_000, 128)
    before = {int(child) for child in _children()}
    next(batches)
    (worker,) = [int(child) for child in _children() if int(child) not in before and _is_worker(int(child))]
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(UserError, match=r"process that draws rendered hands died.*--resume"):  # noqa: SIM117
        with worker_deaths_told(tmp_path):
            for _ in batches:
                time.sleep(0.01)


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _is_worker(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_data_set_that_shrinks_is_one_sentence_and_one_that_is_removed_is_still_there(tmp_path: Path) -> None:
    from tests.test_store import _stored

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
    from tests.test_store import _stored

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
