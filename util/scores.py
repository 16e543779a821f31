"""Scores of predicted joints against labels, as benchmarks report them, and the tables that show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from util.metrics import JointErrors

LIMITS_MM = (20, 30, 40, 50)
"""Limits on a frame's worst joint that tables give the share of frames for."""
CURVE_MM = tuple(range(81))
"""Limits of the success curve."""


@dataclass(frozen=True)
class Scores:
    """Scores of one file of predictions."""

    name: str
    """What tables and figures call it."""
    errors: JointErrors
    """Of every frame and joint that is scored."""
    reading: str = ""
    """What its numbers were taken for."""
    groups: tuple[str, ...] = ()
    """Subject or sequence of each frame; empty when there is one."""
    subsets: Mapping[str, JointErrors] = field(default_factory=dict)
    """Some joints alone, by what the table calls them."""

    @property
    def parts(self) -> dict[str, JointErrors]:
        """The errors of each subject or sequence, in order; empty where frames are not divided."""
        names = list(dict.fromkeys(self.groups))
        of_frame = np.array(self.groups)
        return {name: self.errors.frames(of_frame == name) for name in names} if len(names) > 1 else {}

    def plain(self) -> dict:
        """Everything as JSON holds it: millimetres, and percent of the frames by limit."""
        subsets = {_key(name): errors.mean_mm for name, errors in self.subsets.items()}
        return {
            "reading": self.reading,
            "frames": len(self.errors.mm),
            "joints": len(self.errors.names),
            **_summary(self.errors),
            **subsets,
            "joint_mm": self.errors.joint_mm,
            "parts": {
                name: {"frames": len(errors.mm), **_summary(errors), "joint_mm": errors.joint_mm}
                for name, errors in self.parts.items()
            },
            "curve": {
                "limit_mm": list(CURVE_MM),
                "percent": [100 * share for share in self.errors.success_curve(CURVE_MM).tolist()],
            },
        }


def score_table(scores: Sequence[Scores]) -> str:
    """One row a file: mean error, shares within limits, subsets of joints, mean of each part; then one row a joint."""
    columns: list[tuple[str, list[str]]] = [("mean mm", [f"{s.errors.mean_mm:.2f}" for s in scores])]
    columns += [(name, [f"{s.subsets[name].mean_mm:.2f}" for s in scores]) for name in scores[0].subsets]
    columns += [(f"{t} mm %", [f"{100 * s.errors.share_within(t):.2f}" for s in scores]) for t in LIMITS_MM]
    columns += [(part, [f"{s.parts[part].mean_mm:.2f}" for s in scores]) for part in scores[0].parts]
    heads = [name for name, _ in columns]
    rows = [[cells[row] for _, cells in columns] for row in range(len(scores))]
    files = _table("", heads, [s.name for s in scores], rows)
    joints = scores[0].errors.names
    each = [[f"{s.errors.joint_mm[joint]:.2f}" for s in scores] for joint in joints]
    return f"{files}\n\n{_table('joint, mm', [s.name for s in scores], list(joints), each)}"


def _summary(errors: JointErrors) -> dict:
    success = {str(limit): 100 * errors.share_within(limit) for limit in LIMITS_MM}
    return {"mean_mm": errors.mean_mm, "median_mm": errors.median_mm, "success": success}


def _key(name: str) -> str:
    """`first 11` -> `mean_first_11_mm`."""
    return f"mean_{name.replace(' ', '_')}_mm"


def _table(corner: str, heads: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Names to the left, numbers to the right, columns as wide as they need."""
    first = max(len(word) for word in (corner, *names))
    widths = [max(len(head), *(len(row[k]) for row in rows)) for k, head in enumerate(heads)]
    lines = [[corner.ljust(first), *(head.rjust(width) for head, width in zip(heads, widths, strict=True))]]
    for name, row in zip(names, rows, strict=True):
        lines.append([name.ljust(first), *(cell.rjust(width) for cell, width in zip(row, widths, strict=True))])
    return "\n".join("  ".join(line).rstrip() for line in lines)
