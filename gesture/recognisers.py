"""The recognisers by name: how they are built, what they see, and what was published about them."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from config_gesture import RecogniserConfig, RecogniserName
from util.joints import SHREC22, JointSet

NAMES: tuple[RecogniserName, ...] = get_args(RecogniserName)


@dataclass(frozen=True)
class Recipe:
    """One recogniser."""

    title: str
    """What its paper calls it."""
    frames: int
    """Frames that it sees unless recogniser.frames says otherwise."""
    sees: Literal["joints", "points"] = "joints"
    published: int | None = None
    """Parameters for 14 classes as published, rounded where only millions are given; None where not known to us."""
    shrec: tuple[float, float] | None = None
    """Published accuracy on SHREC'17, 14 and 28 classes, %."""
    dhg: tuple[float, float] | None = None
    """The same on DHG-14/28."""


RECIPES: dict[RecogniserName, Recipe] = {
    "dg_sta": Recipe("DG-STA", 8, published=267_022, shrec=(94.4, 90.7), dhg=(91.9, 88.0)),
    "res_tcn": Recipe("Res-TCN", 32, published=1_820_000, shrec=(91.1, 87.3), dhg=(86.9, 83.6)),
    "sta_res_tcn": Recipe("STA-Res-TCN", 32, shrec=(93.6, 90.7), dhg=(89.2, 85.0)),
    "st_gcn": Recipe("ST-GCN", 32, published=3_080_000, shrec=(92.7, 87.7), dhg=(91.2, 87.1)),
    "st_ts_hgr_net": Recipe("ST-TS-HGR-NET", 36, shrec=(94.3, 89.4), dhg=(87.3, 83.4)),
    "hpev": Recipe("HPEV", 60, shrec=(94.9, 92.3), dhg=(92.5, 88.9)),
    "pointlstm": Recipe("PointLSTM", 32, "points", published=1_300_000, shrec=(95.9, 94.7)),
}


def frames_of(config: RecogniserConfig) -> int:
    """Frames that a recogniser sees."""
    return config.frames or RECIPES[config.name].frames


def make_recogniser(config: RecogniserConfig, classes: int, joint_set: JointSet = SHREC22) -> nn.Module:
    """A network (b, frames, joints or points, 3) -> (b, classes) scores before the softmax.

    Only the module of the recogniser that is asked for is imported: one of them needs geoopt.
    """
    if config.name == "dg_sta":
        from gesture.dg_sta import DgSta

        return DgSta(classes, joint_set, frames_of(config), config.dropout)
    if config.name == "res_tcn":
        from gesture.res_tcn import ResTcn

        return ResTcn(classes, joint_set, config.dropout)
    if config.name == "sta_res_tcn":
        from gesture.sta_res_tcn import StaResTcn

        return StaResTcn(classes, joint_set, config.dropout)
    if config.name == "st_gcn":
        from gesture.st_gcn import StGcn

        return StGcn(classes, joint_set, config.dropout)
    if config.name == "st_ts_hgr_net":
        from gesture.st_ts_hgr_net import StTsHgrNet

        return StTsHgrNet(classes, joint_set, config.dropout)
    if config.name == "hpev":
        from gesture.hpev import Hpev

        return Hpev(
            classes, joint_set, frames_of(config), config.dropout, volume=config.volume, step=config.volume_step
        )
    from gesture.pointlstm import PointLstm

    return PointLstm(classes)


def count_parameters(network: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def parameter_counts(classes: int = 14) -> dict[RecogniserName, int]:
    """Of every recogniser, for 22 joints."""
    return {name: count_parameters(make_recogniser(RecogniserConfig(name), classes)) for name in NAMES}
