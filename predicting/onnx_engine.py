"""The engine that runs an exported network in ONNX Runtime: `python export.py` writes the file that it takes."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from dataloader.crop import HandCrop
from predicting.engine import EngineAnswer
from render.hand_model import load_hand_model
from util.errors import UserError
from util.optional import optional

INPUTS = ("depth", "focal", "principal", "centre_mm", "cube_mm", "crop_from_image")
"""What an exported network takes: the fields of a crop and of its camera, float32."""


class OnnxEngine:
    """A network in ONNX Runtime, on the CPU: the same call and the same answer as `TorchEngine`."""

    def __init__(self, file: Path, hand: Path | None = None, threads: int | None = None) -> None:
        """Load an exported network.

        Args:
            file: written by export.py.
            hand: the hand model's file it was exported with; None: the open hand.
            threads: that one call may use; None: as many as torch.

        Raises:
            UserError: onnxruntime is not installed; the file is absent, damaged, or no exported network.
        """
        onnxruntime = optional("onnxruntime", f"{file} needs onnxruntime", "python -m pip install onnxruntime")
        if not file.is_file():
            raise UserError(f"{file} does not exist: write it with python export.py --out {file}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class of their own
            reason = str(error).splitlines()[0]
            raise UserError(f"{file} is no ONNX file that runs ({reason}): write it anew with export.py.") from error
        takes = {given.name for given in self.session.get_inputs()}
        gives = tuple(given.name for given in self.session.get_outputs())
        if not takes <= set(INPUTS) or gives != EngineAnswer._fields:
            raise UserError(f"{file} is no network of this project: write one with python export.py.")
        self._takes = [name for name in INPUTS if name in takes]
        self._faces = torch.from_numpy(load_hand_model(hand).faces)

    @property
    def faces(self) -> Int[Tensor, "f 3"]:
        """Triangles over the 778 vertices of an answer."""
        return self._faces

    def __call__(self, crop: HandCrop) -> EngineAnswer:
        """crop: a batch of crops, on any device."""
        tensors = crop_tensors(crop)
        answer = self.session.run(list(EngineAnswer._fields), {name: _array(tensors[name]) for name in self._takes})
        return EngineAnswer(*(torch.from_numpy(np.asarray(part)) for part in answer))


def crop_tensors(crop: HandCrop) -> dict[str, Tensor]:
    """The fields of a crop and of its camera, by the names of the graph's inputs."""
    parts = (crop.depth, crop.camera.focal, crop.camera.principal, crop.centre_mm, crop.cube_mm, crop.crop_from_image)
    return dict(zip(INPUTS, parts, strict=True))


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())
