"""Two processes with half a batch each learn what one process learns that takes the halves one after another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from config import OptimConfig
from tests.spread_runs import FEW, STEPS, experiments
from training.labelled import known_mean
from training.parts import Part, Ready, own_parts
from training.replicas import Learning
from util.errors import UserError
from util.processes import first_known, first_only, first_then_others, from_first, is_first, joined, shared, world

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch is without gloo"
)
RUNS = Path(__file__).with_name("spread_runs.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")


def started(root: Path, *words: str) -> subprocess.Popen:
    """A command in an environment of its own: one thread, no other launcher's variables."""
    of_launchers = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    environment = {name: value for name, value in os.environ.items() if name not in of_launchers}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=root, env={**environment, "OMP_NUM_THREADS": "1"}, **streams)


@pytest.fixture(scope="module")
def both(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of one process's runs, and of two processes'."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    alone = started(root, sys.executable, str(RUNS), str(one), "2")
    beside = started(root, *TORCHRUN, "--nproc-per-node", "2", str(RUNS), str(two), "1")
    for process in (alone, beside):
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint[-3000:]
    return one, two


def losses(run: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"] if "loss/" in tag}


@pytest.mark.parametrize("name", [name for name, each in experiments(1).items() if each.phase != "test"])
def test_losses_of_two_processes_are_those_of_one(name: str, both: tuple[Path, Path]) -> None:
    alone, beside = (losses(folder / name) for folder in both)
    assert set(alone) == set(beside) and "loss/total" in alone
    assert len(alone["loss/total"]) == (STEPS if name == "self" else FEW)
    for term, values in alone.items():
        np.testing.assert_allclose(beside[term], values, rtol=0, atol=1e-4, err_msg=term)
    total = alone["loss/total"]
    assert max(total) - min(total) > 0.01, "something is learned"


@pytest.mark.parametrize("name", experiments(1))
def test_two_processes_leave_what_one_leaves(name: str, both: tuple[Path, Path]) -> None:
    alone, beside = ({str(file.relative_to(f / name)) for file in (f / name).rglob("*")} for f in both)
    assert {file for file in alone if "tfevents" not in file} == {file for file in beside if "tfevents" not in file}
    assert sum("tfevents" in file for file in beside) == sum("tfevents" in file for file in alone), "one process writes"
    alone, beside = (json.loads((folder / name / "results.json").read_text()) for folder in both)
    for results in (alone, beside):
        results.pop("seconds", None)
    if name == "test":
        assert beside == alone
        assert alone["after"]["stage2_model"]["n_frames"] == 70
        for file in (both[0] / name / "predictions").iterdir():
            assert file.read_bytes() == (both[1] / name / "predictions" / file.name).read_bytes()
    else:
        assert beside.keys() == alone.keys()


def test_synchronised_normalisation_is_that_of_the_whole_batch(both: tuple[Path, Path]) -> None:
    alone, beside = (np.load(folder / "norms.npz") for folder in both)
    assert {"answer", "gradient 0.weight", "1.running_mean", "1.running_var"} <= set(alone.files)
    for name in alone.files:
        np.testing.assert_allclose(beside[name], alone[name], rtol=1e-5, atol=1e-4, err_msg=name)


def test_the_processes_that_the_setting_starts_end_with_one_sentence(root: Path, tmp_path: Path) -> None:
    words = ("pretrain-compact", "--processes", "2", "--device", "cpu", "--optim.batch", "9")
    process = started(root, sys.executable, "train_render.py", *words, "--run-dir", str(tmp_path / "run"))
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 2 and "A batch of 9 cannot be cut into 2 equal parts" in complaint
    assert "Traceback" not in complaint


def test_parts_are_those_of_the_batch() -> None:
    parts = own_parts(OptimConfig(accumulate=4))
    assert [list(part.places(8)) for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    with pytest.raises(UserError, match="accumulate 0"):
        own_parts(OptimConfig(accumulate=0))
    with pytest.raises(UserError, match=r"batch of 6.*multiples of 4"):
        parts[0].size(6)


def test_terms_divide_by_what_is_known_in_the_whole_batch() -> None:
    """Unlike means of means, where a part with few labels would count as much as one with many."""
    wanted = torch.tensor([[0.3, 0.1, -0.5], [float("nan"), float("nan"), 0.2], [float("nan")] * 3, [0.0, -0.1, 0.4]])
    network = torch.nn.Linear(1, 3)

    def step(index: int, part: Part) -> Ready:
        own = wanted[part.places(4)]
        known = {"known": own.isfinite().sum()}
        rows = torch.arange(4.0)[part.places(4)].unsqueeze(1)
        return Ready(
            lambda counts: {"joints": known_mean(network(rows), own, counts.get("known"))}, counts=lambda: known
        )

    found = []
    for parts in (1, 2, 4):
        network.zero_grad()
        terms, _ = Learning(OptimConfig(accumulate=parts), [network]).gradient(0, step, torch.Tensor.backward)
        assert network.weight.grad is not None
        found.append((terms["joints"].item(), network.weight.grad.clone()))
    for value, gradient in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-6)
        torch.testing.assert_close(gradient, found[0][1])


def test_running_means_do_not_depend_on_the_order_of_parts() -> None:
    torch.manual_seed(0)
    batch = torch.randn(6, 2, 4, 4) + torch.arange(6.0).view(6, 1, 1, 1)

    def means(order: list[int]) -> torch.Tensor:
        network = torch.nn.BatchNorm2d(2)
        learning = Learning(OptimConfig(accumulate=3), [network])
        learning.parts = tuple(Part(index, 3) for index in order)
        square = lambda part: {"square": network(batch[part.places(6)]).square().mean()}  # noqa: E731
        learning.gradient(0, lambda step, part: Ready(lambda counts: square(part)), torch.Tensor.backward)
        assert network.running_mean is not None and int(network.num_batches_tracked or 0) == 1
        return network.running_mean

    torch.testing.assert_close(means([0, 1, 2]), means([2, 0, 1]))
    torch.testing.assert_close(means([0, 1, 2]), 0.1 * batch.mean((0, 2, 3)))


def test_a_process_alone_is_the_first_and_waits_for_nobody() -> None:
    assert world() == 1 and is_first() and from_first("a") == "a" and first_known(None) is None
    assert shared(3, lambda i: i * i) == [0, 1, 4] and len(joined(torch.zeros(2))) == 1
    assert first_then_others(lambda: 5) == 5

    def refuse() -> None:
        raise UserError("no.")

    with pytest.raises(UserError, match=r"no\."):
        first_only(refuse)
