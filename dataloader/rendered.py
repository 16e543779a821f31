"""Rendered hands with labels, straight into the crop: an endless source of batches for pre-training."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from config import RenderedConfig, SamplerConfig, SensorConfig
from dataloader.camera import Camera
from dataloader.crop import HandCrop, empty_crop
from dataloader.points import all_points_xyz
from dataloader.sample import HandSample
from render.forearm import Forearm
from render.hand_layer import HandLayer, HandParams
from render.occluders import erased_by_spheres, outside_box, with_object
from render.rasterise import rasterise
from render.sampler import HandSampler
from render.sensor import SensorNoise
from util import draws
from util.draws import Draws


@dataclass(frozen=True)
class PlacedHands:
    """Hands in front of their cameras, before anything is drawn."""

    vertices_mm: Float[Tensor, "b v 3"]
    """Hand surface in the camera frame."""
    joints_mm: Float[Tensor, "b 21 3"]
    """Keypoints in the camera frame."""
    params: HandParams
    """As drawn; translation in mm, so that layer output x 1000 x scale + translation = vertices_mm."""


class RenderedHands:
    """Draws hands, places them before a camera, renders them with a forearm, and adds occluders and sensor noise.

    It works on the device of the layer, if torch's default device is that one too, when it is made and when it draws.
    """

    def __init__(
        self,
        layer: HandLayer,
        sampler_config: SamplerConfig,
        sensor_config: SensorConfig,
        config: RenderedConfig,
    ) -> None:
        self.layer, self.config = layer, config
        self.sampler = HandSampler(layer, sampler_config)
        self.sensor = SensorNoise(sensor_config)
        self.forearm = Forearm(layer, config.forearm)

    @property
    def device(self) -> torch.device:
        """Where hands are drawn."""
        return self.layer.faces.device

    def batch(self, n: int, generator: Draws) -> HandSample:
        """n rendered hands: `images` of what the sampler draws."""
        return self.images(self.sampler.sample(n, generator), generator)

    @torch.no_grad()
    def images(self, hands: HandParams, generator: Draws) -> HandSample:
        """Sampled hands, placed and rendered.

        The crop's centre is the mean of the hand's visible surface (as for real frames, whose centre is the mean of the
        observed hand) moved by up to `centre_shift_mm` an axis; the cube is `cube_mm` times a factor from `cube_scale`.

        Labels: joints_mm, vertices_mm (779, no forearm) in the camera frame, and params in the crop's xyz frame:
        layer(rotation, pose, shape).placed(scale, translation, cube_mm[:, :1] / 2) gives vertices_xyz and joints_xyz.
        generator: of this device; the same state gives the same batch.
        """
        config, n = self.config, len(hands.pose)
        camera = draw_cameras(n, config.focal_px, generator)
        placed = place_hands(self.layer, hands, config, generator)
        cube_mm = config.cube_mm * _uniform((n, 1), config.cube_scale, generator).expand(n, 3)
        shift = config.centre_shift_mm * (2 * draws.rand(generator, n, 3) - 1)
        centre_mm = visible_centre(placed.vertices_mm, self.layer.faces) + shift
        crop = empty_crop(camera, centre_mm, cube_mm, config.size)
        surface = self.forearm.attach(placed.vertices_mm, generator)
        depth_mm = rasterise(crop.pixels_from_mm(surface), self.forearm.faces, config.size)
        crop = crop.with_depth_mm(self._as_seen(crop, depth_mm, placed.joints_mm, generator))
        half = cube_mm[:, :1] / 2
        params = HandParams(
            hands.rotation, hands.pose, hands.shape, hands.scale, (placed.params.translation - centre_mm) / half
        )
        return HandSample(crop, placed.joints_mm, placed.vertices_mm, params)

    def _as_seen(self, crop: HandCrop, depth_mm: Tensor, joints_mm: Tensor, generator: Draws) -> Tensor:
        """Clean depth -> what a data set would hold: hidden parts, then the sensor, then the data set's hand box."""
        occluders, n = self.config.occluders, len(depth_mm)
        centre_z, half_mm = crop.centre_mm[:, 2], crop.cube_mm[:, 2] / 2
        hidden, theirs = _chosen(n, occluders.spheres_chance, generator), draws.fork(generator)
        if len(hidden) > 0:
            some = crop.select(hidden).with_depth_mm(depth_mm[hidden])
            joints_xyz = some.xyz_from_mm(joints_mm[hidden])
            gone = erased_by_spheres(all_points_xyz(some), joints_xyz, occluders, draws.at(theirs, hidden))
            depth_mm[hidden] = depth_mm[hidden] * ~gone.view(len(hidden), *depth_mm.shape[1:])
        shared, theirs = _chosen(n, occluders.object_chance, generator), draws.fork(generator)
        if len(shared) > 0:
            own = draws.at(theirs, shared)
            depth_mm[shared] = with_object(depth_mm[shared], centre_z[shared], half_mm[shared], own)
        sample_mm = crop.cube_mm[:, 0] / crop.size
        if self.config.noise:
            depth_mm = self.sensor(depth_mm, generator, sample_mm)
        if occluders.box_chance > 0:
            joints_uv = crop.pixels_from_mm(joints_mm)[..., :2]
            depth_mm = depth_mm * ~outside_box(joints_uv, crop.size, sample_mm, occluders, generator)
        return depth_mm


def draw_cameras(n: int, focal_px: tuple[float, float], generator: Draws) -> Camera:
    """n cameras with square pixels, focal lengths from a range; a crop cannot see where the principal point is."""
    focal = _uniform((n, 1), focal_px, generator).expand(n, 2)
    return Camera(focal, torch.tensor([320.0, 240.0]).expand(n, 2))


def place_hands(layer: HandLayer, params: HandParams, config: RenderedConfig, generator: Draws) -> PlacedHands:
    """Hands with the middle of their vertices at a random distance, up to `aside_deg` off the optical axis."""
    n = len(params.rotation)
    mesh = layer(params.rotation, params.pose, params.shape)
    factor = 1000 * params.scale[:, None]
    z = _uniform((n, 1), config.range_mm, generator)
    aside = torch.deg2rad(config.aside_deg * (2 * draws.rand(generator, n, 2) - 1)).tan()
    middle = torch.cat([aside * z, z], -1)
    translation = middle - (mesh.vertices_m * factor).mean(1)
    params = HandParams(params.rotation, params.pose, params.shape, params.scale, translation)
    vertices_mm, joints_mm = mesh.placed(params.scale, params.translation, 1.0)
    return PlacedHands(vertices_mm, joints_mm, params)


def visible_centre(vertices_mm: Float[Tensor, "b v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "b 3"]:
    """Mean of the surface that faces the camera, each triangle weighted by its area in the image, mm.

    Close to the mean of the points a depth sensor reads off the hand, without rendering it: only what a nearer finger
    hides is counted too much. faces: counter-clockwise seen from outside.
    """
    flat = vertices_mm[..., :2] / vertices_mm[..., 2:]
    plane = torch.cat([flat, vertices_mm], -1).permute(2, 0, 1).contiguous()  # a whole row for each coordinate
    a, b, c = (plane.index_select(2, corner) for corner in faces.unbind(1))  # (5, b, f)
    (first_u, first_v), (second_u, second_v) = b[:2] - a[:2], c[:2] - a[:2]
    # y points down, so counter-clockwise from outside means clockwise numbers: negative for what faces the camera
    area = (first_v * second_u - first_u * second_v).clamp(min=0)
    weight = area / area.sum(-1, keepdim=True).clamp(min=1e-12) / 3
    return (weight * (a[2:] + b[2:] + c[2:])).sum(-1).T


def _uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: Draws) -> Tensor:
    low, high = bounds
    return low + (high - low) * draws.rand(generator, *shape)


def _chosen(n: int, chance: float, generator: Draws) -> Tensor:
    """Which of n images something happens to."""
    return draws.happens(generator, n, chance).nonzero()[:, 0]
