"""What a fit leaves behind: hand-parameter files, joints and surfaces, residuals, failures."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fitting.correspondence import Correspondence
from fitting.fit import CONVERGED_MM, DEEP_MM, Fit
from fitting.labels import Labels
from render.parameter_files import write_parameter_files
from util.files import write_text, write_whole


def summary(fit: Fit, seconds: float) -> dict[str, float | int]:
    """The figures of a fit: of all frames, failed ones included."""
    frames = len(fit.within)
    return {
        "frames": frames,
        "median_residual_mm": round(fit.median_mm, 3),
        "mean_residual_mm": round(float(fit.mean_mm.mean()), 3),
        "converged": round(float(fit.converged.double().mean()), 5),
        "failed": int((~fit.converged).sum()),
        "collisions_left": int((fit.overlap_mm > DEEP_MM).sum()),
        "outside_limits": int((~fit.within).sum()),
        "frames_per_s": round(frames / seconds, 1),
    }


def residual_table(fit: Fit, correspondence: Correspondence) -> str:
    """Distances of each joint, mm; joints that do not count are marked."""
    rows = [f"{'joint':>14}  median    mean   90 %  (mm)"]
    for k, name in enumerate(correspondence.joints.names):
        own = fit.residual_mm[:, k].double()
        high = float(np.quantile(own.cpu().numpy(), 0.9))
        aside = "" if k in fit.shared else "  *"
        rows.append(f"{name:>14}  {float(own.median()):6.2f}  {float(own.mean()):6.2f}  {high:5.2f}{aside}")
    if len(fit.shared) < len(correspondence.joints):
        rows.append("* the two skeletons do not define it alike: no part of the residual")
    return "\n".join(rows)


def failure_rows(fit: Fit, correspondence: Correspondence) -> list[tuple[int, str, float, str, float]]:
    """Each failed frame (from 1), what is wrong with it, its mean distance, its worst joint and that one's distance."""
    rows = []
    for k in (~fit.converged).nonzero().squeeze(1).tolist():
        why = []
        if not fit.mean_mm[k] < CONVERGED_MM:
            why.append("far from its labels")
        if not fit.within[k]:
            why.append("outside the limits")
        if not fit.overlap_mm[k] <= DEEP_MM:
            why.append(f"overlaps by {float(fit.overlap_mm[k]):.1f} mm")
        worst = max(fit.shared, key=lambda joint: float(fit.residual_mm[k, joint]))
        name, far = correspondence.joints.names[worst], float(fit.residual_mm[k, worst])
        rows.append((k + 1, " and ".join(why), float(fit.mean_mm[k]), name, far))
    return rows


def write_fit(folder: Path, fit: Fit, labels: Labels, correspondence: Correspondence, left: bool) -> list[str]:
    """Write everything into a folder and tell the files' names.

    `NAME-{glb,pose,shape,scale,trans}.txt`: hands as right hands, of mirrored labels where these are of left ones, as
    data sets of left hands are mirrored on load; translation in mm. `NAME-hands.npz`: joints and surfaces where the
    labels are, mirrored back. `NAME-residuals.csv`, `NAME-failures.csv`. NAME is that of the file of labels.

    Raises:
        UserError: the folder cannot be written to.
    """
    name = labels.path.stem
    written = [path.name for path in write_parameter_files(folder / name, fit.params)]
    arrays = {"joints_mm": fit.joints_mm, "label_joints_mm": fit.points_mm}
    if fit.vertices_mm is not None:
        arrays["vertices_mm"] = fit.vertices_mm
    content = io.BytesIO()
    plain: dict[str, np.ndarray] = {key: as_labelled(value, left) for key, value in arrays.items()}
    plain["residual_mm"] = fit.residual_mm.cpu().numpy().astype(np.float32)
    plain["overlap_mm"] = fit.overlap_mm.cpu().numpy().astype(np.float32)
    plain["converged"] = fit.converged.cpu().numpy()
    plain["subject"] = labels.subjects.numpy()
    np.savez_compressed(content, allow_pickle=False, **plain)
    write_whole(folder / f"{name}-hands.npz", content.getvalue())
    rows = [[f"{value:.3f}" for value in row] for row in fit.residual_mm.tolist()]
    write_text(folder / f"{name}-residuals.csv", _csv(correspondence.joints.names, rows))
    failures = [
        (k, why, f"{mean:.2f}", joint, f"{far:.2f}") for k, why, mean, joint, far in failure_rows(fit, correspondence)
    ]
    head = ("frame", "why", "mean_mm", "worst_joint", "worst_mm")
    write_text(folder / f"{name}-failures.csv", _csv(head, failures))
    return [*written, *(f"{name}-{what}" for what in ("hands.npz", "residuals.csv", "failures.csv"))]


def as_labelled(points_mm: Float[Tensor, "n p 3"], left: bool) -> Float[np.ndarray, "n p 3"]:
    """Points of right hands where the labels are: mirrored back for left ones. float32."""
    points = points_mm.detach().cpu().numpy().astype(np.float32)
    return points * np.array([-1.0 if left else 1.0, 1.0, 1.0], np.float32)


def _csv(head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
