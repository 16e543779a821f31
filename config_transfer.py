"""The part of config.py about image translation: networks, losses, and what a translation must keep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TransferConfig:
    """Image translation between rendered and real appearance (Consis-CycleGAN); a weight of 0 leaves a term out."""

    generator: Literal["correcting", "residual"] = "correcting"
    """correcting: its source plus a correction (model/correcting.py); residual: drawn anew, as published."""
    filters: int = 12
    """Channels of a generator at full resolution. Published: 64."""
    blocks: int = 3
    """Residual blocks of a generator. Published: 9."""
    discriminator_filters: int = 24
    """Channels of a discriminator's first layer. Published: 64."""
    discriminator_layers: int = 2
    """Its layers that halve the resolution: 3 judge patches of 70 samples, as published, 2 of 34."""
    detail: float = 16.0
    """Gain at which a discriminator is also shown what the mean of 3x3 samples leaves over; 0 = not. Published 0."""
    spectral: bool = True
    """Spectral normalisation of discriminators instead of instance normalisation. Published: False."""
    clean: bool = True
    """Whether the rendered crops that are translated, here and under transfer_net, are without simulated noise."""
    augment: bool = True
    """Whether real crops are augmented: turned, shifted and resized as rendered hands are."""
    anchored: bool = True
    """Whether a translation's mean depth is put back to its source's: the residual one's normalisation forgets it."""
    learning_rate: float = 8e-4
    """Learning rate of Adam. Published: 2e-4."""
    discriminator_rate: float = 0.5
    """Factor on that of the discriminators, who learn faster. Published 1."""
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
    matching: float = 1.0
    """Weight: translations in which a discriminator finds the same on average as in genuine crops. Published 0."""
    ramp: int = 1
    """Steps over which that term comes in; a residual generator first has to learn to keep a hand."""
    cycle: float = 2.0
    """Weight: there and back gives the crop again. Published 10."""
    cycle_real: float = 0.1
    """Factor on that for real crops: their noise cannot be given back, and asking for it teaches to add none.
    Published 1."""
    identity: float = 0.0
    """Weight: a crop that has the wanted appearance already stays as it is."""
    silhouette: float = 10.0
    """Weight: the hand's region stays, up to the flicker of its edge."""
    depth: float = 10.0
    """Weight: the hand's depth stays within the noise band, and its mean where it is."""
    joints: float = 1.0
    """Weight: the reader's pixel branch reads the same joints."""
    features: float = 0.1
    """Weight: the reader's features stay."""
    reverse: float = 0.5
    """Factor on silhouette and depth for real crops made to look rendered."""
    reader: Path | None = None
    """Weights of the hand pose network that reads joints and features; it is not trained."""
    judge: Path | None = None
    """Weights of a network that only measures how far joints move; unset = the reader."""
    flicker_px: int = 4
    """How far a depth edge may wander, crop samples; holes up to twice as wide may open."""
    band_mm: float = 5.0
    """How far a depth reading may move at a range of 500 mm; grows with the squared range."""
    truth_frames: int = 256
    """Rendered hands on which it is measured whether labels stay true."""
