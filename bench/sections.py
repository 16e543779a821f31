"""Where the time of a training step goes, without a word in the code that is timed.

A `Stopwatch` charges time to the innermost open section. Functions are wrapped from outside; a wrapped function's
backward pass is charged to its section as well: identity nodes in the graph at its inputs and outputs open and close
the section when autograd comes by. That holds because autograd runs nodes in the reverse order of their making, so that
what was made between two gates runs between them. (On a GPU each change of section waits for the device.)
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from bench.timing import finish

FORWARD, BACKWARD = " forward", " backward"


class Stopwatch:
    """Seconds by section; time between sections belongs to the one that is open around them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = time.perf_counter()
        self._closed = 0

    def _charge(self) -> None:
        finish()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def enter(self, name: str) -> None:
        """Open a section inside the current one."""
        self._charge()
        self._open.append(self._open[-1] if self._closed else name)

    def leave(self, depth: int) -> None:
        """Close all sections beyond this many."""
        self._charge()
        del self._open[depth:]

    def leave_named(self, name: str) -> None:
        """Close the innermost section of this name with all in it; nothing where it is not open."""
        if name in self._open:
            self.leave(len(self._open) - 1 - self._open[::-1].index(name))

    @contextmanager
    def section(self, name: str, whole: bool = False) -> Iterator[None]:
        """Charge the block to a section; whole: also what sections inside it would claim."""
        self.enter(name)
        depth = len(self._open) - 1
        self._closed += whole
        try:
            yield
        finally:
            self._closed -= whole
            self.leave(depth)

    def taken(self) -> dict[str, float]:
        """Seconds of each section until now."""
        self._charge()
        return dict(self.seconds)

    def reset(self) -> None:
        """Forget all times; what is open stays open."""
        self._charge()
        self.seconds.clear()

    def wrapped(self, name: str, function: Callable, backward: bool = True, whole: bool = False) -> Callable:
        """The function with its time charged to `name`; with `backward`, as forward and backward of that name."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not backward or not torch.is_grad_enabled():
                with self.section(name + FORWARD if backward else name, whole):
                    return function(*args, **kwargs)
            with self.section(name + FORWARD, whole):
                args, kwargs = self._gated((args, kwargs), lambda: self.leave_named(name + BACKWARD))
                return self._gated(function(*args, **kwargs), lambda: self.enter(name + BACKWARD))

        return call

    @staticmethod
    def _gated(tree: Any, passed: Callable[[], None]) -> Any:
        """The same values, all tensors with a gradient among them behind one gate."""
        leaves, form = tree_flatten(tree)
        places = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not places:
            return tree
        for k, tensor in zip(places, _Gate.apply(passed, *(leaves[k] for k in places)), strict=True):  # type: ignore
            leaves[k] = tensor
        return tree_unflatten(leaves, form)


class _Gate(torch.autograd.Function):
    """Identity that says when its backward pass comes by."""

    @staticmethod
    def forward(ctx: Any, passed: Callable[[], None], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.passed = passed
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.passed()
        return None, *grads


class Replacements:
    """Context in which names of classes and modules mean something else."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def method(self, owner: type, name: str, wrap: Callable[[Callable], Callable]) -> None:
        """Wrap a class's own method."""
        self._set(owner, name, wrap(vars(owner)[name]))

    def function(self, home: ModuleType, name: str, wrap: Callable[[Callable], Callable]) -> None:
        """Wrap a module's function wherever it has been imported."""
        original = getattr(home, name)
        replaced = wrap(original)
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and vars(module).get(name) is original:
                self._set(module, name, replaced)

    def value(self, owner: ModuleType, name: str, value: Any) -> None:
        """Put something else in a module's name."""
        self._set(owner, name, value)

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    def __enter__(self) -> "Replacements":
        return self

    def __exit__(self, *exc: object) -> None:
        for owner, name, value in reversed(self._undo):
            setattr(owner, name, value)
