"""What a published state dict is, from its tensors alone, and how it differs from what it should be."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

from config import FULL, NetworkConfig
from util.published import BLOCKS, DECODER, GeneratorSize, our_name

GENERATOR_NAME = re.compile(r"model\.(\d+)\.(conv_block\.\d+\.)?(weight|bias)")
BLOCK_PART = r"\.\d+\.(conv[12]\.weight|bn[12]\.(weight|bias|running_mean|running_var))"
NORM_PART = r"\.1\.(weight|bias|running_mean|running_var)"
NETWORK_ONLY = re.compile(r"(deconv_layer[234]|finals|mano_regress)(_s2)?\..*")
"""Names that no other residual network has."""
NAMES_SHOWN = 10
MOST_BLOCKS, MOST_FILTERS = 64, 4096
"""Of a generator."""


def kind_of(names: Iterable[str]) -> Literal["network", "generator"] | None:
    """Whether these are the tensors of a hand pose network or of an image-translation generator, by most names."""
    names = list(names)
    generator = [name for name in names if GENERATOR_NAME.fullmatch(name)]
    if 2 * len(generator) > len(names) and any(".conv_block." in name for name in generator):
        return "generator"
    if 2 * sum(map(_is_network_name, names)) > len(names) and any(map(NETWORK_ONLY.fullmatch, names)):
        return "network"
    return None


def network_of(shapes: Mapping[str, tuple[int, ...]]) -> NetworkConfig:
    """The settings of the published network that these tensors are of, the one nearest to them where they are damaged.

    What no tensor shows (the stem's stride, the softmax over all cells, the hand unit of 125 mm, the linear head) is
    as in every published network.

    Args:
        shapes: published names and shapes.
    """
    bottleneck = any(re.fullmatch(r"layer\d(_s2)?\.\d+\.conv3\.weight", name) for name in shapes)
    stages = 2 if any("_s2." in name or name.startswith("fusion.") for name in shapes) else 1
    kernel = shapes.get("fusion.0.weight", ())[-1:]
    return replace(
        FULL,
        backbone=_backbone(bottleneck, shapes),
        widths=_widths(shapes, "", FULL.widths),
        second_widths=_widths(shapes, "_s2", FULL.second_widths),
        decoder_widths=tuple(
            _usual(shapes, rf"{name}(_s2)?{NORM_PART}", width)
            for name, width in zip(DECODER, FULL.decoder_widths, strict=True)
        ),
        stages=stages,
        fusion_width=_usual(shapes, rf"fusion(\.0\.weight|\.0\.bias|{NORM_PART})", FULL.fusion_width),
        fusion_kernel=1 if kernel == (1,) else FULL.fusion_kernel,
    )


def generator_of(shapes: Mapping[str, tuple[int, ...]]) -> GeneratorSize:
    """The size of the generator that these tensors are of, the one nearest to them where they are damaged."""
    found = [int(match[1][:9]) - 9 for name in shapes if (match := GENERATOR_NAME.fullmatch(name)) and match[2]]
    filters = _usual(shapes, r"model\.1\.(weight|bias)", GeneratorSize().filters)
    return GeneratorSize(min(filters, MOST_FILTERS), min(max([1, *found]), MOST_BLOCKS))


def misfits(wanted: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]) -> str:
    """What is missing, unknown or of another shape, by name, as the rest of a sentence on "they"; empty if nothing."""
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    shapes = [
        f"{name} {tuple(found[name])} for {tuple(wanted[name])}"
        for name in sorted(wanted.keys() & found.keys())
        if tuple(found[name]) != tuple(wanted[name])
    ]
    faults = [f"lack {listed(missing)}"] * bool(missing)
    faults += [f"hold the unknown {listed(unknown)}"] * bool(unknown)
    faults += [f"hold other shapes: {listed(shapes)}"] * bool(shapes)
    return "; they ".join(faults)


def listed(names: Iterable[str]) -> str:
    """The first names of many, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _is_network_name(name: str) -> bool:
    try:
        return bool(our_name(name))
    except KeyError:
        return False


def _backbone(
    bottleneck: bool, shapes: Mapping[str, tuple[int, ...]]
) -> Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]:
    """The backbone with the nearest numbers of blocks."""
    counts = [0, 0, 0, 0]
    for name in shapes:
        if match := re.fullmatch(r"layer([1-4])(?:_s2)?\.(\d+)\..+", name):
            level = int(match[1]) - 1
            counts[level] = max(counts[level], int(match[2]) + 1)
    distance = {
        name: sum(abs(a - b) for a, b in zip(counts, wanted, strict=True))
        for name, (kind, wanted) in BLOCKS.items()
        if kind == bottleneck
    }
    return cast(Literal["resnet18"], min(distance, key=distance.__getitem__))


def _widths(
    shapes: Mapping[str, tuple[int, ...]], second: str, default: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    a, b, c, d = (_usual(shapes, f"layer{k}{second}{BLOCK_PART}", width) for k, width in enumerate(default, 1))
    return a, b, c, d


def _usual(shapes: Mapping[str, tuple[int, ...]], pattern: str, default: int) -> int:
    """The first size that most tensors of such a name have, so that a damaged one does not stand for all."""
    sizes = Counter(shape[0] for name, shape in shapes.items() if shape and re.fullmatch(pattern, name))
    return sizes.most_common(1)[0][0] if sizes else default
