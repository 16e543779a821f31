"""The one place where warp is set up; its kernels run on torch tensors, on their device and in torch's stream."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import warp as wp
from torch import Tensor

# Warp greets on stdout and reports each module it compiles. Its cache of compiled kernels stays where warp puts it:
# in the user's cache folder, or in WARP_CACHE_PATH.
wp.config.log_level = wp.LOG_WARNING


def as_warp(tensor: Tensor, dtype: type) -> wp.array:
    """The tensor's memory as a warp array, without a copy if it is contiguous; starts warp at the first use.

    Raises:
        RuntimeError: if the types do not match, or warp cannot work on the tensor's device (it knows CPU and CUDA).
    """
    wp.init()
    return wp.from_torch(tensor.contiguous(), dtype=dtype, requires_grad=False)


@contextmanager
def stream_of(tensor: Tensor) -> Iterator[None]:
    """Within it, warp's work on the tensor's device takes its turn among torch's (a CPU has no streams to mind)."""
    if tensor.is_cuda:
        wp.init()
        with wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(tensor.device)), sync_enter=False):
            yield
    else:
        yield


def launch(kernel: wp.Kernel, dim: int | tuple[int, ...], inputs: Sequence[Any], like: Tensor) -> None:
    """Run a kernel on the device of `like`, in torch's current stream."""
    wp.init()
    with stream_of(like):
        wp.launch(kernel, dim=dim, inputs=list(inputs), device=wp.device_from_torch(like.device))
