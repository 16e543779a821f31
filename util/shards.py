"""Work on many frames, cut into shards: each is done by one process, written whole, and kept when the work goes on.

    shards = Shards(folder, names, about={"weights": checksum})
    shards.run(work)            # in every process; work(rows) -> {column: array with a row for each of `rows`}
    columns = shards.merged()   # in any process: every frame once, in the order of their names

Which frames a shard holds depends on the names and the size of a shard alone, so the number of processes may change
from one session to the next. Only shards that are missing, damaged or about something else are done (again). What a
frame's result depends on may be part of its name: a file's size and time, say.
"""

import hashlib
import io
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from util.arrays import read_npz
from util.errors import UserError
from util.files import write_whole
from util.processes import all_or_none, from_first, left_alone, rank, world

LOG = logging.getLogger(__name__)

SIZE = 512
"""Frames of a shard: what is lost at most when a process is killed."""
NAMES, ABOUT = "frame names", "about"
"""What a shard holds beside its columns."""
AGAIN = "run the same command again"

Columns = dict[str, np.ndarray]


def checksums(files: Mapping[str, Path | None]) -> dict[str, str]:
    """SHA-256 of files by what they are, empty where there is none: a part of what shards are about."""
    return {what: "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest() for what, file in files.items()}


def kinds(columns: Columns) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind of type (numpy's letter) and shape of a row, by column."""
    return {name: (column.dtype.kind, column.shape[1:]) for name, column in columns.items()}


class Shards:
    """The shards of one piece of work in a folder of their own, which all processes see.

    Attributes:
        names: the frames, in the order of their names.
        rows: where each of them stood in what was given.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        size: int = SIZE,
        about: Mapping[str, str] | None = None,
        *,
        again: str = AGAIN,
        sound: Callable[[Columns], bool] | None = None,
    ) -> None:
        """Args:
            folder: of these shards alone.
            names: of the frames, no two the same.
            size: frames of a shard.
            about: all that results depend on besides the frames; shards about something else are not used.
            again: what goes on with the work, as the end of an error's sentence.
            sound: whether columns may be what the work gave; None = any are.

        Raises:
            UserError: two frames have the same name.
        """
        if twice := [name for name, many in Counter(names).items() if many > 1]:
            raise UserError(f"{len(twice)} names stand for two frames, {twice[0]} for one: rename the files.")
        self.folder, self.size = folder, size
        self.rows = sorted(range(len(names)), key=names.__getitem__)
        self.names = [names[row] for row in self.rows]
        self._about = json.dumps(dict(about or {}), sort_keys=True)
        self._again, self._sound = again, sound

    def __len__(self) -> int:
        return (len(self.names) + self.size - 1) // self.size

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{shard:05d}-of-{len(self):05d}.npz"

    def missing(self) -> list[int]:
        """Shards that are still to be done."""
        return [shard for shard in range(len(self)) if self._read(shard) is None]

    def run(self, work: Callable[[list[int]], Columns]) -> None:
        """Do what is missing, shared out among the processes; all come back once every shard is there.

        work: rows of what was given -> columns, a row for each.

        Raises:
            UserError: the work's, in all processes, once the others have done their parts; the folder cannot be
                written to; another process is gone.
            ValueError: a column has not as many rows.
        """
        missing = from_first(self.missing() if rank() == 0 else [])
        if rank() == 0:
            self._tell(missing)
        with all_or_none(self._again):
            for shard in missing[rank() :: world()]:
                if left_alone():
                    raise UserError(f"The process that started this one is gone: {self._again}.")
                self._do(shard, work)

    def merged(self) -> Columns:
        """The columns of all frames, in the order of their names.

        Raises UserError when a shard is missing, is damaged or holds other frames or columns.
        """
        found: list[Columns] = []
        for shard in range(len(self)):
            columns = self._read(shard)
            if columns is None or (found and kinds(columns) != kinds(found[0])):
                what = "is missing or damaged" if columns is None else "holds other columns than those before it"
                raise UserError(f"{self.path(shard)} {what}: {self._again}.")
            found.append(columns)
        if not found:
            return {}
        return {name: np.concatenate([columns[name] for columns in found]) for name in found[0]}

    def in_given_order(self, column: np.ndarray) -> np.ndarray:
        """A merged column in the order in which the names were given."""
        placed = np.empty_like(column)
        placed[self.rows] = column
        return placed

    def remove(self) -> None:
        """Throw the folder away, once its content is kept elsewhere. For one process, which waits for no other."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self, missing: list[int]) -> None:
        """What is there already, and what of it is no use."""
        if kept := len(self) - len(missing):
            LOG.info("%d of %d shards in %s are done already.", kept, len(self), self.folder)
        if useless := sum(1 for file in self.folder.glob("shard-*.npz")) - kept:
            what = "damaged, or of other frames, settings or weights, and not used"
            LOG.info("%d %s in %s: %s.", useless, "shard" if useless == 1 else "shards", self.folder, what)

    def _do(self, shard: int, work: Callable[[list[int]], Columns]) -> None:
        rows = self.rows[self._span(shard)]
        columns = work(rows)
        if wrong := [name for name, column in columns.items() if len(column) != len(rows)]:
            raise ValueError(f"{wrong[0]} has {len(columns[wrong[0]])} rows for {len(rows)} frames")
        if reserved := {NAMES, ABOUT} & set(columns):
            raise ValueError(f"no column may be called {reserved.pop()}")
        content = io.BytesIO()
        own = {NAMES: np.array(self.names[self._span(shard)]), ABOUT: np.array(self._about)}
        np.savez(content, **own, **columns)  # type: ignore[arg-type]
        write_whole(self.path(shard), content.getvalue())

    def _span(self, shard: int) -> slice:
        return slice(shard * self.size, (shard + 1) * self.size)

    def _read(self, shard: int) -> Columns | None:
        """The columns of a shard; None unless it is whole, about the same, and holds the frames that it should."""
        try:
            columns = read_npz(self.path(shard), self._again)
        except UserError:
            return None
        names, about = columns.pop(NAMES, np.array([])), columns.pop(ABOUT, np.array(""))
        if str(about) != self._about or names.tolist() != self.names[self._span(shard)]:
            return None
        if any(column.ndim == 0 or len(column) != len(names) for column in columns.values()):
            return None
        return columns if self._sound is None or self._sound(columns) else None
