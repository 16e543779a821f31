"""Full supervision: the network learns from real (or simulated) frames and their labels.

With the pixel branch alone, in one stage, this is adaptive weighting regression (Huang et al., AAAI 2020); with both
branches it needs labelled joints, and uses the surface where that is known too. Labels of other joint sets count where
a joint is one of the hand model's keypoints; keypoints without a label are left out of the losses.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from config import Experiment, SupervisedConfig
from dataloader.augment import Augmentation
from dataloader.crop import HandCrop
from dataloader.sample import HandSample
from dataloader.store import FrameStore
from model.network import StageOutput
from model.offset_maps import write_maps_at
from training.branches import branch_joints_mm
from training.loop import Loop
from training.parts import ITSELF, Counts, Part, Ready
from training.show import show_outputs
from training.sources import held_out_split
from training.supervised import smooth_l1
from util.errors import UserError
from util.joints import JOINT_SETS
from util.metrics import JointErrors
from util.processes import shared

BATCH = 64
"""Held-out frames that are scored at once."""


def learn_labelled(experiment: Experiment, loop: Loop, frames: FrameStore) -> None:
    """Run the phase in a loop: `optim.real_batch` labelled frames a step, augmented.

    The last part of the frames is held out: on it, `best` is chosen by the mean joint error.

    Raises UserError when the frames have no labels.
    """
    if frames.joints_mm is None:
        raise UserError(
            f"The training frames of {experiment.data.name} have no labels to learn from: choose --source real."
        )
    optim, device = experiment.optim, loop.fabric.device
    augment = Augmentation(experiment.augment)
    train, checked = held_out_split(frames, optim.check_frames)

    def losses(step: int, part: Part) -> Ready:
        generator = part.draws(experiment.seed, step, optim.real_batch)
        chosen = generator.randint(0, len(train), part.size(optim.real_batch))
        sample = train.batch(chosen, generator, augment).to(device)
        return Ready(
            lambda counts: labelled_terms(loop.wrapped(sample.crop), sample, experiment.supervised, counts),
            {"real": sample},
            lambda: label_counts(sample, loop.network.cells_seen(sample.crop.depth)),
        )

    def judge(network: nn.Module, step: int) -> float:
        errors = frame_errors(network, checked)
        for name, mm in errors.items():
            loop.writer.add_scalar(f"held_out/{name}/mean_mm", mm.mean_mm, step)
        counted = [mm.mean_mm for name, mm in errors.items() if _learns(name, experiment.supervised)]
        return min(counted)

    def picture(step: int) -> None:
        with loop.averaged_weights() as network:
            show_outputs(loop.writer, network, checked.batch(range(min(8, len(checked)))), step)

    loop.run(losses, optim.real_batch, judge, picture)


def labelled_terms(
    outputs: Sequence[StageOutput], sample: HandSample, config: SupervisedConfig, counts: Counts = ITSELF
) -> dict[str, Float[Tensor, ""]]:
    """Weighted terms of all stages, by name: stage{k}/{term}. counts: `label_counts`.

    Raises ValueError when the sample has no labelled joints.
    """
    joints_uvd, joints_xyz = _keypoints(sample)
    crop = sample.crop
    terms: dict[str, Tensor] = {}
    for k, output in enumerate(outputs, 1):
        stage = {
            "maps": config.maps * _maps(output, joints_uvd, counts),
            "pixel_joints": config.joints * known_mean(output.pixel_uvd, joints_uvd, counts.get("uvd")),
        }
        if config.branches == "both":
            stage |= _model_terms(output, joints_xyz, crop, sample.vertices_mm, config, counts)
        terms |= {f"stage{k}/{name}": value for name, value in stage.items()}
    return terms


def _model_terms(
    output: StageOutput,
    joints_xyz: Tensor,
    crop: HandCrop,
    vertices_mm: Tensor | None,
    config: SupervisedConfig,
    counts: Counts,
) -> dict[str, Tensor]:
    terms = {
        "model_joints": config.joints * known_mean(output.joints_xyz, joints_xyz, counts.get("xyz")),
        "shape": config.shape * output.hand.shape.square().mean(),
        "scale": config.scale * output.hand.scale.clamp_max(0).abs().mean(),
    }
    if vertices_mm is not None:
        terms["vertices"] = config.vertices * known_mean(
            output.vertices_xyz, crop.xyz_from_mm(vertices_mm), counts.get("vertices")
        )
    return terms


def _maps(output: StageOutput, joints_uvd: Float[Tensor, "b 21 3"], counts: Counts) -> Float[Tensor, ""]:
    """L of predicted maps against those of known joints, over foreground cells (a background cell's are not read)."""
    cells = output.cells
    with torch.no_grad():
        wanted = write_maps_at(joints_uvd.index_select(0, cells.crop_of_seen), cells.uvd_of_seen())
    return known_mean(output.rows, wanted, counts.get("maps"))


def label_counts(sample: HandSample, cells: Int[Tensor, " b"]) -> dict[str, Tensor]:
    """How many numbers `labelled_terms` take means over. cells: foreground cells of each crop."""
    joints_uvd, joints_xyz = _keypoints(sample)
    whole = joints_uvd.isfinite().all(-1).sum(1)  # a joint that lacks a coordinate has no maps
    counts = {"maps": 4 * (cells * whole).sum(), "uvd": joints_uvd.isfinite().sum(), "xyz": joints_xyz.isfinite().sum()}
    if sample.vertices_mm is not None:
        counts["vertices"] = sample.crop.xyz_from_mm(sample.vertices_mm).isfinite().sum()
    return counts


def _keypoints(sample: HandSample) -> tuple[Float[Tensor, "b 21 3"], Float[Tensor, "b 21 3"]]:
    """The hand model's keypoints in uvd and xyz, NaN where nobody labelled them."""
    if sample.joints_mm is None:
        raise ValueError("supervised losses need labelled joints")
    keypoints_mm = JOINT_SETS[sample.joint_set].to_mano21(sample.joints_mm)
    return sample.crop.uvd_from_mm(keypoints_mm), sample.crop.xyz_from_mm(keypoints_mm)


def known_mean(
    predicted: Float[Tensor, "*shape"], wanted: Float[Tensor, "*shape"], count: Tensor | None = None
) -> Float[Tensor, ""]:
    """Mean smooth L1 over the numbers that are known (NaN: not known); 0 where none is. count: that of all parts."""
    known = wanted.isfinite()
    difference = torch.where(known, predicted - wanted, 0.0)
    return smooth_l1(difference).sum() / (known.sum() if count is None else count).clamp_min(1)


@torch.no_grad()
def frame_errors(network: nn.Module, store: FrameStore) -> dict[str, JointErrors]:
    """Joint errors of each branch of each stage over labelled frames, in the labels' own joint set.

    Raises ValueError when the store has no labels.
    """
    if store.joints_mm is None:
        raise ValueError("joint errors need labelled frames")
    joint_set, device = JOINT_SETS[store.joint_set], next(network.parameters()).device

    def joints_mm(i: int) -> dict[str, Tensor]:
        crop = store.batch(range(BATCH * i, min(BATCH * (i + 1), len(store)))).crop.to(device)
        return {name: mm.cpu() for name, mm in branch_joints_mm(network(crop), crop, joint_set).items()}

    batches = shared(-(-len(store) // BATCH), joints_mm)
    found = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    return {name: JointErrors.between(mm.numpy(), store.joints_mm, joint_set.names) for name, mm in found.items()}


def _learns(branch: str, config: SupervisedConfig) -> bool:
    return config.branches == "both" or branch.endswith("pixel")
