"""Things that are made when they are asked for, of which the newest stay: frames from files, pictures of them."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar, overload

T = TypeVar("T")

KEPT = 64
"""How many stay: 40 MB of frames of 640 x 480."""


class Remembered(Sequence[T]):
    """make(0), make(1), ... make(n - 1)."""

    def __init__(self, n: int, make: Callable[[int], T], kept: int = KEPT) -> None:
        """Args: n: how many; make: one of them, by its number; kept: how many of the newest are not made again."""
        self._n, self._make, self._kept = n, make, kept
        self._newest: OrderedDict[int, T] = OrderedDict()

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        """One of them, or those of a slice, which are made as they are asked for too."""
        if isinstance(index, slice):
            places = range(self._n)[index]
            return Remembered(len(places), lambda i: self[places[i]], 0)
        place = range(self._n)[index]
        if place in self._newest:
            self._newest.move_to_end(place)
            return self._newest[place]
        made = self._make(place)
        self._newest[place] = made
        while len(self._newest) > self._kept:
            self._newest.popitem(last=False)
        return made
