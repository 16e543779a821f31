"""The part of config.py about image translation: networks, losses, and what a translation must keep."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TransferConfig:
    """Image translation between rendered and real appearance (Consis-CycleGAN); a weight of 0 leaves a term out."""

    filters: int = 16
    """Channels of a generator at full resolution. Published: 64."""
    blocks: int = 4
    """Residual blocks of a generator. Published: 9."""
    discriminator_filters: int = 24
    """Channels of a discriminator's first layer. Published: 64."""
    clean: bool = True
    """Whether the rendered crops that are translated, here and under transfer_net, are without simulated noise."""
    augment: bool = True
    """Whether real crops are augmented: turned, shifted and resized as rendered hands are."""
    anchored: bool = True
    """Whether a translation's mean depth is put back to its source's: instance normalisation forgets it."""
    learning_rate: float = 2e-4
    """Learning rate of Adam."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decays of Adam's two averages."""
    constant_share: float = 0.5
    """Share of the steps before the learning rate starts to fall, linearly, to 0."""
    pool: int = 50
    """Earlier translations of each direction that a discriminator may be shown again."""
    average: float = 0.99
    """Decay of the moving average of the rendered-to-real generator's weights that is saved; published 0."""
    adversarial: float = 1.0
    """Weight: translations that the discriminators take for genuine (least squares)."""
    ramp: int = 200
    """Steps over which that term comes in: first generators learn to keep a hand, then to make it look real."""
    cycle: float = 10.0
    """Weight: there and back gives the crop again."""
    identity: float = 0.0
    """Weight: a crop that has the wanted appearance already stays as it is."""
    silhouette: float = 10.0
    """Weight: the hand's region stays, up to the flicker of its edge."""
    depth: float = 10.0
    """Weight: the hand's depth stays within the noise band."""
    joints: float = 10.0
    """Weight: the reader's pixel branch reads the same joints."""
    features: float = 0.5
    """Weight: the reader's features stay."""
    reverse: float = 0.5
    """Factor on these four for real crops made to look rendered."""
    reader: Path | None = None
    """Weights of the hand pose network that reads joints and features; it is not trained."""
    judge: Path | None = None
    """Weights of a network that only measures how far joints move; unset = the reader."""
    flicker_px: int = 3
    """How far a depth edge may wander, crop samples; holes up to twice as wide may open."""
    band_mm: float = 5.0
    """How far a depth reading may move at a range of 500 mm; grows with the squared range."""
    truth_frames: int = 256
    """Rendered hands on which it is measured whether labels stay true."""
