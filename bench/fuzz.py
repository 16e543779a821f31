"""Damaged files for every reader: each is accepted with a right meaning, or refused in one sentence that names it.

    python bench/fuzz.py [--cases 10000] [--seed 0] [--readers NAME NAME] [--processes 2] [--keep DIR] [--json]
    python bench/fuzz.py --replay DIR/READER-SEED-NUMBER

Good files of each format are flipped, cut, spliced and made to lie about what is in them; docs/safety.md tells what
counts as a failure. A failing file is kept under --keep with what is known about it. Cases of a reader are the same
for a seed whichever others run. Needs Linux (/proc). The last line with --json: {"cases": N, "failures": K}.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from util.cli import parse_settings, run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402

SILENT_S = 120
"""A process that says nothing for so long hangs outside Python, and is killed."""
START_S = 600
"""The same while it makes and reads the good files."""


@dataclass(frozen=True)
class Settings:
    """How much is tried, and where."""

    cases: int = 10_000
    """Damaged files, spread over the readers."""
    seed: int = 0
    """Another one draws other damage."""
    readers: tuple[str, ...] = ()
    """Names, or beginnings of names, such as nyu or frames.camera; empty = all."""
    processes: int = 2
    """That read at the same time."""
    keep: Path | None = None
    """Folder for files that fail; unset = they are not kept."""
    replay: Path | None = None
    """A kept case to read again, instead of all else."""
    json: bool = False
    """End with one line of JSON."""
    worker: str = ""
    """For the processes that this one starts: cases to run, as JSON."""


@dataclass
class Tally:
    """What came of the cases."""

    cases: Counter[str]
    accepted: Counter[str]
    failures: Counter[str]


def main(words: Sequence[str]) -> int:
    """Run; 1 where a case failed."""
    asked = parse_settings(Settings, Settings(), words, "bench/fuzz.py", (__doc__ or "").strip())
    if asked.worker:
        _work(asked)
        return 0
    from bench.fuzz_cases import replay  # late: --help is to answer at once
    from bench.fuzz_readers import readers

    if asked.replay is not None:
        outcome = replay(asked.replay, readers())
        print(outcome.fault or ("accepted" if outcome.accepted else "refused in one sentence"))
        return int(bool(outcome.fault))
    known = list(readers())
    names = [name for name in known if not asked.readers or name.startswith(asked.readers)]
    if not names or asked.cases < 1 or asked.processes < 1:
        raise UserError(
            f"There is nothing to run: choose --cases and --processes above 0, --readers among {', '.join(known)}."
        )
    started, tally = time.perf_counter(), run(asked, names)
    print(f"{'reader':28}{'cases':>8}{'accepted':>10}{'refused':>10}{'failures':>10}")
    for name in names:
        n, good, bad = tally.cases[name], tally.accepted[name], tally.failures[name]
        print(f"{name:28}{n:8}{good:10}{n - good - bad:10}{bad:10}")
    total, bad = sum(tally.cases.values()), sum(tally.failures.values())
    print(f"{total:,} cases of {len(names)} readers, {bad:,} failures, {time.perf_counter() - started:.0f} s")
    if asked.json:
        print(json.dumps({"cases": total, "failures": bad}))
    return int(bad > 0)


def run(asked: Settings, names: Sequence[str]) -> Tally:
    """All cases, spread over processes; one that dies is a failure, and another goes on behind it."""
    plan = [(name, k) for k in range(-(-asked.cases // len(names))) for name in names][: asked.cases]
    tally = Tally(Counter(), Counter(), Counter())
    parts = [plan[k :: asked.processes] for k in range(asked.processes)]
    threads = [threading.Thread(target=_run_part, args=(asked, part, tally)) for part in parts if part]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def _run_part(asked: Settings, plan: list[tuple[str, int]], tally: Tally) -> None:
    done = 0
    while done < len(plan):
        before = done
        for told in _lines(asked, plan[done:]):
            name, _ = plan[done]
            done += 1
            tally.cases[name] += 1
            if fault := told.get("fault"):
                tally.failures[name] += 1
                _print_failure(asked, plan[done - 1], told["damage"], fault)
            else:
                tally.accepted[name] += told["accepted"]
        if done < len(plan):  # the process ended or was killed in the middle of a case
            tally.cases[plan[done][0]] += 1
            tally.failures[plan[done][0]] += 1
            _print_failure(asked, plan[done], *_lost(asked, plan[done], "takes the process down, or hangs in it"))
            done += 1
            if before + 1 == done and before == 0 and len(plan) > 1 and tally.failures.total() > len(plan) // 2:
                return


def _lines(asked: Settings, plan: list[tuple[str, int]]) -> Iterator[dict]:
    """What a process says of each case; ends early where it dies, and kills it where it falls silent."""
    with tempfile.TemporaryDirectory() as folder:
        todo = Path(folder) / "plan.json"
        todo.write_text(json.dumps(plan), encoding="utf-8")
        words = ["--worker", str(todo), "--seed", str(asked.seed)]
        words += ["--keep", str(asked.keep)] if asked.keep else []
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": folder}
        command = [sys.executable, str(Path(__file__).resolve()), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True) as process:
            said: SimpleQueue[str] = SimpleQueue()

            def listen() -> None:
                for line in process.stdout or ():
                    said.put(line)
                said.put("")

            threading.Thread(target=listen, daemon=True).start()
            patience = START_S
            try:
                while line := said.get(timeout=patience):
                    patience = SILENT_S
                    if line.startswith("{"):
                        yield json.loads(line)
            except Empty:
                process.kill()


def _work(asked: Settings) -> None:
    """In a process of its own: run the cases of a plan and say a line of each."""
    from bench.fuzz_cases import Bench, Case, keep_case, limit_memory
    from bench.fuzz_readers import readers

    plan = json.loads(Path(asked.worker).read_text(encoding="utf-8"))
    known = readers()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench({name: known[name] for name in dict.fromkeys(name for name, _ in plan)}, Path(folder))
        limit_memory()
        print("ready", flush=True)
        for name, number in plan:
            case = Case(name, asked.seed, number)
            damage, content = case.damage(known)
            outcome = bench.run(name, content)
            if outcome.fault and asked.keep:
                keep_case(asked.keep, case, damage, outcome.fault, known[name], content)
            print(json.dumps({"accepted": outcome.accepted, "fault": outcome.fault, "damage": damage}), flush=True)


def _lost(asked: Settings, planned: tuple[str, int], fault: str) -> tuple[str, str]:
    """Damage and fault of a case whose process is gone; keeps its file."""
    from bench.fuzz_cases import Case, keep_case
    from bench.fuzz_readers import readers

    case = Case(planned[0], asked.seed, planned[1])
    damage, content = case.damage(readers())
    if asked.keep:
        keep_case(asked.keep, case, damage, fault, readers()[case.reader], content)
    return damage, fault


def _print_failure(asked: Settings, planned: tuple[str, int], damage: str, fault: str) -> None:
    print(f"FAILURE seed {asked.seed} {planned[0]} number {planned[1]}, {damage}: {fault}", flush=True)


if __name__ == "__main__":
    sys.exit(run_entry(main))
