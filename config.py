"""Every setting of the project: frozen dataclasses, one dict of named experiments, and one line to choose the default.

`python train_render.py` runs DEFAULT; `python train_render.py NAME --optim.steps 500` runs another one with overrides.
This module imports nothing of the project but its other parts, config_*.py, so that every room can import it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from config_benchmark import (
    BenchmarkConfig as BenchmarkConfig,
    DarkConfig as DarkConfig,
    OpticsConfig as OpticsConfig,
)
from config_data import (
    DATA_SET_TITLES as DATA_SET_TITLES,
    AugmentConfig as AugmentConfig,
    DataConfig as DataConfig,
    DataSetName as DataSetName,
    IcvlConfig as IcvlConfig,
    NyuConfig as NyuConfig,
    ShrecConfig as ShrecConfig,
)
from config_losses import (
    FittedConfig as FittedConfig,
    SupervisedConfig as SupervisedConfig,
    UnlabelledConfig as UnlabelledConfig,
)
from config_optim import OptimConfig as OptimConfig
from config_rendered import (
    DemoConfig as DemoConfig,
    ForearmConfig as ForearmConfig,
    OccluderConfig as OccluderConfig,
    RenderedConfig as RenderedConfig,
    SamplerConfig as SamplerConfig,
    SensorConfig as SensorConfig,
    StructuredLightConfig as StructuredLightConfig,
)
from config_transfer import TransferConfig as TransferConfig

WEIGHTS = Path(__file__).resolve().parent / "model" / "weights"
"""Checkpoints that come with the project."""


@dataclass(frozen=True)
class NetworkConfig:
    """Backbone, branches and stages (model/)."""

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet18"
    """Residual encoder of both stages."""
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    """Channels of the encoder's four layers; the stem has those of the first. Published: 64, 128, 256, 512."""
    second_widths: tuple[int, int, int, int] = (32, 48, 96, 128)
    """The same for the second stage. Published: as the first."""
    stem_stride: Literal[1, 2] = 2
    """Stride of the first convolution: 2 gives 32x32 maps of a 128x128 crop, 1 the published 64x64."""
    decoder_widths: tuple[int, int, int] = (128, 96, 64)
    """Channels of the three transposed convolutions. Published: 256 each."""
    stages: Literal[1, 2] = 2
    """Whether a second stage refines the first."""
    fusion_width: int = 64
    """Channels after what the second stage sees is put together. Published: 256."""
    fusion_kernel: Literal[1, 3] = 1
    """Kernel of that convolution. Published: 3."""
    model_head: Literal["linear", "joints"] = "joints"
    """linear: off pooled features, as published. joints: also sees the pixel branch's joints, and has a 6D rotation."""
    head_width: int = 256
    """Hidden units of the joints head."""
    foreground_softmax: bool = True
    """Read joints off foreground cells only; published checkpoints need False."""
    unit_mm: float | None = None
    """Length that hand parameters call 1: None for half the cube of each crop, 125 for published checkpoints."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Autocast of convolutions; geometry and losses are float32 always."""


COMPACT = NetworkConfig()
"""For CPUs."""
FULL = NetworkConfig(
    widths=(64, 128, 256, 512),
    second_widths=(64, 128, 256, 512),
    stem_stride=1,
    decoder_widths=(256, 256, 256),
    fusion_width=256,
    fusion_kernel=3,
    model_head="linear",
    foreground_softmax=False,
    unit_mm=125.0,
)
"""The published network, for published checkpoints and GPUs."""


@dataclass(frozen=True)
class LooksConfig:
    """A network that tells right hands from left ones, or hands from other things (model/looks.py)."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the residual layers; the stem has those of the first."""
    squeezed: int = 32
    """Channels of what is looked at place by place."""
    hidden: int = 128
    """Hidden units before the answer."""
    dropout: float = 0.2
    """Share of them that is left out in training."""


@dataclass(frozen=True)
class Experiment:
    """One run: what is done, on which data, with which network."""

    name: str = "demo"
    """Its name, which also names the default run folder."""
    about: str = ""
    """What it is for, in a few words; `--help` shows them."""
    seed: int = 0
    """Seed of every random draw of the run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; auto takes a GPU where there is one."""
    processes: int = 1
    """Processes of this machine that share the work, each with a GPU of its own; under torchrun, its number counts."""
    phase: Literal["pretrain", "transfer", "train", "test"] = "train"
    """What the run does."""
    network: NetworkConfig = COMPACT
    """The network."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """Hands drawn."""
    sensor: SensorConfig = field(default_factory=SensorConfig)
    """Noise of the rendered images."""
    rendered: RenderedConfig = field(default_factory=RenderedConfig)
    """Placement of rendered hands."""
    demo: DemoConfig = field(default_factory=DemoConfig)
    """The simulated sensor."""
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    """The benchmark's simulated sensor."""
    data: DataConfig = field(default_factory=DataConfig)
    """Frames to learn from and to test on."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of those frames."""
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    """Losses on rendered hands."""
    unlabelled: UnlabelledConfig = field(default_factory=UnlabelledConfig)
    """Losses on real crops."""
    fitted: FittedConfig = field(default_factory=FittedConfig)
    """Hands fitted to real crops."""
    source: Literal["real", "rendered", "labelled", "fitted"] = "real"
    """What the phase train learns from: real crops without labels beside rendered ones; as many rendered ones instead
    (the control); the real crops with their labels (full supervision); or with hands that were fitted to them, beside
    rendered ones."""
    transfer: TransferConfig = field(default_factory=TransferConfig)
    """Image translation."""
    transfer_net: Path | None = None
    """Generator that makes rendered crops look real before pre-training and self-supervision learn from them."""
    hand: Path | None = None
    """Hand model file; unset = the open hand."""
    start: Path | None = None
    """Weights to start from when --load-model gives none."""
    first: OptimConfig | None = None
    """Pre-training that the phase train does first when there are no weights to start from."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimisation."""
    pictured: int = 12
    """Test frames in the run folder's pictures; they are spread over all."""


_SMOKE_OPTIM = OptimConfig(
    steps=4, batch=4, real_batch=4, warmup=2, log_every=2, check_every=2, check_frames=8, final_frames=8
)
_SMOKE_NETWORK = NetworkConfig(
    widths=(8, 8, 16, 16), second_widths=(8, 8, 8, 8), decoder_widths=(16, 16, 16), fusion_width=16, head_width=32
)
_REAL_OPTIM = OptimConfig(
    steps=1000, batch=16, real_batch=32, learning_rate=8e-4, warmup=100, average=0.99, check_every=200
)
_TRANSFER_OPTIM = OptimConfig(steps=1500, batch=8, real_batch=8, log_every=50, check_every=250)

_ALL = (
    Experiment(
        name="demo",
        about="a short self-supervision on simulated frames with known truth, before and after",
        start=WEIGHTS / "compact.safetensors",
        optim=OptimConfig(
            steps=250,
            batch=16,
            learning_rate=2e-4,
            warmup=50,
            average=0.98,
            log_every=25,
            check_every=125,
            check_frames=64,
            final_frames=512,
        ),
    ),
    Experiment(
        name="smoke",
        about="every phase on tiny settings, for the tests",
        network=_SMOKE_NETWORK,
        demo=DemoConfig(train_frames=24, test_frames=8),
        transfer=TransferConfig(
            filters=4, blocks=1, discriminator_filters=4, reader=WEIGHTS / "compact.safetensors", truth_frames=8
        ),
        benchmark=BenchmarkConfig(train_frames=24, test_frames=8),
        augment=AugmentConfig(discs=2),
        unlabelled=UnlabelledConfig(points=128, teacher_pixel=1.0, teacher_surface=1.0),
        first=_SMOKE_OPTIM,
        optim=_SMOKE_OPTIM,
    ),
    Experiment(
        name="pretrain-compact",
        about="the compact network on rendered hands",
        phase="pretrain",
        optim=OptimConfig(
            steps=9500, batch=128, warmup=300, check_frames=128, final_frames=512, first_stage_steps=3000
        ),
    ),
    Experiment(
        name="pretrain-sensor",
        about="the compact network for real sensors: every shape and posture that is drawn, many more hands; for a GPU",
        phase="pretrain",
        sampler=SamplerConfig(paths="all", shapes="all"),
        data=DataConfig(name="frames"),
        optim=OptimConfig(
            steps=8500,
            batch=256,
            warmup=300,
            check_every=1000,
            check_frames=256,
            first_stage_steps=2500,
            draw="device",
        ),
    ),
    Experiment(
        name="transfer-demo",
        about="image translation from rendered hands to the demo's frames",
        phase="transfer",
        transfer=TransferConfig(reader=WEIGHTS / "compact.safetensors"),
        optim=_TRANSFER_OPTIM,
    ),
    Experiment(
        name="transfer",
        about="image translation from rendered hands to real frames; needs --data.name and --data.root",
        phase="transfer",
        transfer=TransferConfig(reader=WEIGHTS / "compact.safetensors"),
        data=DataConfig(name="frames"),
        optim=_TRANSFER_OPTIM,
    ),
    Experiment(
        name="shrec-control",
        about="as many steps on rendered hands alone, to compare with; needs --data.root",
        data=DataConfig(name="shrec"),
        start=WEIGHTS / "compact.safetensors",
        source="rendered",
        optim=_REAL_OPTIM,
    ),
)

_CLEAN = RenderedConfig(
    noise=False,
    occluders=OccluderConfig(spheres_chance=0.0, box_chance=0.0, object_chance=0.0),
)
_LADDER = Experiment(name="ladder-pretrain", data=DataConfig(name="benchmark"), rendered=_CLEAN)
_ALL += (
    replace(
        _LADDER,
        about="the compact network on the benchmark's source: rendered hands without noise and occluders",
        phase="pretrain",
        optim=OptimConfig(steps=4000, first_stage_steps=1400, check_every=500, check_frames=128),
    ),
    replace(
        _LADDER,
        name="ladder-adapt",
        about="goes on with ladder-pretrain, on its source as it is or, with --transfer-net, translated",
        phase="pretrain",
        optim=OptimConfig(steps=900, learning_rate=1e-3, warmup=50, average=0.995, check_every=300, check_frames=128),
    ),
    replace(
        _LADDER,
        name="ladder-transfer",
        about="image translation from the benchmark's source to its target frames",
        phase="transfer",
        # its reader knows rendered hands alone, and would take any noise for a moved joint
        transfer=TransferConfig(joints=0.0, features=0.0),
        optim=replace(_TRANSFER_OPTIM, steps=800),
    ),
    replace(
        _LADDER,
        name="ladder-self",
        about="self-supervision on the benchmark's target frames",
        optim=OptimConfig(steps=700, batch=16, learning_rate=4e-4, warmup=100, average=0.99),
    ),
    replace(
        _LADDER,
        name="ladder-fitted",
        about="hands fitted to the benchmark's target frames teach the network",
        source="fitted",
        augment=AugmentConfig(discs=3),
        optim=OptimConfig(steps=700, batch=16, learning_rate=6e-4, warmup=100, average=0.99),
    ),
    replace(
        _LADDER,
        name="ladder-supervised",
        about="full supervision on the benchmark's target frames, images as many as the source's pre-training saw",
        source="labelled",
        optim=OptimConfig(steps=5200, check_every=650),
    ),
)


def _train(name: DataSetName, title: str) -> Experiment:
    """Self-supervision of the compact network on a data set's frames."""
    about = f"self-supervision on {title}; needs --data.root"
    start = WEIGHTS / "sensor.safetensors"
    return Experiment(name=f"{name}-train", about=about, data=DataConfig(name=name), start=start, optim=_REAL_OPTIM)


_PUBLISHED_LOSSES = UnlabelledConfig(
    model_to_data=0.1,
    common_depth=0.0,
    silhouette=0.0,
    data_to_model=1.0,
    parts=1.0,
    collision=1.0,
    pixel_to_model=100.0,
    model_to_pixel=100.0,
    pixel_outside=0.0,
    pose_prior=0.0,
    shape_prior=0.0,
    teach_pixel=100.0,
    teach_model=100.0,
    teach_vertices=100.0,
    robust=False,
    points=2048,
    fit_iou=0.0,
    fit_outside=1.0,
    teach_empty_parts=True,
    looseness=1.0,
    ramp=1,
)


def _published(
    name: DataSetName, title: str, cube_mm: float, range_mm: tuple[float, float], epoch: int, epochs: int, decay: int
) -> Experiment:
    """The published settings. epoch: steps in one; epochs: how many there are; decay: epochs to a decay of the rate."""
    optim = OptimConfig(learning_rate=1e-3, schedule="step", average=0.0)
    return Experiment(
        name=f"{name}-published",
        about=f"the published network, losses and schedule on {title}; for a GPU; needs --data.root",
        network=FULL,
        rendered=RenderedConfig(cube_mm=cube_mm, range_mm=range_mm),
        data=DataConfig(name=name),
        supervised=SupervisedConfig(maps=1.0, rotations=0.0, shape=1000.0),
        unlabelled=_PUBLISHED_LOSSES,
        transfer=TransferConfig(
            generator="residual",
            filters=64,
            blocks=9,
            discriminator_filters=64,
            discriminator_layers=3,
            detail=0.0,
            spectral=False,
            matching=0.0,
            learning_rate=2e-4,
            discriminator_rate=1.0,
            average=0.0,
        ),
        first=replace(optim, steps=100_000, decay_every=40_000),
        optim=replace(optim, steps=epochs * epoch, decay_every=decay * epoch),
    )


_ALL += tuple(_train(name, title) for name, title in DATA_SET_TITLES.items())
_ALL += (
    _published("nyu", "NYU", 250.0, (500.0, 1200.0), 72_757 // 32, 15, 10),
    _published("icvl", "ICVL", 200.0, (150.0, 600.0), 22_000 // 32, 8, 4),
    _published("msra", "MSRA", 200.0, (150.0, 600.0), 67_892 // 32, 10, 5),
)

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in _ALL}
"""The named experiments: the first word after `python train_render.py`."""

DEFAULT = "demo"
"""The experiment that `python train_render.py` runs: edit this line to choose another."""
