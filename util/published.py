"""Names and shapes of published checkpoints' tensors, and what they are called here.

The network's names become those of `model.network.DualBranchNetwork`; the image-translation generator's are used as
they are (`model.transfer.Generator`).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from config import NetworkConfig

Shapes = dict[str, tuple[int, ...]]
"""Shapes of a state dict's tensors by name."""

BLOCKS: dict[str, tuple[bool, tuple[int, int, int, int]]] = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
    "resnet152": (True, (3, 8, 36, 3)),
}
"""Whether the blocks are bottlenecks, and how many each layer has, by backbone."""

PARAMETERS, OFFSETS, CLOSENESS = 62, 63, 21
"""Outputs of the model branch; channels of the two kinds of maps."""

PUBLISHED_LAYER = re.compile(r"layer([1-4])(_s2)?\.(\d+)\.(.+)")
OUR_LAYER = re.compile(r"encoder\.layers\.([0-3])\.(\d+)\.(.+)")
OUR_DECODER = re.compile(r"pixel\.decoder\.(\d+)\.(.+)")
OUR_HEADS = {"pixel.offsets": "finals.0", "pixel.closeness": "finals.1", "head.linear": "mano_regress.2"}
PUBLISHED_HEADS = {published: ours for ours, published in OUR_HEADS.items()}
DECODER = ("deconv_layer4", "deconv_layer3", "deconv_layer2")
"""The published names of the transposed convolutions, first one first; each has three modules."""


class GeneratorSize(NamedTuple):
    """What the tensors of an image-translation generator leave open."""

    filters: int = 64
    """Channels at full resolution."""
    blocks: int = 9
    """Residual blocks."""
    correcting: bool = False
    """Whether it is a `CorrectingGenerator`, of which nobody published weights."""


def our_name(published: str) -> str:
    """The name, in `DualBranchNetwork`'s state dict, of a published tensor.

    published: for example "layer2_s2.0.bn1.weight" or "finals.1.bias". Raises KeyError for a name that no published
    network has.
    """
    head, _, rest = published.partition(".")
    if head == "pre":
        return f"stem.{rest}"
    if head == "fusion":
        return published
    stage = 1 if head.endswith("_s2") else 0
    bare = head.removesuffix("_s2")
    if match := PUBLISHED_LAYER.fullmatch(published):
        level, _, block, tail = match.groups()
        return f"stages.{stage}.encoder.layers.{int(level) - 1}.{block}.{tail}"
    index, _, tail = rest.partition(".")
    if bare in DECODER and index in ("0", "1"):
        return f"stages.{stage}.pixel.decoder.{3 * DECODER.index(bare) + int(index)}.{tail}"
    if ours := PUBLISHED_HEADS.get(f"{bare}.{index}"):
        return f"stages.{stage}.{ours}.{tail}"
    raise KeyError(f"{published} is no tensor of a published network")


def published_name(ours: str) -> str:
    """The published name of a tensor in `DualBranchNetwork`'s state dict; raises KeyError where there is none."""
    head, _, rest = ours.partition(".")
    if head == "stem":
        return f"pre.{rest}"
    if head == "fusion":
        return ours
    stage, _, inner = rest.partition(".")
    if head == "stages" and stage in ("0", "1"):
        second = "_s2" if stage == "1" else ""
        if match := OUR_LAYER.fullmatch(inner):
            level, block, tail = match.groups()
            return f"layer{int(level) + 1}{second}.{block}.{tail}"
        if (match := OUR_DECODER.fullmatch(inner)) and int(match[1]) // 3 < len(DECODER):
            index, tail = divmod(int(match[1]), 3), match[2]
            return f"{DECODER[index[0]]}{second}.{index[1]}.{tail}"
        module, _, tail = inner.rpartition(".")
        if published := OUR_HEADS.get(module):
            name, _, index = published.partition(".")
            return f"{name}{second}.{index}.{tail}"
    raise KeyError(f"{ours} is no tensor of a published network")


def network_shapes(config: NetworkConfig) -> Shapes:
    """Published names, in the published order, and shapes of a network with the linear head."""
    shapes = dict(_normalised("pre.0", "pre.1", (config.widths[0], 1, 5, 5)))
    shapes |= _stage_shapes(config, "", config.widths[0], config.widths)
    if config.stages == 2:
        seen = config.widths[0] + config.decoder_widths[-1] + 2 * (OFFSETS + CLOSENESS)
        kernel = config.fusion_kernel
        shapes["fusion.0.weight"] = (config.fusion_width, seen, kernel, kernel)
        shapes["fusion.0.bias"] = (config.fusion_width,)
        shapes |= _norm("fusion.1", config.fusion_width)
        shapes |= _stage_shapes(config, "_s2", config.fusion_width, config.second_widths)
    return shapes


def generator_shapes(size: GeneratorSize) -> Shapes:
    """Names, in order, and shapes of an image-translation generator."""
    f, last = size.filters, 10 + size.blocks
    weights = {1: (f, 1, 7, 7), 4: (2 * f, f, 3, 3), 7: (4 * f, 2 * f, 3, 3)}
    layers = {f"model.{index}": (shape, shape[0]) for index, shape in weights.items()}
    for block in range(10, last):
        for index in (1, 5):
            layers[f"model.{block}.conv_block.{index}"] = ((4 * f, 4 * f, 3, 3), 4 * f)
    # Transposed convolutions have their outputs in the second place.
    layers[f"model.{last}"] = ((4 * f, 2 * f, 3, 3), 2 * f)
    layers[f"model.{last + 3}"] = ((2 * f, f, 3, 3), f)
    layers[f"model.{last + 7}"] = ((1, f, 7, 7), 1)
    shapes: Shapes = {}
    for name, (weight, out) in layers.items():
        shapes |= {f"{name}.weight": weight, f"{name}.bias": (out,)}
    return shapes


def _stage_shapes(config: NetworkConfig, second: str, channels: int, widths: tuple[int, ...]) -> Shapes:
    """One stage; second: what its names carry, channels: what it sees."""
    bottleneck, counts = BLOCKS[config.backbone]
    shapes: Shapes = {}
    for level, (count, width) in enumerate(zip(counts, widths, strict=True), 1):
        for block in range(count):
            shapes |= _block_shapes(
                f"layer{level}{second}.{block}", channels, width, bottleneck, block == 0 and level > 1
            )
            channels = 4 * width if bottleneck else width
    shapes[f"mano_regress{second}.2.weight"] = (PARAMETERS, channels)
    shapes[f"mano_regress{second}.2.bias"] = (PARAMETERS,)
    for name, width in zip(DECODER, config.decoder_widths, strict=True):
        # Again a transposed convolution: (in, out, 4, 4).
        shapes[f"{name}{second}.0.weight"] = (channels, width, 4, 4)
        shapes |= _norm(f"{name}{second}.1", width)
        channels = width
    for index, out in enumerate((OFFSETS, CLOSENESS)):
        shapes[f"finals{second}.{index}.weight"] = (out, channels, 1, 1)
        shapes[f"finals{second}.{index}.bias"] = (out,)
    return shapes


def _block_shapes(name: str, channels: int, width: int, bottleneck: bool, strided: bool) -> Shapes:
    out = 4 * width if bottleneck else width
    weights = [(width, channels, 3, 3), (width, width, 3, 3)]
    if bottleneck:
        weights = [(width, channels, 1, 1), (width, width, 3, 3), (out, width, 1, 1)]
    shapes: Shapes = {}
    for k, weight in enumerate(weights, 1):
        shapes |= _normalised(f"{name}.conv{k}", f"{name}.bn{k}", weight)
    if strided or channels != out:
        shapes |= _normalised(f"{name}.downsample.0", f"{name}.downsample.1", (out, channels, 1, 1))
    return shapes


def _normalised(convolution: str, norm: str, weight: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{convolution}.weight", weight
    yield from _norm(norm, weight[0])


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (width,)
    yield f"{name}.num_batches_tracked", ()
