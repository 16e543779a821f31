"""Work on the next item while the last one is used."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Items in their order, each made in a thread while the last is used; what goes wrong there is raised here."""
    source = ([item] for item in items)
    with ThreadPoolExecutor(1, "one-ahead") as thread:
        coming = thread.submit(next, source, None)
        while (found := coming.result()) is not None:
            coming = thread.submit(next, source, None)
            yield from found
