"""Names of published checkpoints' tensors -> names of ours, for the full network."""

import re

LAYER = re.compile(r"layer(\d)(_s2)?\.(\d+)\.(.+)")
HEADS = {"finals.0": "offsets", "finals.1": "closeness"}
DECONV = {"deconv_layer4": 0, "deconv_layer3": 3, "deconv_layer2": 6}


def our_name(published: str) -> str:
    """The name, in `DualBranchNetwork`'s state dict, of a published tensor.

    published: for example "layer2_s2.0.bn1.weight" or "finals.1.bias". Raises KeyError for a name that no published
    checkpoint has.
    """
    head, _, rest = published.partition(".")
    if head == "pre":
        return f"stem.{rest}"
    if head == "fusion":
        return f"fusion.{rest}"
    stage = 1 if head.endswith("_s2") else 0
    bare = head.removesuffix("_s2")
    if match := LAYER.fullmatch(published):
        level, _, block, tail = match.groups()
        return f"stages.{stage}.encoder.layers.{int(level) - 1}.{block}.{tail}"
    if bare == "mano_regress" and rest.startswith("2."):
        return f"stages.{stage}.head.linear.{rest[2:]}"
    if bare in DECONV:
        index, _, tail = rest.partition(".")
        return f"stages.{stage}.pixel.decoder.{DECONV[bare] + int(index)}.{tail}"
    if bare == "finals":
        index, _, tail = rest.partition(".")
        return f"stages.{stage}.pixel.{HEADS[f'finals.{index}']}.{tail}"
    raise KeyError(f"{published} is no tensor of a published checkpoint")
