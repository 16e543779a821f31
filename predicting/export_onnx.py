"""An exported network as a file: the graph in float32, and the same with convolutions in 8 bits."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.export import Dim

from dataloader.camera import Camera
from dataloader.crop import HandCrop, empty_crop
from model.folded import folded
from model.network import DualBranchNetwork
from predicting.engine import Engine, EngineAnswer
from predicting.exportable import ExportedNetwork
from predicting.onnx_engine import INPUTS, crop_tensors
from util.files import write_whole
from util.optional import optional

OPSET = 20
"""Version of ONNX's operators that files are written in."""
TRACED = 5
"""Crops that the graph is traced with: no other size in it is 5, so the batch stays free."""
DEEP = 96
"""Channels from which on a convolution is worth 8 bits: more than half of the compact network's weights. With the
layers before them in 8 bits as well, its joints would move by 1.2 mm instead of 0.4 mm."""
NOISY = ("", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "onnxruntime")
"""Loggers of what nobody can act on."""


def write_onnx(network: DualBranchNetwork, path: Path) -> None:
    """Write a network from crops to millimetres (predicting/exportable.py), the batch left free.

    Raises:
        UserError: onnx or onnxscript is not installed, or the folder cannot be written to.
    """
    need("onnx", "onnxscript")
    exported = ExportedNetwork(folded(network)).eval()
    crop = empty_crop(
        Camera.of(475.0, 475.0, 320.0, 240.0).expand(TRACED),
        torch.tensor([[0.0, 0.0, 600.0]]).repeat(TRACED, 1),
        torch.full((TRACED, 3), 250.0),
    )
    given = tuple(tensor.contiguous() for tensor in crop_tensors(crop).values())
    free = tuple({0: Dim("batch", min=1, max=1 << 16)} for _ in given)
    with _quietly(), torch.no_grad():
        graph = torch.export.export(exported, given, dynamic_shapes=free, strict=False)
        program = torch.onnx.export(
            graph, (), input_names=INPUTS, output_names=EngineAnswer._fields, opset_version=OPSET, verbose=False
        )
    assert program is not None
    write_whole(path, program.model_proto.SerializeToString())


def write_int8(source: Path, path: Path, crop: HandCrop) -> None:
    """Write an exported network again with the deep convolutions of its residual layers in 8 bits.

    The layers before them, decoders, heads and all geometry stay float32. Weights have one scale a channel,
    activations one a tensor, of the range that the crops show.

    Args:
        source: of `write_onnx`.
        path: what is written.
        crop: a batch of crops to take ranges from.

    Raises:
        UserError: onnx or onnxruntime is not installed, or the folder cannot be written to.
    """
    need("onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Crops(CalibrationDataReader):
        """Crops one by one."""

        def __init__(self) -> None:
            feeds = {name: tensor.float().numpy() for name, tensor in crop_tensors(crop).items()}
            self._feeds = iter([{name: a[k : k + 1] for name, a in feeds.items()} for k in range(len(crop.depth))])

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            return next(self._feeds, None)

    graph = onnx.load(source).graph
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    chosen = [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and (shape := shapes.get(node.input[1], ())) and shape[1] >= DEEP and shape[-1] == 3
    ]
    with tempfile.TemporaryDirectory() as folder, _quietly():
        quantised = Path(folder) / "int8.onnx"
        quantize_static(
            source,
            quantised,
            Crops(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=chosen,
            op_types_to_quantize=["Conv"],
        )
        write_whole(path, quantised.read_bytes())


def differences(engine: Engine, other: Engine, crop: HandCrop) -> dict[str, tuple[float, float]]:
    """(mean, greatest) distance of two engines' points, mm, for joints of both branches and the surface."""
    pairs = zip(EngineAnswer._fields[:3], engine(crop)[:3], other(crop)[:3], strict=True)
    apart = {name: (a - b).norm(dim=-1) for name, a, b in pairs}
    return {name: (float(mm.mean()), float(mm.max())) for name, mm in apart.items()}


def need(*packages: str) -> None:
    """Raises UserError when one of these optional packages is not installed, or broken."""
    for name in packages:
        optional(name, f"Exporting needs {name}", "python -m pip install -r requirements-optional.txt")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings of exporters."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
