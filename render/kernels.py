"""The one place where warp is set up; its kernels run on torch tensors, on their device and in torch's stream."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

import torch
import warp as wp
from torch import Tensor

# Warp greets on stdout and reports each module it compiles. Its cache of compiled kernels stays where warp puts it:
# in the user's cache folder, or in WARP_CACHE_PATH.
wp.config.log_level = wp.LOG_WARNING


def as_warp(tensor: Tensor, dtype: type) -> wp.array:
    """The memory of a contiguous tensor as a warp array.

    Raises:
        ValueError: if the tensor is not contiguous.
        RuntimeError: if the types do not match, or warp cannot work on the tensor's device (it knows CPU and CUDA).
    """
    if not tensor.is_contiguous():
        raise ValueError("A kernel works on the tensor's own memory, which has to be contiguous.")
    return wp.from_torch(tensor, dtype=dtype, requires_grad=False)


def run(work: Callable[[slice], None], batch: int, like: Tensor) -> None:
    """Let `work` launch kernels on slices of the batch, on the device of `like`; starts warp at the first use.

    On a CPU a kernel runs in the thread that launches it, so the batch is dealt out to as many threads as torch has,
    this one among them.
    On CUDA there is one slice, and the kernels take their turn among torch's own work in its current stream.
    """
    wp.init()
    if like.is_cuda:
        stream = wp.stream_from_torch(torch.cuda.current_stream(like.device))
        with wp.ScopedDevice(wp.device_from_torch(like.device)), wp.ScopedStream(stream, sync_enter=False):
            work(slice(0, batch))
        return
    count = min(torch.get_num_threads(), batch)
    if count <= 1:
        work(slice(0, batch))
        return
    bounds = [batch * number // count for number in range(count + 1)]
    own, *others = (slice(*pair) for pair in pairwise(bounds))
    handed_out = [_pool().submit(work, items) for items in others]
    try:
        work(own)
    finally:
        wait(handed_out)  # they work in memory that the caller may give back
    for done in handed_out:
        done.result()


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that launch kernels on a CPU, started as they are needed and kept."""
    return ThreadPoolExecutor(os.cpu_count(), "kernels")


if hasattr(os, "register_at_fork"):
    # Threads stay behind when a process forks: the child starts its own.
    os.register_at_fork(after_in_child=_pool.cache_clear)
