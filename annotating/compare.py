"""New joints against the data set's own labels: distances of those joints that both skeletons define alike."""

from collections.abc import Sequence

import numpy as np

from annotating.annotations import Annotations
from annotating.source import Source
from fitting.correspondence import NOT_SHARED
from util.joints import JOINT_SETS
from util.metrics import JointErrors, summary


def compare(source: Source, found: Annotations) -> dict | None:
    """Distances, mm, over frames with a label and a hand; None where the data set has no labels.

    `all`: every such frame; `fitting`: those whose new hand explains the depth. Each has frames, mean and median over
    all joints of all frames, and of each joint.
    """
    if source.labels_mm is None or np.isnan(source.labels_mm).all():
        return None
    joints = JOINT_SETS[source.joint_set]
    alike = [k for k in range(len(joints)) if k not in NOT_SHARED.get(joints.name, ())]
    errors = JointErrors.between(found.joints_of(joints.name), source.labels_mm, joints.names).only(alike)
    labelled = np.isfinite(source.labels_mm).all(axis=(1, 2))
    return {
        "joint_set": joints.name,
        "frames": len(source),
        "labelled": int(labelled.sum()),
        "labelled_without_hand": int((labelled & ~found.seen).sum()),
        "not_alike": [name for k, name in enumerate(joints.names) if k not in alike],
        "all": _distances(errors, labelled & found.seen),
        "fitting": _distances(errors, labelled & found.fitting),
    }


def _distances(errors: JointErrors, chosen: np.ndarray) -> dict:
    own = errors.frames(chosen)
    return {
        "frames": int(chosen.sum()),
        **{f"{name}_mm": value for name, value in summary(own.mm.reshape(-1)).items()},
        "joints": {
            name: {f"{what}_mm": value for what, value in summary(own.mm[:, k]).items()}
            for k, name in enumerate(own.names)
        },
    }


def comparison_table(results: dict[str, dict]) -> str:
    """Distances of each source: a line a joint, mean and median over all frames and over those that fit."""
    tables = [_table(name, result) for name, result in results.items()]
    return "\n\n".join(tables)


def _table(name: str, result: dict) -> str:
    every, fitting = result["all"], result["fitting"]
    lines = [
        f"{name}: new joints against its own labels, mm; {every['frames']:,} frames, {fitting['frames']:,} of them fit",
        f"{'':>14}  {'all: mean':>10}  {'median':>8}  {'fit: mean':>10}  {'median':>8}",
    ]
    rows: Sequence[tuple[str, dict, dict]] = [
        ("all joints", every, fitting),
        *((joint, of, fitting["joints"][joint]) for joint, of in every["joints"].items()),
    ]
    for joint, a, b in rows:
        cells = [*(f"{a[key]:{width}.2f}" for key, width in (("mean_mm", 10), ("median_mm", 8)))]
        cells += [*(f"{b[key]:{width}.2f}" for key, width in (("mean_mm", 10), ("median_mm", 8)))]
        lines.append(f"{joint:>14}  " + "  ".join(cells))
    if result["not_alike"]:
        lines.append(
            f"not compared, since the two skeletons do not define them alike: {', '.join(result['not_alike'])}"
        )
    return "\n".join(lines)
