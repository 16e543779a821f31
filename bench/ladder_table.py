"""Lines of finished rows, and the tables that they make in docs/benchmark.md."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ladder_rows import ROWS, Row
from util.errors import UserError
from util.files import finite, read_json, write_text

WITHIN_MM = 20.0
"""A frame counts as right when no joint is further off."""
MODEL_MEASURES = ("surface_mm", "coverage", "depth_mm", "iou", "tips_outside_mm")
"""Label-free measures of the model branch that are kept."""
NOTHING = "No row is measured yet."
Line = dict[str, Any]
Column = tuple[str, tuple[str, ...], str]
"""(title, where a line has the number, format)."""


@dataclass(frozen=True)
class Sheet:
    """What a ladder writes into the document, between two markers with its name."""

    name: str
    rows: dict[str, Row]
    """In the tables' order."""
    tables: dict[str, tuple[Column, ...]]
    """Caption -> columns; a table without any number is left out."""

    @property
    def markers(self) -> tuple[str, str]:
        """Lines of the document around the tables."""
        return f"<!-- {self.name}: begin -->", f"<!-- {self.name}: end -->"

    def text(self, lines: Sequence[Line]) -> str:
        """The tables."""
        parts = []
        for caption, columns in self.tables.items():
            if any(_number(line, where) is not None for line in lines for _, where, _ in columns):
                parts += [caption] * bool(caption) + [self._table(columns, lines)]
        return "\n\n".join(parts) or NOTHING

    def write(self, document: Path, lines: Sequence[Line]) -> None:
        """Put the tables between the document's two markers.

        Raises:
            UserError: the document is absent or has no such markers.
        """
        write_between(document, self.markers, self.text(lines))

    def _table(self, columns: Sequence[Column], lines: Sequence[Line]) -> str:
        """Rows in their order, one line each; numbers of several seeds one after another."""
        head = ["", "seed", *(title for title, *_ in columns), "training, min"]
        text = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
        for name, row in self.rows.items():
            found = sorted((line for line in lines if line["row"] == name), key=lambda line: line["seed"])
            if not found:
                continue
            cells = [row.about, " / ".join(str(line["seed"]) for line in found)]
            cells += [_cells(found, where, form) for _, where, form in columns]
            cells.append(" / ".join(f"{line['training_minutes']:.0f}" for line in found))
            text.append(f"| {' | '.join(cells)} |")
        return "\n".join(text)


BENCHMARK_SHEET = Sheet(
    "ladder",
    ROWS,
    {
        "": (
            ("pixel, mm", ("pixel", "mean_mm"), ".2f"),
            ("model, mm", ("model", "mean_mm"), ".2f"),
            ("pixel within 20 mm", ("pixel", "within_20"), ".0%"),
            ("model within 20 mm", ("model", "within_20"), ".0%"),
            ("surface, mm", ("model", "surface_mm"), ".2f"),
            ("covered", ("model", "coverage"), ".3f"),
            ("depth, mm", ("model", "depth_mm"), ".2f"),
            ("IoU", ("model", "iou"), ".3f"),
            ("tips outside, mm", ("model", "tips_outside_mm"), ".2f"),
        )
    },
)


def write_between(document: Path, markers: tuple[str, str], tables: str) -> None:
    """Put tables between a document's two markers.

    Raises:
        UserError: the document is absent or has no such markers.
    """
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    first, last = markers
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise UserError(f"{document} has no lines '{first}' and '{last}' for the table: put them in.")
    write_text(document, f"{before}{first}\n\n{tables}\n\n{last}{after}")


def read_lines(path: Path, named: Sequence[str] = ("row", "seed")) -> list[Line]:
    """Lines of what is finished; none where there is no file.

    named: what every line has.

    Raises:
        UserError: a line is damaged.
    """
    if not path.is_file():
        return []
    try:
        lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
        return [line for line in lines if [line[name] for name in named]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} has a damaged line ({error}): mend or remove that line.") from error


def finished(lines: Sequence[Line], row: str, seed: int) -> bool:
    """Whether a row has a line."""
    return any((line["row"], line["seed"]) == (row, seed) for line in lines)


def line_of(name: str, seed: int, measured: Line, place: Path, command: str) -> Line:
    """What the run in `place` says about a row: what was measured, and how it was run."""
    minutes = read_json(place / "results.json").get("seconds", 0.0) / 60
    return finite(
        {
            "row": name,
            "seed": seed,
            **measured,
            "training_minutes": round(minutes, 1),
            "commit": _commit(),
            "command": command,
        }
    )


def last_stage(place: Path) -> tuple[str, dict[str, Line]]:
    """The last stage that a finished run has tested, and the scores of each branch.

    Raises:
        UserError: its results have no scores.
    """
    scores = read_json(place / "results.json").get("after", {})
    stage = max((branch.split("_")[0] for branch in scores), default="")
    if not stage:
        raise UserError(f"{place / 'results.json'} has no scores: remove {place} and run the row again.")
    return stage, scores


def labelled_measures(place: Path, row: Row) -> Line:
    """Scores of a run's last stage on frames with known truth.

    Raises:
        UserError: its results have no scores.
    """
    stage, scores = last_stage(place)
    measured: Line = {"stage": stage, "pixel": _errors(scores[f"{stage}_pixel"], ("tips_outside_mm",))}
    if row.model:
        measured["model"] = _errors(scores[f"{stage}_model"], MODEL_MEASURES)
    return measured | {"frames": scores[f"{stage}_pixel"]["n_frames"]}


def means(scores: Line, measures: Sequence[str]) -> Line:
    """Means of those measures that a branch has."""
    return {name: round(scores[name]["mean"], 4) for name in measures if scores.get(name, {}).get("mean") is not None}


def _errors(scores: Line, measures: Sequence[str]) -> Line:
    curve = scores["success_curve"]
    shares = dict(zip(curve["limit_mm"], curve["share_worst_joint_within"], strict=True))
    errors = {"mean_mm": round(scores["mean_mm"]["mean"], 3), "within_20": round(shares[WITHIN_MM], 4)}
    return errors | means(scores, measures)


def _cells(found: Sequence[Line], where: Sequence[str], form: str) -> str:
    values = [_number(line, where) for line in found]
    return " / ".join("-" if value is None else f"{value:{form}}" for value in values)


def _number(line: Line, where: Sequence[str]) -> float | None:
    """What stands in a line under these names, one inside another; None where nothing does."""
    found: Any = line
    for name in where:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _commit() -> str | None:
    """The commit that runs, with a + where files differ from it; None where that cannot be said."""
    commands = (["git", "rev-parse", "--short=12", "HEAD"], ["git", "status", "--short", "--untracked-files=no"])
    try:
        commit, changed = (
            subprocess.run(
                command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + "+" * bool(changed)
