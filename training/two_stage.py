"""The second stage teaches the first (Ren et al., TIP 2022): its answers, held fixed, are the first one's targets."""

from torch import Tensor

from model.network import StageOutput
from training.parts import ITSELF, Counts
from training.supervised import cell_mean, smooth_l1


def teaching_terms(first: StageOutput, second: StageOutput, counts: Counts = ITSELF) -> dict[str, Tensor]:
    """Unweighted terms: maps, pixel joints, model joints (towards the second stage's *pixel* joints), surface.

    counts: `cells`.
    """
    return {
        "teach_maps": _maps(first, second, counts),
        "teach_pixel": smooth_l1(first.pixel_uvd - second.pixel_uvd.detach()).mean(),
        "teach_model": smooth_l1(first.joints_xyz - second.pixel_xyz.detach()).mean(),
        "teach_vertices": smooth_l1(first.vertices_xyz - second.vertices_xyz.detach()).mean(),
    }


def _maps(first: StageOutput, second: StageOutput, counts: Counts) -> Tensor:
    """L between maps over foreground cells, the only ones that are read."""
    if len(first.rows) == 0:
        return first.rows.sum()
    return cell_mean(smooth_l1(first.rows - second.rows.detach()), counts)
