"""Shards: every frame once and in order, whoever does them and however often they are begun."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from util.errors import UserError
from util.shards import Shards

WORKER = """
import sys, time
import numpy as np
from pathlib import Path
from util.shards import Shards
names = [f"{k:03d}.png" for k in range(40)]
def work(rows):
    time.sleep(0.05)
    return {"square": np.array([row**2 for row in rows])}
print("begun", flush=True)
Shards(Path(sys.argv[1]), names, size=2).run(work)
"""


def numbered(rows: list[int]) -> dict[str, np.ndarray]:
    return {"row": np.array(rows), "pair": np.stack([np.array(rows), -np.array(rows)], 1).astype(np.float32)}


@settings(max_examples=40, deadline=None)
@given(names=st.lists(st.text("ab/0é", min_size=1, max_size=6), unique=True, max_size=30), size=st.integers(1, 9))
def test_every_frame_is_there_once_and_in_order(names: list[str], size: int, tmp_path_factory) -> None:
    shards = Shards(tmp_path_factory.mktemp("s"), names, size)
    shards.run(numbered)
    columns = shards.merged()
    assert sorted(names) == [names[row] for row in columns.get("row", [])]
    if names:
        assert shards.in_given_order(columns["row"]).tolist() == list(range(len(names)))
        assert columns["pair"].shape == (len(names), 2) and columns["pair"].dtype == np.float32


def test_only_what_is_missing_or_wrong_is_done_again(tmp_path: Path) -> None:
    names = [f"{9 - k}.png" for k in range(10)]
    done: list[list[int]] = []

    def work(rows: list[int]) -> dict[str, np.ndarray]:
        done.append(rows)
        return numbered(rows)

    shards = Shards(tmp_path, names, 3, {"weights": "a"})
    shards.run(work)
    assert done == [[9, 8, 7], [6, 5, 4], [3, 2, 1], [0]]
    done.clear()
    shards.run(work)
    assert done == []
    whole = shards.merged()
    content = shards.path(1).read_bytes()
    for damage in (content[: len(content) // 2], b"", content[:-400] + b"x" * 400, Path(__file__).read_bytes()):
        shards.path(1).write_bytes(damage)
        with pytest.raises(UserError, match=r"shard-00001.*: run the same command again\.$"):
            shards.merged()
        shards.run(work)
        assert done == [[6, 5, 4]]
        done.clear()
        assert all(np.array_equal(column, whole[name]) for name, column in shards.merged().items())
    shards.path(2).replace(shards.path(0))  # another shard's frames: one twice, one missing
    with pytest.raises(UserError, match="shard-00000"):
        shards.merged()
    assert shards.missing() == [0, 2]
    assert Shards(tmp_path, names, 3, {"weights": "b"}).missing() == [0, 1, 2, 3], "what others left is not used"
    assert Shards(tmp_path, [*names, "new.png"], 3, {"weights": "a"}).missing() == [0, 2, 3]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.png"):
        Shards(tmp_path, ["a.png", "b.png", "a.png"])
    with pytest.raises(ValueError, match="1 rows for 2 frames"):
        Shards(tmp_path, ["a", "b"]).run(lambda rows: {"x": np.zeros(1)})
    shards = Shards(tmp_path / "more", ["a", "b"], 1)
    shards.run(lambda rows: {"x" if rows == [0] else "y": np.zeros(1)})
    with pytest.raises(UserError, match="other columns"):
        shards.merged()


def test_a_process_that_is_killed_loses_its_last_shard_at_most(tmp_path: Path, root: Path) -> None:
    names = [f"{k:03d}.png" for k in range(40)]
    shards = Shards(tmp_path / "s", names, 2)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "s")], cwd=root, stdout=subprocess.PIPE)
    while len(list((tmp_path / "s").glob("shard-*"))) < 3:
        assert worker.poll() is None, "it ended before it was killed"
        time.sleep(0.005)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    left = shards.missing()
    assert 0 < len(left) <= 17
    done: list[int] = []

    def work(rows: list[int]) -> dict[str, np.ndarray]:
        done.extend(rows)
        return {"square": np.array(rows) ** 2}

    shards.run(work)
    assert sorted(done) == [row for shard in left for row in (2 * shard, 2 * shard + 1)]
    assert np.array_equal(shards.merged()["square"], np.arange(40) ** 2)
