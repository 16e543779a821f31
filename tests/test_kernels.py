"""Kernels on several threads of a CPU: the threads are kept, errors arrive, and a forked process finds its own."""

import multiprocessing
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from render.kernels import run


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads_of(batch: int) -> tuple[list[slice], set[int]]:
    """Slices that the work was called with, and the threads it was called in."""
    slices, threads = [], set()

    def work(items: slice) -> None:
        slices.append(items)
        threads.add(threading.get_ident())
        time.sleep(0.02)

    run(work, batch, like=torch.zeros(1))
    return sorted(slices, key=lambda items: items.start), threads


def work_as_a_child() -> None:
    slices, threads = threads_of(7)
    assert len(slices) == 3 and len(threads) == 3


def test_slices_cover_the_batch_and_threads_are_kept() -> None:
    slices, threads = threads_of(7)
    assert [(items.start, items.stop) for items in slices] == [(0, 2), (2, 4), (4, 7)]
    assert threading.get_ident() in threads and len(threads) == 3
    for _ in range(5):
        assert threads_of(7)[1] <= {thread.ident for thread in threading.enumerate()}
    assert sum(thread.name.startswith("kernels") for thread in threading.enumerate()) <= 3
    assert [(items.start, items.stop) for items in threads_of(2)[0]] == [(0, 1), (1, 2)]
    assert threads_of(0)[0] == [slice(0, 0)]


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_arrives_after_the_others_are_done(failing: int) -> None:
    done = []

    def work(items: slice) -> None:
        if items.start == failing:
            raise ValueError("no memory")
        time.sleep(0.05)
        done.append(items)

    with pytest.raises(ValueError, match="no memory"):
        run(work, 6, like=torch.zeros(1))
    assert len(done) == 2


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    threads_of(7)
    child = multiprocessing.get_context("fork").Process(target=work_as_a_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
