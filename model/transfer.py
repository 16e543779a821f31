"""Image translation between rendered and real appearance: the crop that comes of a generator's answer.

Two things an answer may lack are put right by `translate`, for published generators too. Background is exactly 1 in a
crop, and tanh never gets there: what comes out at 0.95 or above, in the last fortieth of the cube, is background. And
instance normalisation forgets how deep a hand lies: a crop I and another one, 1 - a (1 - I), which is I with the hand
pushed towards the cube's back, look the same after the first layer. That single factor is taken from the source again
(`anchored_to`).
"""

from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dataloader.crop import FOREGROUND_BELOW
from model.correcting import CorrectingGenerator
from model.generator import Generator, ResidualGenerator
from util.checkpoint import check_fits, fill_module, read_generator
from util.published import GeneratorSize

BACKGROUND = 0.95
"""From here on a generator's answer means that nothing is there: tanh gets to 0.99 late, and hardly moves there."""


def new_generator(size: GeneratorSize) -> Generator:
    """A generator of this kind and size, drawn anew."""
    return (CorrectingGenerator if size.correcting else ResidualGenerator)(size.filters, size.blocks)


def translate(
    generator: Generator, depth: Float[Tensor, "b 1 s s"], anchored: bool = True, bf16: bool = False
) -> Float[Tensor, "b 1 s s"]:
    """Crops in the other appearance: in [-1, 1], background exactly 1; gradients pass as if nothing was set to 1.

    Args:
        generator: in channels_last it is several times as fast on a CPU.
        depth: crops whose side is a multiple of 4.
        anchored: put the mean depth back to the source's, where the generator forgets it.
        bf16: autocast of convolutions.
    """
    answer = generator(depth.contiguous(memory_format=torch.channels_last), bf16)
    if anchored and not generator.size.correcting:
        answer = anchored_to(depth, answer)
    with torch.no_grad():
        finished = torch.where(answer < BACKGROUND, answer.clamp_min(-1.0), 1.0)
    return answer + (finished - answer).detach()


def anchored_to(source: Float[Tensor, "b 1 s s"], answer: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
    """An answer whose distance from the cube's back is, on average over what both show, the source's.

    The factor is between 1/2 and 2; it is 1 where the two show nothing in common.
    """
    common = (source < FOREGROUND_BELOW) & (answer < BACKGROUND)
    wanted, found = (((1 - depth) * common).sum((1, 2, 3), keepdim=True) for depth in (source, answer))
    factor = torch.where(found > 0, wanted / found.clamp_min(1e-6), 1.0).clamp(0.5, 2.0)
    return 1 - factor * (1 - answer)


def load_generator(path: Path) -> Generator:
    """The generator in a published file or in one of ours, on the CPU, ready for use.

    Raises UserError when the file is absent, damaged, or holds anything else.
    """
    checkpoint = read_generator(path)
    build = partial(new_generator, checkpoint.generator or GeneratorSize())
    check_fits(build, checkpoint.state, path)
    generator = build()
    fill_module(generator, checkpoint.state, path)
    return generator.eval()
