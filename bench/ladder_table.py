"""Lines of finished rows, and the table that they make in docs/benchmark.md."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.ladder_rows import ROWS, Row
from util.errors import UserError
from util.files import finite, read_json, write_text

BEGIN, END = "<!-- ladder: begin -->", "<!-- ladder: end -->"
"""Between these lines of the document stands the table."""
WITHIN_MM = 20.0
"""A frame counts as right when no joint is further off."""
MODEL_MEASURES = ("surface_mm", "coverage", "depth_mm", "iou", "tips_outside_mm")
"""Label-free measures of the model branch that are kept."""
COLUMNS = (
    ("pixel, mm", "pixel", "mean_mm", ".2f"),
    ("model, mm", "model", "mean_mm", ".2f"),
    ("pixel within 20 mm", "pixel", "within_20", ".0%"),
    ("model within 20 mm", "model", "within_20", ".0%"),
    ("surface, mm", "model", "surface_mm", ".2f"),
    ("covered", "model", "coverage", ".3f"),
    ("depth, mm", "model", "depth_mm", ".2f"),
    ("IoU", "model", "iou", ".3f"),
    ("tips outside, mm", "model", "tips_outside_mm", ".2f"),
)
"""(title, branch, measure, format)."""
Line = dict[str, Any]


def read_lines(path: Path) -> list[Line]:
    """Lines of finished rows; none where there is no file.

    Raises:
        UserError: a line is damaged.
    """
    if not path.is_file():
        return []
    try:
        lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
        return [line for line in lines if (line["row"], line["seed"])]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} has a damaged line ({error}): mend or remove that line.") from error


def finished(lines: Sequence[Line], row: str, seed: int) -> bool:
    """Whether a row has a line."""
    return any((line["row"], line["seed"]) == (row, seed) for line in lines)


def line_of(name: str, seed: int, row: Row, place: Path, command: str) -> Line:
    """What a finished run says about a row: scores of its last stage, and how it was run.

    Raises:
        UserError: its results have no scores.
    """
    results = read_json(place / "results.json")
    scores = results.get("after", {})
    stage = max((branch.split("_")[0] for branch in scores), default="")
    if not stage:
        raise UserError(f"{place / 'results.json'} has no scores: remove {place} and run the row again.")
    branches: Line = {"pixel": _branch(scores[f"{stage}_pixel"], ("tips_outside_mm",))}
    if row.model:
        branches["model"] = _branch(scores[f"{stage}_model"], MODEL_MEASURES)
    minutes = results.get("seconds", 0.0) / 60
    return finite(
        {
            "row": name,
            "seed": seed,
            "stage": stage,
            **branches,
            "frames": scores[f"{stage}_pixel"]["n_frames"],
            "training_minutes": round(minutes, 1),
            "commit": _commit(),
            "command": command,
        }
    )


def table(lines: Sequence[Line]) -> str:
    """Rows in their order, one line each; numbers of several seeds one after another."""
    head = ["", "seed", *(title for title, *_ in COLUMNS), "training, min"]
    text = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    for name, row in ROWS.items():
        found = sorted((line for line in lines if line["row"] == name), key=lambda line: line["seed"])
        if not found:
            continue
        cells = [row.about, " / ".join(str(line["seed"]) for line in found)]
        cells += [_cells(found, branch, measure, form) for _, branch, measure, form in COLUMNS]
        cells.append(" / ".join(f"{line['training_minutes']:.0f}" for line in found))
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def write_table(document: Path, lines: Sequence[Line]) -> None:
    """Put the table between the document's two markers.

    Raises:
        UserError: the document is absent or has no such markers.
    """
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{document} has no lines '{BEGIN}' and '{END}' for the table: put them in.")
    write_text(document, f"{before}{BEGIN}\n\n{table(lines)}\n\n{END}{after}")


def _branch(scores: Line, measures: Sequence[str]) -> Line:
    curve = scores["success_curve"]
    shares = dict(zip(curve["limit_mm"], curve["share_worst_joint_within"], strict=True))
    rest = {name: round(scores[name]["mean"], 4) for name in measures if scores.get(name, {}).get("mean") is not None}
    return {"mean_mm": round(scores["mean_mm"]["mean"], 3), "within_20": round(shares[WITHIN_MM], 4), **rest}


def _cells(found: Sequence[Line], branch: str, measure: str, form: str) -> str:
    values = [line.get(branch, {}).get(measure) for line in found]
    return " / ".join("-" if value is None else f"{value:{form}}" for value in values)


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
