"""The processes that a run is spread over, as torch.distributed knows them; without it there is one, the first.

All of them call these functions in the same order. One writes: `first_only` is for what leaves something behind.
"""

import atexit
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from util.errors import UserError

LOG = logging.getLogger(__name__)

T = TypeVar("T")

_STARTED_BY = os.getppid()


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


def part_at_exit() -> None:
    """Let the processes part in order when this one ends: gloo's threads do not outlive the interpreter unharmed."""
    atexit.unregister(_part)
    atexit.register(_part)


def _part() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def from_first(value: T) -> T:
    """The first process's value, in all of them."""
    if world() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def first_only(action: Callable[[], object]) -> None:
    """Do something in the first process; the others wait until it is done.

    Raises:
        UserError: the action's, in every process.
    """
    refused: UserError | None = None
    if is_first():
        try:
            action()
        except UserError as error:
            refused = error
    if world() == 1:
        sentence = None
    else:
        sentence = from_first(None if refused is None else str(refused))
    if refused is not None:
        raise refused
    if sentence is not None:
        raise UserError(sentence)


def first_then_others(action: Callable[[], T]) -> T:
    """Do something in the first process and then in the others, which find what the first one kept in a file.

    Raises:
        UserError: the action's, in every process.
    """
    found: list[T] = []
    first_only(lambda: found.append(action()))
    return found[0] if found else action()


def shared(n: int, work: Callable[[int], T]) -> list[T]:
    """work(0) ... work(n - 1), each done by one of the processes, in order and in all of them.

    What comes back is pickled on its way between the processes, so tensors have to be on the CPU.
    """
    own = [work(i) for i in range(rank(), n, world())]
    if world() == 1:
        return own
    parts: list[list[T]] = [[] for _ in range(world())]
    dist.all_gather_object(parts, own)
    return [parts[i % world()][i // world()] for i in range(n)]


def summed(tensor: Tensor) -> Tensor:
    """The sum of a tensor over the processes, in place."""
    if world() > 1:
        dist.all_reduce(tensor)
    return tensor


def joined(rows: Tensor) -> list[Tensor]:
    """A tensor of each process, in the order of the processes; all have the same shape."""
    if world() == 1:
        return [rows]
    parts = [rows.new_empty(rows.shape) for _ in range(world())]
    dist.all_gather(parts, rows.contiguous())
    return parts


def first_known(value: T | None) -> T | None:
    """The value of the first process that has one."""
    values: list[T | None] = [value] * world()
    if world() > 1:
        dist.all_gather_object(values, value)
    return next((known for known in values if known is not None), None)


def wait() -> None:
    """Until all processes are here."""
    first_known(None)


def left_alone() -> bool:
    """Whether whoever started this one, which is not the first, is gone, so that nobody waits for it.

    The first may outlive the shell that it was started from.
    """
    return rank() > 0 and os.getppid() != _STARTED_BY


@contextmanager
def all_or_none(again: str) -> Iterator[None]:
    """Context that all processes leave together, each with its part of some work done.

    again: what goes on with the work, as the end of a sentence.

    Raises:
        UserError: that of any process, in all of them; or another process is gone.
    """
    refused: UserError | None = None
    try:
        yield
    except UserError as error:
        refused = error
        if world() > 1:
            LOG.warning("%s The other processes do their parts first.", error)
    try:
        sentence = first_known(None if refused is None else str(refused))
    except RuntimeError as error:  # gloo's and NCCL's word for a connection that is closed
        raise refused or UserError(f"Another process ended before its part was done: {again}.") from error
    if refused is not None:
        raise refused
    if sentence is not None:
        raise UserError(sentence)
