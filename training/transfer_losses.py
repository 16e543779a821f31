"""Loss terms of image translation: two games against discriminators, the way back, and what must stay as it is.

What may change is what a depth sensor changes. Its reading belongs to a place up to a few samples beside its ray: edges
wander, and on a slope this moves the depth as well. At a depth edge it may read anything between the two surfaces
(flying pixels) or nothing at all, and small holes open anywhere. Along the ray it errs by a few millimetres, more with
the squared range. So, with the flicker f and the noise band of TransferConfig, a reading on the hand may lie between
the nearest and the farthest source reading within f samples, the band added on either side; background counts as a
reading at the cube's back, so rims may go and a rim of flying pixels may come. Within f of every sample of the hand
something must be left that is no deeper than the hand, and beyond f of the source's foreground nothing new may appear.

All this holds for the hand alone: readings inside the box of its joints, or their window in the image for what may not
appear. Outside it labels say nothing, so forearms may grow or be cut, and whatever else stands in the view may change;
the discriminators and the way back see to that it stays plausible.

Lengths are in half cubes; each term is a mean over the batch, unweighted, and 0 where nothing changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from config import TransferConfig
from dataloader.crop import FOREGROUND_BELOW, HandCrop
from dataloader.points import BOX_MARGIN_MM, box_cut
from training.branches import masked_mean
from training.reader import Reading
from util import draws
from util.draws import Draws
from util.processes import joined, rank

REFERENCE_MM = 500.0
"""Range at which the noise band holds."""


@dataclass(frozen=True)
class Kept:
    """What the translation of a batch of crops has to keep."""

    depth: Float[Tensor, "b 1 s s"]
    """The source."""
    hand: Bool[Tensor, "b 1 s s"]
    """Samples on the hand."""
    empty: Bool[Tensor, "b 1 s s"]
    """Samples around the hand where nothing may appear."""
    nearest: Float[Tensor, "b 1 s s"]
    """The least depth a reading may have."""
    farthest: Float[Tensor, "b 1 s s"]
    """The largest."""
    band: Float[Tensor, "b 1 1 1"]
    """Noise along the ray."""
    window: int
    """Side of the square of samples that a reading may come from."""

    @staticmethod
    @torch.no_grad()
    def of(crop: HandCrop, joints_uvd: Float[Tensor, "b j 3"] | None, config: TransferConfig) -> "Kept":
        """joints_uvd: of the hand, labelled or read; without them all that stands in the crop is the hand."""
        depth, window = crop.depth, 2 * config.flicker_px + 1
        near, far = _least(depth, window), -_least(-depth, window)
        half_mm, range_mm = (value[:, 2, None, None, None] for value in (crop.cube_mm / 2, crop.centre_mm))
        band = config.band_mm * (range_mm / REFERENCE_MM).square() / half_mm
        empty = near >= FOREGROUND_BELOW
        hand = crop.foreground
        if joints_uvd is not None:
            hand = box_cut(crop, crop.xyz_from_uvd(joints_uvd))
            empty = empty & _window_of(crop, joints_uvd)
        return Kept(depth, hand, empty, near - band, far + band, band, window)


def silhouette(kept: Kept, translated: Float[Tensor, "b 1 s s"]) -> Float[Tensor, ""]:
    """What vanished of the hand, and what appeared beside it, beyond the flicker; per sample of the hand."""
    vanished = (_least(translated, kept.window) - kept.depth - kept.band).clamp_min(0)
    appeared = (FOREGROUND_BELOW - translated).clamp_min(0)
    wrong = torch.where(kept.hand, vanished, 0.0) + torch.where(kept.empty, appeared, 0.0)
    return (wrong.flatten(1).sum(1) / kept.hand.flatten(1).sum(1).clamp_min(1)).mean()


def depth(kept: Kept, translated: Float[Tensor, "b 1 s s"]) -> Float[Tensor, ""]:
    """How far readings on the hand lie outside what noise allows, and their mean outside a fifth of the noise band.

    The mean is that of readings on the same surface as the source's, those within twice the band. Missing ones are the
    silhouette's business.
    """
    reads = kept.hand & (translated.detach() < FOREGROUND_BELOW)
    outside = (kept.nearest - translated).clamp_min(0) + (translated - kept.farthest).clamp_min(0)
    change = translated - kept.depth
    bias = masked_mean(change, reads & (change.detach().abs() < 2 * kept.band)).abs()
    return (masked_mean(outside, reads) + (bias - kept.band.flatten() / 5).clamp_min(0)).mean()


def joints(source: Reading, translated: Reading) -> Float[Tensor, ""]:
    """Mean distance along an axis between joints read off both images."""
    return (translated.joints_uvd - source.joints_uvd.detach()).abs().mean()


def features(source: Reading, translated: Reading, size: Float[Tensor, ""] | None = None) -> Float[Tensor, ""]:
    """Mean change of the features as a share of their mean size. size: that in all parts of the batch."""
    wanted = source.features.detach()
    return (translated.features - wanted).abs().mean() / feature_size(source, size).clamp_min(1e-6)


def feature_size(source: Reading, size: Float[Tensor, ""] | None = None) -> Float[Tensor, ""]:
    """Mean size of the features, if it is not known."""
    return source.features.detach().abs().mean() if size is None else size


def genuine(verdicts: Float[Tensor, "b 1 p p"]) -> Float[Tensor, ""]:
    """Least squares distance of verdicts from 1: what a generator wants of its translations."""
    return (verdicts - 1).square().mean()


def matching(real: Sequence[Tensor], made: Sequence[Tensor]) -> Float[Tensor, ""]:
    """How far a discriminator's activations differ on average, and in their spread, between genuine crops and others.

    A mean over layers and channels, each as a share of the layer's spread on genuine crops (feature matching: Salimans
    et al., NIPS 2016). real, made: (b, c, h, w) of each layer; nothing is learned of `real`.
    """
    terms: list[Tensor] = []
    for wanted, found in zip(real, made, strict=True):
        (mean, spread), (its_mean, its_spread) = (
            (x.float().mean((0, 2, 3)), x.float().var((0, 2, 3)).add(1e-8).sqrt()) for x in (wanted.detach(), found)
        )
        scale = spread.mean()
        terms.append(((its_mean - mean).abs() + (its_spread - spread).abs()).mean() / scale)
    return torch.stack(terms).mean()


def told_apart(real: Float[Tensor, "b 1 p p"], made: Float[Tensor, "c 1 p p"]) -> Float[Tensor, ""]:
    """A discriminator's loss: 1 for genuine crops, 0 for translations."""
    return 0.5 * ((real - 1).square().mean() + made.square().mean())


class ImagePool:
    """Earlier translations: a discriminator sees each new one or, every second time, one from the pool instead."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, images: Float[Tensor, "b 1 s s"], generator: Draws) -> Float[Tensor, "b 1 s s"]:
        """Images to judge in place of these. generator: CPU.

        All processes have the same pool: the images of all pass it, one part after another.
        """
        if self.size == 0:
            return images.detach()
        b = len(images)
        chances, places = draws.rand(generator, b), draws.randint(generator, 0, self.size, b)
        everywhere = [torch.cat(joined(own)) for own in (images.detach(), chances.to(images), places.to(images.device))]
        shown: list[Tensor] = []
        for image, old, place in zip(everywhere[0], everywhere[1].tolist(), everywhere[2].tolist(), strict=True):
            if len(self.images) < self.size:
                self.images.append(image.clone())
                shown.append(image)
            elif old < 0.5:
                shown.append(self.images[place])
                self.images[place] = image.clone()
            else:
                shown.append(image)
        return torch.stack(shown[b * rank() : b * (rank() + 1)])

    def state(self) -> list[Tensor]:
        """What a checkpoint keeps."""
        return list(self.images)

    def load(self, images: Iterable[Tensor], device: torch.device) -> None:
        """Go on with a pool that was kept."""
        self.images = [image.to(device) for image in images]


def _least(depth: Float[Tensor, "b 1 s s"], window: int) -> Float[Tensor, "b 1 s s"]:
    """The least depth in a square around each sample."""
    return -F.max_pool2d(-depth, window, 1, window // 2)


def _window_of(crop: HandCrop, joints_uvd: Float[Tensor, "b j 3"]) -> Bool[Tensor, "b 1 s s"]:
    """Samples inside the upright box of the joints in the image, grown as the box that cuts out the hand is."""
    margin = 2 * crop.cube_mm.new_tensor(BOX_MARGIN_MM[:2]) / crop.cube_mm[:, :2]
    low = joints_uvd[..., :2].amin(1) - margin
    high = joints_uvd[..., :2].amax(1) + margin
    place = torch.arange(crop.size, device=crop.depth.device) / (crop.size / 2) - 1
    across = (place >= low[:, :1]) & (place <= high[:, :1])
    down = (place >= low[:, 1:]) & (place <= high[:, 1:])
    return down[:, None, :, None] & across[:, None, None, :]
