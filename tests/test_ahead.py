"""Items made one ahead."""

import threading
from collections.abc import Iterator

import pytest

from util.ahead import one_ahead


def test_the_next_item_is_made_while_the_last_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int | None]:
        for number, event in enumerate(made):
            event.set()
            yield number or None  # what is None or 0 is an item like any other

    for position, item in enumerate(one_ahead(items())):
        assert item == (position or None)
        assert position == 2 or made[position + 1].wait(10)


def test_a_failure_is_raised_where_items_are_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("torn")

    used = one_ahead(items())
    assert next(used) == 1
    with pytest.raises(ValueError, match="torn"):
        next(used)


def test_no_thread_is_left_where_use_ends_early() -> None:
    used = one_ahead(iter(range(10)))
    assert next(used) == 0
    used.close()  # type: ignore[attr-defined]  # a generator
    assert not any(thread.name.startswith("one-ahead") for thread in threading.enumerate())
