"""The one place where warp is set up and its kernels are launched on torch tensors, on their device and stream."""

from collections.abc import Sequence
from typing import Any

import torch
import warp as wp
from torch import Tensor

# Warp greets on stdout and reports each module it compiles. Its cache of compiled kernels stays where warp puts it:
# in the user's cache folder, or in WARP_CACHE_PATH.
wp.config.log_level = wp.LOG_WARNING


def as_warp(tensor: Tensor, dtype: type) -> wp.array:
    """The tensor's memory as a warp array, without a copy; starts warp at the first use.

    Raises:
        RuntimeError: if the types do not match, or warp cannot work on the tensor's device (it knows CPU and CUDA).
    """
    wp.init()
    return wp.from_torch(tensor.contiguous(), dtype=dtype, requires_grad=False)


def launch(kernel: wp.Kernel, dim: int | tuple[int, ...], inputs: Sequence[Any], like: Tensor) -> None:
    """Run a kernel on the device of `like`, in torch's current stream: it takes its turn among torch's own work."""
    wp.init()
    stream = wp.stream_from_torch(torch.cuda.current_stream(like.device)) if like.is_cuda else None
    wp.launch(kernel, dim=dim, inputs=list(inputs), device=wp.device_from_torch(like.device), stream=stream)
