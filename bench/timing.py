"""What the benches share: times of works in turn, a watch for other processes, the machine in a line, tables."""

import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

STAT = Path("/proc/stat")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CPU_INFO = Path("/proc/cpuinfo")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
BUSY_ELSEWHERE = 0.1
"""Cores that other processes may take before a notice is due."""


def medians_ms(works: Mapping[str, Callable[[], object]], repeats: int = 7, warm_up: int = 1) -> dict[str, float]:
    """Median milliseconds of each work; they run in turn, so that what disturbs one disturbs all."""
    return {name: statistics.median(times) for name, times in times_ms(works, repeats, warm_up).items()}


def times_ms(works: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Milliseconds of each run of each work, taken in turn after `warm_up` rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(warm_up + repeats):
        for name, work in works.items():
            finish()
            start = time.perf_counter()
            work()
            finish()
            if number >= warm_up:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def finish() -> None:
    """Wait until a GPU has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies, nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Watch:
    """Context that notices how many cores other processes took meanwhile; `notice` is empty where none did."""

    notice = ""

    def __enter__(self) -> "Watch":
        self._start = _clocks()
        return self

    def __exit__(self, *exc: object) -> None:
        wall, own, busy = (now - then for now, then in zip(_clocks(), self._start, strict=True))
        if not STAT.is_file():
            self.notice = "NOTICE: other processes cannot be watched on this system."
        elif (others := (busy - own) / max(wall, 1e-9)) > BUSY_ELSEWHERE:
            self.notice = f"NOTICE: other processes took {others:.1f} of {os.cpu_count()} cores; times are no record."


def _clocks() -> tuple[float, float, float]:
    """Seconds on the wall, of this process and its children on all cores, and of everything on all cores."""
    own = sum(os.times()[:4])
    if not STAT.is_file():
        return time.perf_counter(), own, own
    ticks = [int(number) for number in STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # the eighth, stolen by a host, is no more ours than other processes' time
    return time.perf_counter(), own, (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Processor, cores, threads, what it can multiply with, and versions."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in FLAGS if flag in about.get("flags", "").split()]
    parts = [
        about.get("model name", platform.machine()),
        f"{os.cpu_count()} cores",
        f"{torch.get_num_threads()} threads",
    ]
    parts += [" ".join(flags) or "no vector flags known", f"torch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def forget_peak() -> None:
    """Let `peak_mib` count from here, where the system can."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return


def peak_mib() -> float:
    """Largest memory of this process (or on the GPU, where there is one) since `forget_peak`, MiB."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    ours_ms: float
    twin_ms: float
    about: str = ""
    """How far the two agree."""

    def plain(self) -> dict[str, str | float]:
        """For JSON: ratio says how many times as long the twin takes."""
        numbers = {"ours_ms": self.ours_ms, "twin_ms": self.twin_ms, "ratio": self.twin_ms / self.ours_ms}
        return {"name": self.name, **{key: round(value, 4) for key, value in numbers.items()}}


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be: the first and the last to the left, the others to the right."""
    cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    left = [k == 0 or k == len(head) - 1 for k in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if at else cell.rjust(w) for cell, w, at in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in cells
    )


def last_line(rows: Sequence[Mapping[str, object]]) -> str:
    """The machine-readable end of a bench's output: one line."""
    return json.dumps(list(rows))
