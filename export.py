"""Write the network as ONNX: crops in, joints, parameters and surface in millimetres out. `--help` lists the options.

python export.py [--weights FILE] [--stages 1|2] [--out hand.onnx] [--int8]

What it takes and gives is told in predicting/engine.py; `python predict.py SOURCE --engine onnx --weights hand.onnx`
runs it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from util.cli import parse_settings, run_entry
from util.errors import UserError

if TYPE_CHECKING:
    from dataloader.crop import HandCrop
    from predicting.engine import Engine

CHECKED, CALIBRATED = 16, 24
"""Rendered hands that files are compared on, and that ranges of 8 bits are taken from."""
ALLOWED_MM = 0.5
"""How far, on average, joints in 8 bits may lie from those in float32."""


@dataclass(frozen=True)
class Export:
    """One call of export.py."""

    weights: Path | None = None
    """Of this project or published; unset = the shipped ones."""
    stages: Literal[1, 2] | None = None
    """1: the first stage alone; unset = all that the weights have."""
    hand: Path | None = None
    """Hand model file that they were trained with; unset = the open hand."""
    out: Path = Path("hand.onnx")
    """The file."""
    int8: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write a second file, *.int8.onnx, with deep convolutions in 8 bits, where joints stay within 0.5 mm."""


def main(words: Sequence[str]) -> int:
    """Write the file and say how far its answers lie from torch's."""
    chosen = parse_settings(Export, Export(), words, "export.py", (__doc__ or "").strip())
    if chosen.out.suffix != ".onnx":
        raise UserError(f"--out {chosen.out} is no .onnx file: give it that ending.")
    import torch  # late: --help is to answer at once

    from config import EXPERIMENTS
    from dataloader.rendered import RenderedHands
    from predicting.engine import SHIPPED, TorchEngine, load_network
    from predicting.export_onnx import need, write_int8, write_onnx
    from predicting.onnx_engine import OnnxEngine

    need("onnx", "onnxscript", "onnxruntime")
    weights = chosen.weights or SHIPPED
    network = load_network(weights, chosen.hand, chosen.stages)
    write_onnx(network, chosen.out)
    like = EXPERIMENTS["pretrain-compact"]
    hands = RenderedHands(network.layer, like.sampler, like.sensor, like.rendered)
    torch_engine = TorchEngine(weights, chosen.hand, "cpu", chosen.stages, "fp32")
    crop = hands.batch(CHECKED, torch.Generator().manual_seed(1)).crop
    exact = OnnxEngine(chosen.out, chosen.hand)
    _say(chosen.out, torch_engine, exact, crop)
    if chosen.int8:
        small = chosen.out.with_suffix(".int8.onnx")
        write_int8(chosen.out, small, hands.batch(CALIBRATED, torch.Generator().manual_seed(2)).crop)
        if _say(small, exact, OnnxEngine(small, chosen.hand), crop) > ALLOWED_MM:
            small.unlink()
            raise UserError(
                f"{small} was not kept, its joints lie farther than {ALLOWED_MM} mm from float32: leave --int8 out."
            )
    return 0


def _say(file: Path, reference: "Engine", engine: "Engine", crop: "HandCrop") -> float:
    """Tell how far a file's answers lie from the reference's; the mean distance of the model branch's joints, mm."""
    from predicting.export_onnx import differences

    apart = differences(reference, engine, crop)
    words = ", ".join(
        f"{name.removesuffix('_mm')} {mean:.4f} mm (at most {most:.4f})" for name, (mean, most) in apart.items()
    )
    sys.stdout.write(f"{file}, {file.stat().st_size / 2**20:.1f} MiB, beside float32: {words}\n")
    return apart["joints_mm"][0]


if __name__ == "__main__":
    sys.exit(run_entry(main))
