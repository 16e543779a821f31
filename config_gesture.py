"""Every setting of train_gesture.py: frozen dataclasses, one dict of named experiments, one line for the default.

`python train_gesture.py` runs DEFAULT; `python train_gesture.py NAME --optim.steps 500` runs another with overrides.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

RecogniserName = Literal["dg_sta", "res_tcn", "sta_res_tcn", "st_gcn", "st_ts_hgr_net", "hpev", "pointlstm"]


@dataclass(frozen=True)
class GestureDataConfig:
    """Which sequences are read, from where their skeletons come, how they are split (gesture/)."""

    name: Literal["shrec", "dhg"] = "shrec"
    """SHREC'17 or DHG-14/28."""
    root: Path | None = None
    """Folder of the data set, with its list of sequences; frames are needed for points alone."""
    skeletons: Path | None = None
    """Folder of skeletons, laid out as the data set's own: gesture_*/finger_*/subject_*/essai_*/FILE; unset = root."""
    file: str | None = None
    """The file there, one row a frame: .npz, .json or .txt; unset = the first of predictions.npz, predictions.json,
    joints_xyz.npz, joints_xyz.txt, skeletons_world.txt, skeleton_world.txt."""
    joints: Literal["shrec22", "mano21"] = "shrec22"
    """Joints that a recogniser sees, whichever set the files hold; the palm of shrec22 is the mean of mano21."""
    classes: Literal[14, 28] = 14
    """14: which gesture; 28: also with one finger or the whole hand, 2 (g - 1) + f."""
    protocol: Literal["folds", "lists", "leave-one-out"] = "folds"
    """folds: subjects held out by sorted id modulo `folds`, of SHREC'17's training list; lists: SHREC'17's own training
    and test lists; leave-one-out: one subject, as is usual for DHG."""
    folds: int = 5
    """Number of folds."""
    fold: int = 0
    """Which fold is tested on, from 0; with leave-one-out, which of the sorted subjects."""
    validation_subjects: int = 3
    """Training subjects that are kept apart to select on; they are spread over the sorted ids."""
    points: int = 256
    """Points of each frame that are kept (recognisers that see points)."""
    cache: Path | None = None
    """Folder for points once they are read from depth; unset = a folder .prepared in the data set's own."""


@dataclass(frozen=True)
class GestureAugmentConfig:
    """Augmentation of sequences (gesture/augment.py); a strength of 0 leaves a kind out."""

    chance: float = 0.5
    """Share of sequences that each kind acts on, drawn for each kind alone."""
    scale: float = 0.2
    """Sizes are multiplied by 1 - scale to 1 + scale."""
    shift_mm: float = 100.0
    """Largest shift of a whole sequence along each axis."""
    time: float = 0.5
    """How far frames are read beside their time, in shares of a sampling interval; joints are interpolated there."""
    noise_mm: float = 5.0
    """Standard deviation of noise on each coordinate of each joint and frame."""


@dataclass(frozen=True)
class RecogniserConfig:
    """The recogniser (one file each in gesture/)."""

    name: RecogniserName = "dg_sta"
    """Which."""
    frames: int | None = None
    """Frames a sequence is read at, evenly spaced in time; unset = the recogniser's own."""
    dropout: float = 0.1
    """Dropout, where the recogniser has any."""
    points: int = 128
    """Points of a frame that pointlstm sees."""
    volume: int = 32
    """Edge of a frame's volume (hpev)."""
    volume_step: int = 3
    """By how much each frame's volume is further along than the one before (hpev)."""


@dataclass(frozen=True)
class GestureOptimConfig:
    """Optimisation (gesture/train.py)."""

    steps: int = 4000
    """Optimiser steps."""
    batch: int = 32
    """Sequences a step."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW, or of Riemannian Adam for st_ts_hgr_net."""
    weight_decay: float = 1e-2
    """Weight decay."""
    warmup: int = 100
    """Steps over which the learning rate rises; then it falls as a cosine."""
    final_rate: float = 0.01
    """The last learning rate as a share of the peak."""
    clip: float = 5.0
    """Largest gradient norm."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    log_every: int = 50
    """Steps between TensorBoard scalars."""
    check_every: int = 200
    """Steps between checkpoints and scores on what is selected on."""


@dataclass(frozen=True)
class GestureExperiment:
    """One run: a recogniser, where its sequences come from, what it is selected on."""

    name: str = "dg-sta"
    """Its name, which also names the default run folder."""
    about: str = ""
    """What it is for, in a few words; `--help` shows them."""
    seed: int = 0
    """Seed of every random draw of the run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; auto takes a GPU where there is one."""
    select: Literal["validation", "test"] = "validation"
    """What the checkpoint is selected on: training subjects kept apart, or, to compare with published code that does,
    the test subjects themselves (all training subjects are then learned from). The second flatters."""
    data: GestureDataConfig = field(default_factory=GestureDataConfig)
    """Sequences."""
    augment: GestureAugmentConfig = field(default_factory=GestureAugmentConfig)
    """Their augmentation."""
    recogniser: RecogniserConfig = field(default_factory=RecogniserConfig)
    """The recogniser."""
    optim: GestureOptimConfig = field(default_factory=GestureOptimConfig)
    """Optimisation."""


_NO_SHIFT = GestureAugmentConfig(shift_mm=0.0)

_ALL = (
    GestureExperiment(name="dg-sta", about="spatial, then temporal masked attention over 8 frames"),
    GestureExperiment(
        name="res-tcn",
        about="residual 1-D convolutions in time",
        recogniser=RecogniserConfig("res_tcn", dropout=0.3),
    ),
    GestureExperiment(
        name="sta-res-tcn",
        about="the same times a branch of spatio-temporal attention",
        recogniser=RecogniserConfig("sta_res_tcn", dropout=0.3),
    ),
    GestureExperiment(
        name="st-gcn",
        about="graph convolutions over the hand, convolutions in time",
        recogniser=RecogniserConfig("st_gcn", dropout=0.3),
    ),
    GestureExperiment(
        name="st-ts-hgr-net",
        about="Gaussians of fingers and sub-sequences as SPD matrices",
        augment=_NO_SHIFT,
        recogniser=RecogniserConfig("st_ts_hgr_net"),
        optim=GestureOptimConfig(steps=2000, check_every=100),
    ),
    GestureExperiment(
        name="hpev",
        about="3-D convolutions over a volume of postures, 2-D ones over movements; for a GPU",
        recogniser=RecogniserConfig("hpev"),
        optim=GestureOptimConfig(learning_rate=3e-4, batch=40),
    ),
    GestureExperiment(
        name="pointlstm",
        about="points of the depth images themselves, neighbours in the frame before; for a GPU",
        augment=GestureAugmentConfig(shift_mm=0.0, noise_mm=0.0),
        recogniser=RecogniserConfig("pointlstm"),
        optim=GestureOptimConfig(batch=8, steps=10_000, check_every=500),
    ),
    GestureExperiment(
        name="smoke",
        about="DG-STA for a few steps, for the tests",
        data=GestureDataConfig(validation_subjects=1),
        optim=GestureOptimConfig(steps=4, batch=4, warmup=1, log_every=2, check_every=2),
    ),
)

EXPERIMENTS: dict[str, GestureExperiment] = {experiment.name: experiment for experiment in _ALL}
"""The named experiments: the first word after `python train_gesture.py`."""

DEFAULT = "dg-sta"
"""The experiment that `python train_gesture.py` runs: edit this line to choose another."""
