"""The dual-branch network: one stage reads joints off maps and a hand off features; a second one refines both.

DSF, Ren et al., IEEE TIP 31, 2022, figure 2. The second stage sees the first one's features, its maps, and maps
computed from the model branch's own rendered depth and joints.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from config import NetworkConfig
from dataloader.crop import FOREGROUND_BELOW, HandCrop, normalised_depth
from model.backbone import Encoder, Stem, initialise
from model.model_branch import HandEstimate, JointsHead, LinearHead
from model.offset_maps import Cells, read_maps, read_rows, write_maps
from model.pixel_branch import PixelBranch
from render.hand_layer import HandLayer
from render.rasterise import rasterise


class StageOutput(NamedTuple):
    """What one stage says about a batch of crops."""

    rows: Float[Tensor, "n 84"]
    """Offset and closeness maps at the foreground cells of all crops (`cells.at_seen`)."""
    cells: Cells
    """The cells of the maps."""
    pixel_uvd: Float[Tensor, "b 21 3"]
    """Joints of the pixel branch."""
    pixel_xyz: Float[Tensor, "b 21 3"]
    """The same in half cubes."""
    hand: HandEstimate
    """Hand parameters of the model branch."""
    vertices_xyz: Float[Tensor, "b v 3"]
    """Surface of the model branch's hand."""
    joints_xyz: Float[Tensor, "b 21 3"]
    """Joints of the model branch's hand."""

    def split(self, at: int) -> tuple["StageOutput", "StageOutput"]:
        """The answers for the first `at` crops, and for the rest; nothing is copied."""
        crops = at, len(self.pixel_uvd) - at
        cells = self.cells.split(at)
        hands = zip(*(value.split(crops) for value in self.hand), strict=True)
        first, rest = zip(
            self.rows.split([sum(part.counts) for part in cells]),
            cells,
            self.pixel_uvd.split(crops),
            self.pixel_xyz.split(crops),
            (HandEstimate(*values) for values in hands),
            self.vertices_xyz.split(crops),
            self.joints_xyz.split(crops),
            strict=True,
        )
        return StageOutput(*first), StageOutput(*rest)


class StageMaps(NamedTuple):
    """What one stage's convolutions say, before joints and a hand are read off it."""

    decoded: Float[Tensor, "b c s s"]
    """Features in front of the maps."""
    maps: Float[Tensor, "b 84 s s"]
    """63 offset maps, joint by joint, and 21 closeness maps."""
    pooled: Float[Tensor, "b features"]
    """Encoder features, averaged over the image: what the model branch's head sees."""


class Stage(nn.Module):
    """Encoder, pixel branch and model branch; the same for both stages."""

    def __init__(self, config: NetworkConfig, channels_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Encoder(config.backbone, channels_in, widths)
        self.pixel = PixelBranch(self.encoder.channels_out, config.decoder_widths)
        self.head: LinearHead | JointsHead = (
            LinearHead(self.encoder.channels_out)
            if config.model_head == "linear"
            else JointsHead(self.encoder.channels_out, config.head_width)
        )

    def forward(self, x: Tensor) -> StageMaps:
        """x: the stem's features, or those fused of all that a second stage sees."""
        features = self.encoder(x)
        decoded, maps = self.pixel(features)
        return StageMaps(decoded, maps, features.mean((2, 3)))


class DualBranchNetwork(nn.Module):
    """Depth crops -> one StageOutput a stage.

    The hand layer is part of the network but holds no trained tensor. Input crops are 128x128 with depth in [-1, 1].
    """

    def __init__(self, config: NetworkConfig, layer: HandLayer) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        self.stem = Stem(config.widths[0], config.stem_stride)
        self.stages = nn.ModuleList([Stage(config, config.widths[0], config.widths)])
        if config.stages == 2:
            seen = config.widths[0] + config.decoder_widths[-1] + 2 * 84
            kernel = config.fusion_kernel
            self.fusion = nn.Sequential(
                nn.Conv2d(seen, config.fusion_width, kernel, padding=kernel // 2),
                nn.BatchNorm2d(config.fusion_width),
                nn.ReLU(),
            )
            initialise(self.fusion)
            self.stages.append(Stage(config, config.fusion_width, config.second_widths))
        initialise(self.stem)
        for k in range(config.stages):
            initialise(self.stage(k).encoder)
            initialise(self.stage(k).pixel.decoder)

    def stage(self, k: int) -> Stage:
        """Stage k, counted from 0."""
        return cast(Stage, self.stages[k])

    def unit_mm(self, crop: HandCrop) -> Float[Tensor, "b 1"]:
        """Length that hand parameters call 1, one for each crop."""
        half = crop.cube_mm[:, 2:] / 2
        return half if self.config.unit_mm is None else torch.full_like(half, self.config.unit_mm)

    def cells_seen(self, depth: Float[Tensor, "b 1 size size"]) -> Int[Tensor, " b"]:
        """How many foreground cells (`Cells`) the maps of each crop will have."""
        step = 2 * self.config.stem_stride
        return (depth[:, 0, ::step, ::step].float() < FOREGROUND_BELOW).flatten(1).sum(1)

    def forward(self, crop: HandCrop, stages: int | None = None) -> list[StageOutput]:
        """The stages' answers, first stage first; stages: how many to compute, all by default."""
        stem, first = self.first_maps(crop.depth)
        cells = Cells.of(crop.depth, first.maps.shape[-1])
        outputs = [self._read(0, crop, cells, first)]
        if (stages or self.config.stages) == 2:
            second = self.second_maps(stem, first, self._model_maps(crop, outputs[0], first.maps))
            outputs.append(self._read(1, crop, cells, second))
        return outputs

    def first_maps(self, depth: Float[Tensor, "b 1 size size"]) -> tuple[Tensor, StageMaps]:
        """The stem's features of depth crops, and the first stage's maps."""
        # An image of one channel is in either memory format: only its strides say which one convolutions go on with.
        image = depth.squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)
        with self._autocast(depth):
            stem = self.stem(image)
            return stem, self.stage(0)(stem)

    def second_maps(self, stem: Tensor, first: StageMaps, model_maps: Float[Tensor, "b 84 s s"]) -> StageMaps:
        """The second stage's maps.

        Args:
            stem: features of `first_maps`.
            first: maps of `first_maps`.
            model_maps: maps of the model branch's joints over its own rendered depth (`map_images`).
        """
        seen = [stem, first.decoded, first.maps, model_maps.to(first.maps.dtype)]
        with self._autocast(stem):
            return self.stage(1)(self.fusion(torch.cat(seen, 1)))

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _read(self, stage: int, crop: HandCrop, cells: Cells, answer: StageMaps) -> StageOutput:
        """Maps and pooled features -> joints and hand, in float32."""
        maps = answer.maps.permute(0, 2, 3, 1).flatten(1, 2)
        rows = cells.at_seen(maps).float()
        pixel_uvd = read_rows(rows, cells) if self.config.foreground_softmax else read_maps(maps.float(), cells)
        pixel_xyz = crop.xyz_from_uvd(pixel_uvd)
        hand = self.stage(stage).head(answer.pooled.float(), pixel_xyz)
        vertices_xyz, joints_xyz = hand.mesh_xyz(self.layer, self.unit_mm(crop))
        return StageOutput(rows, cells, pixel_uvd, pixel_xyz, hand, vertices_xyz, joints_xyz)

    @torch.no_grad()
    def _model_maps(
        self, crop: HandCrop, output: StageOutput, like: Float[Tensor, "b 84 s s"]
    ) -> Float[Tensor, "b 84 s s"]:
        """Maps of the model branch's joints over its own rendered depth, as if that were the input."""
        side = like.shape[-1]
        step = crop.size // side
        pixels = crop.pixels_from_mm(crop.mm_from_xyz(output.vertices_xyz))
        # Cells take every step-th sample from index 0: rendering just those is exact and step^2 times cheaper.
        pixels = torch.cat([pixels[..., :2] / step, pixels[..., 2:]], -1)
        depth_mm = rasterise(pixels, self.layer.faces, side)
        depth = normalised_depth(depth_mm, crop.centre_mm, crop.cube_mm).unsqueeze(1)
        return map_images(crop.uvd_from_xyz(output.joints_xyz), depth, side, like.dtype)


def map_images(
    joints_uvd: Float[Tensor, "b 21 3"],
    depth: Float[Tensor, "b 1 size size"],
    side: int,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "b 84 side side"]:
    """Maps of known joints over a depth image, as the second stage takes them, channels last.

    side: of the maps. dtype: of the maps, that of the joints by default.
    """
    maps = write_maps(joints_uvd, Cells.of(depth, side), dtype=dtype)
    return maps.unflatten(1, (side, side)).permute(0, 3, 1, 2)
