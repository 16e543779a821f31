"""One case of fuzzing after another: a reader, a damaged file, and what may come of it."""

import contextlib
import gc
import json
import os
import resource
import shutil
import signal
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.fuzz_mutations import mutated
from bench.fuzz_readers import Reader, Wrong
from util.errors import UserError

SECONDS, WAITED = 10, 60
"""A case that computes longer, or waits longer, hangs. Other work on the machine only makes it wait."""
MEMORY = 1 << 30
"""Bytes that a case may take beyond what a process has that read every good file."""
WARNINGS = 10
"""More warnings, or lines of complaint, than this in one case are a storm."""
HANDLES = 8
"""Files that may stay open until garbage is collected."""
LONGEST = 2000
"""Of a sentence."""


@dataclass(frozen=True)
class Case:
    """Which damage to which file."""

    reader: str
    seed: int
    number: int
    """Counted for each reader from 0."""

    def damage(self, readers: Mapping[str, Reader]) -> tuple[str, bytes]:
        """(name of the damage, damaged bytes): the same in every process."""
        draw = np.random.default_rng([self.seed, zlib.crc32(self.reader.encode()), self.number])
        reader = readers[self.reader]
        names = sorted(readers)
        others = [readers[names[int(k)]].good for k in draw.integers(0, len(names), 2)]
        return mutated(reader.good, others, reader.damage, draw)


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    accepted: bool
    fault: str = ""
    """Why it is a failure; empty where it is none."""


class _TooLongError(BaseException):
    """Raised by the watchdog; no reader catches it."""


class Bench:
    """Reads damaged files one after another, in a folder of each reader's own."""

    def __init__(self, readers: Mapping[str, Reader], folder: Path) -> None:
        """Writes the good files and reads each once: a good file that is refused is no start."""
        self.readers, self.folder = readers, folder
        for name, reader in readers.items():
            reader.write(folder / name)
            reader.read(folder / name)
        self._handles = _handles()

    def run(self, reader: str, content: bytes) -> Outcome:
        """Read a damaged file in the place of a reader's good one."""
        chosen, folder = self.readers[reader], self.folder / reader
        target = folder / chosen.file
        target.write_bytes(content)
        try:
            with _watched() as complaints:
                outcome = _read(chosen, folder)
            if len(complaints) > WARNINGS and not outcome.fault:
                outcome = Outcome(outcome.accepted, f"{len(complaints)} warnings, such as {complaints[0]}")
        except _TooLongError:
            outcome = Outcome(False, f"takes more than {SECONDS} s, or waits more than {WAITED} s")
        finally:
            target.write_bytes(chosen.good)
        if not outcome.fault and _handles() > self._handles + HANDLES:
            gc.collect()
            if (open_now := _handles()) > self._handles + HANDLES:
                self._handles = open_now
                return Outcome(outcome.accepted, "leaves files open")
        return outcome


def limit_memory() -> None:
    """From now on this process gets `MEMORY` more and no further."""
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def keep_case(folder: Path, case: Case, damage: str, fault: str, reader: Reader, content: bytes) -> None:
    """Write a failing file and what is known about it, for `replay`."""
    place = folder / f"{case.reader}-{case.seed}-{case.number}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / Path(reader.file).name).write_bytes(content)
    about = {"reader": case.reader, "seed": case.seed, "number": case.number, "damage": damage, "fault": fault}
    (place / "case.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def replay(place: Path, readers: Mapping[str, Reader]) -> Outcome:
    """Read a kept file again."""
    about: dict[str, Any] = json.loads((place / "case.json").read_text(encoding="utf-8"))
    reader = readers[about["reader"]]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench({about["reader"]: reader}, Path(folder))
        return bench.run(about["reader"], (place / Path(reader.file).name).read_bytes())


def _read(reader: Reader, folder: Path) -> Outcome:
    try:
        reader.read(folder)
        return Outcome(True)
    except UserError as error:
        return Outcome(False, _fault(error, reader, folder))
    except Wrong as wrong:
        return Outcome(True, f"wrong meaning: {wrong}")
    except SystemExit as stop:  # --help among damaged words
        return Outcome(False, "" if stop.code in (0, None) else "ends the process")
    except Exception as error:
        return Outcome(False, f"{type(error).__name__}: {str(error)[:300]}")


def _fault(error: UserError, reader: Reader, folder: Path) -> str:
    """What is wrong with a refusal; empty where nothing is."""
    told, cause = str(error), error
    while cause is not None:
        if isinstance(cause, MemoryError):  # torch's allocator says RuntimeError, and has touched nothing yet
            return f"takes more than {MEMORY >> 20} MB before it is refused"
        cause = cause.__cause__ or cause.__context__
    if reader.names_file and not (Path(reader.file).name in told or str(folder) in told):
        return f"does not name the file: {told[:300]}"
    if len(told) > LONGEST + 4 * len(str(folder)) or "\n" in told or not told.endswith((".", "?")):
        return f"is told in no plain sentence: {told[:300]}"
    return ""


@contextlib.contextmanager
def _watched() -> Iterator[list[str]]:
    """Warnings, and lines that libraries write to stderr, within a time limit."""
    complaints: list[str] = []

    def stop(signum: int, frame: Any) -> None:
        raise _TooLongError

    before, stderr = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}, os.dup(2)
    with tempfile.TemporaryFile() as written, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        os.dup2(written.fileno(), 2)
        signal.setitimer(signal.ITIMER_REAL, WAITED)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            yield complaints
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            complaints += [str(warning.message)[:200] for warning in told]
            complaints += [text.decode("utf-8", "replace")[:200] for text in written.read(100_000).splitlines()]


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (nothing but the number)
