"""Drawn hands: within limits, free of overlaps, repeatable, endless, split without leaks; and hands from files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from config import SamplerConfig
from render.anatomy import FINGERS, FLEXION, JOINT_LIMITS_DEG, SPREAD, Anatomy, within_limits
from render.articulation import Articulation
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from render.parameter_files import COLUMNS
from render.postures import POSTURES, path_split, paths
from render.sampler import HandSampler
from render.shapes import draw_scales, draw_shapes, on_target_side
from render.spheres import HandSpheres
from render.untangle import Untangler
from util.errors import UserError


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(load_hand_model())


@pytest.fixture(scope="module")
def sampler(layer: HandLayer) -> HandSampler:
    return HandSampler(layer, SamplerConfig())


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _posed(layer: HandLayer, angles: torch.Tensor, shape: torch.Tensor | None = None):
    """Mesh of a hand in anatomical angles (n, 15, 3), radians."""
    n = len(angles)
    pose = layer.coefficients(roma.rotmat_to_rotvec(Anatomy.of(layer).rotations(angles)))
    return layer(torch.zeros(n, 3), pose, torch.zeros(n, 10) if shape is None else shape)


@pytest.mark.parametrize("n", [0, 1, 33])
def test_sample_has_asked_number_of_finite_hands(sampler: HandSampler, n: int) -> None:
    hands = sampler.sample(n, _generator())
    assert hands.vector().shape == (n, 62)
    assert torch.isfinite(hands.vector()).all()
    assert (hands.translation == 0).all()


def test_sample_repeats_with_the_generator_and_nothing_else(sampler: HandSampler, layer: HandLayer) -> None:
    first = sampler.sample(20, _generator(3)).vector()
    sampler.sample(7, _generator(4))
    torch.rand(5)
    assert torch.equal(first, sampler.sample(20, _generator(3)).vector())
    assert torch.equal(first, HandSampler(layer, SamplerConfig()).sample(20, _generator(3)).vector())


def test_no_hand_comes_twice(sampler: HandSampler) -> None:
    generator = _generator()
    hands = torch.cat([sampler.sample(60, generator).vector(), sampler.sample(60, generator).vector()])
    distance = torch.cdist(hands, hands) + 10 * torch.eye(len(hands))
    assert distance.min() > 0.1


def test_untangled_angles_keep_their_limits(layer: HandLayer) -> None:
    untangler = Untangler(layer, Anatomy.of(layer), 2.0)
    angles = Articulation(SamplerConfig()).draw(300, _generator())
    assert within_limits(angles).all()
    shape = draw_shapes(SamplerConfig(), 300, _generator(1))
    parted, free = untangler.untangle(angles, shape, untangler.radii(shape))
    assert within_limits(parted).all()
    assert free.float().mean() > 0.97


def test_spheres_of_posed_surfaces_hardly_overlap(sampler: HandSampler, layer: HandLayer) -> None:
    """The check that the sampler makes on joints alone holds on the posed surface, with radii measured there."""
    hands = sampler.sample(200, _generator())
    flat = _posed(layer, POSTURES["flat"].angles()[None])
    mesh = layer(hands.rotation, hands.pose, hands.shape)
    spheres = HandSpheres(layer)

    def overlaps_mm(mesh) -> torch.Tensor:
        joints = mesh.joints_m * 1000
        return spheres.overlaps(spheres.centres(joints), spheres.radii(joints, mesh.vertices_m * 1000, 1.0))

    beyond = (overlaps_mm(mesh) - overlaps_mm(flat)).flatten(1).amax(1)
    assert beyond.quantile(0.95) < 5.0
    assert beyond.max() < 9.0


def test_untangling_parts_crossed_fingers(layer: HandLayer) -> None:
    untangler = Untangler(layer, Anatomy.of(layer), 2.0)
    angles = POSTURES["flat"].angles()[None].clone()
    angles[:, 0, SPREAD] = -0.3  # index into middle
    shape = torch.zeros(1, 10)
    radii = untangler.radii(shape)
    assert not untangler.free(angles, shape, radii).any()
    parted, free = untangler.untangle(angles, shape, radii)
    assert free.all()
    assert parted[0, 0, SPREAD] > angles[0, 0, SPREAD]
    assert torch.equal(parted[0, 9:], angles[0, 9:])  # ring and thumb have no part in it


def test_rest_pose_is_reproduced_and_angles_are_what_they_say(layer: HandLayer) -> None:
    anatomy = Anatomy.of(layer)
    assert torch.allclose(anatomy.rotations(anatomy.rest), torch.eye(3).expand(15, 3, 3), atol=1e-5)
    straight = torch.zeros(1, 15, 3)
    palm = anatomy.frames[0]
    joints = _posed(layer, straight).joints_m[0]
    for finger in range(4):
        bone = palm.T @ (joints[2 + 3 * finger] - joints[1 + 3 * finger])
        assert bone[0] / bone.norm() > 0.98, FINGERS[finger]
    bent = straight.clone()
    bent[:, 0:12:3, FLEXION] = torch.pi / 2
    joints = _posed(layer, bent).joints_m[0]
    for finger in range(4):
        bone = palm.T @ (joints[2 + 3 * finger] - joints[1 + 3 * finger])
        assert bone[2] / bone.norm() < -0.95, f"{FINGERS[finger]} should point out of the palm"


def test_keypoints_without_surface_agree_with_the_layer(layer: HandLayer) -> None:
    anatomy = Anatomy.of(layer)
    angles = Articulation(SamplerConfig()).draw(50, _generator())
    shape = draw_shapes(SamplerConfig(), 50, _generator(1))
    fast = anatomy.keypoints(anatomy.rotations(angles), shape)
    full = _posed(layer, angles, shape).joints_m
    difference = (fast - full).norm(dim=-1) * 1000
    assert difference[:, 16:].max() < 1e-2
    assert difference.max() < 8.0  # joints regressed from a bent surface move inwards


@pytest.mark.parametrize("name", POSTURES)
def test_named_postures_are_within_limits_and_can_be_untangled(layer: HandLayer, name: str) -> None:
    untangler = Untangler(layer, Anatomy.of(layer), 2.0)
    angles = POSTURES[name].angles()[None]
    assert within_limits(angles).all()
    shape = torch.zeros(1, 10)
    parted, free = untangler.untangle(angles, shape, untangler.radii(shape))
    assert free.all()
    assert (parted - angles).abs().max().rad2deg() < 16


def test_pinching_tips_touch(layer: HandLayer) -> None:
    spheres = HandSpheres(layer)
    last = {"thumb": 21 + 9 * 4 + 8, "index": 21 + 8}
    mesh = _posed(layer, torch.stack([POSTURES[name].angles() for name in ("pinch", "pinch_fist", "ok")]))
    centres = spheres.centres(mesh.joints_m)
    radii = spheres.radii(mesh.joints_m, mesh.vertices_m, 1000.0)
    thumb, index = last["thumb"], last["index"]
    gap = (centres[:, thumb] - centres[:, index]).norm(dim=-1) - radii[:, thumb] - radii[:, index]
    assert (gap.abs() < 6e-3).all()


def test_closed_flat_and_curled_and_open_hands_are_all_there(layer: HandLayer) -> None:
    angles = Articulation(SamplerConfig()).draw(2000, _generator()).rad2deg()
    straight = (angles[:, [0, 1, 3, 4, 6, 7, 9, 10], FLEXION] < 20).all(1)
    fan = angles[:, 0, SPREAD] - angles[:, 6, SPREAD]
    assert (straight & (fan < 10)).float().mean() > 0.03
    assert (straight & (fan > 20)).float().mean() > 0.03
    assert (angles[:, [1, 4, 7, 10], FLEXION] > 80).all(1).float().mean() > 0.03


def test_distal_joints_follow_middle_joints(layer: HandLayer) -> None:
    angles = Articulation(dataclasses.replace(SamplerConfig(), free_share=1.0)).draw(1000, _generator())
    pip, dip = angles[:, 1:12:3, FLEXION].flatten(), angles[:, 2:12:3, FLEXION].flatten()
    assert torch.corrcoef(torch.stack([pip, dip]))[0, 1] > 0.85
    ring, pinky, index = angles[:, 10, FLEXION], angles[:, 7, FLEXION], angles[:, 1, FLEXION]
    near = torch.corrcoef(torch.stack([ring, pinky]))[0, 1]
    far = torch.corrcoef(torch.stack([index, pinky]))[0, 1]
    assert near > far + 0.2


def test_paths_split_without_leak() -> None:
    pretrain, target = paths("pretrain"), paths("target")
    assert not {frozenset(p) for p in pretrain} & {frozenset(p) for p in target}
    assert len(pretrain) + len(target) == len(paths("all")) == len(POSTURES) * (len(POSTURES) - 1) // 2
    assert 0.15 < len(target) / len(paths("all")) < 0.35
    assert all(path_split(a, b) == path_split(b, a) for a, b in paths("all"))
    with pytest.raises(KeyError):
        path_split("fist", "no such posture")


def test_drawn_paths_and_shapes_stay_on_their_side(layer: HandLayer) -> None:
    sides = (SamplerConfig(paths="pretrain", shapes="pretrain"), SamplerConfig(paths="target", shapes="target"))
    for config in sides:
        side, on_target = config.paths, config.shapes == "target"
        hands = HandSampler(layer, config).sample(64, _generator())
        assert (on_target_side(config, hands.shape) == on_target).all()
        names = list(POSTURES)
        drawn = Articulation(config).path_ends(500, _generator())
        assert {path_split(names[a], names[b]) for a, b in drawn.tolist()} == {side}


def test_shapes_and_sizes_keep_their_ranges() -> None:
    config = SamplerConfig()
    units = draw_shapes(config, 2000, _generator()) / torch.tensor(config.shape_sd).clamp_min(1e-9)
    assert units.abs().max() <= config.shape_limit + 1e-4
    assert (units[:, 0] == 0).all()
    scales = draw_scales(config, 2000, _generator())
    assert config.scale_range[0] <= scales.min() < 0.85
    assert 1.25 < scales.max() <= config.scale_range[1]
    assert abs(scales.mean() - config.scale_mean) < 0.02
    with pytest.raises(UserError, match="shape_sd"):
        draw_shapes(dataclasses.replace(config, shape_sd=(1.0,)), 2, _generator())


def test_views_cover_what_a_sensor_sees(sampler: HandSampler, layer: HandLayer) -> None:
    hands = sampler.sample(1000, _generator())
    turned = roma.rotvec_to_rotmat(hands.rotation) @ Anatomy.of(layer).frames[0]
    forward, back = turned[:, :, 0], turned[:, :, 2]
    assert forward[:, 2].max() < 0.8  # the forearm never comes straight at the camera
    assert forward[:, 2].mean() < 0  # and mostly points away from it
    for share in ((back[:, 2] > 0.6), (back[:, 2] < -0.6), (back[:, 2].abs() < 0.3), (forward[:, 2] < -0.8)):
        assert share.float().mean() > 0.08
    turn = torch.atan2(forward[:, 0], -forward[:, 1])
    assert torch.histc(turn, 8, -torch.pi, torch.pi).min() > 40


def test_shapes_that_cannot_be_split_are_refused() -> None:
    flat = (1.0,) * 4 + (0.0,) * 6
    for config in (SamplerConfig(shapes="target", shape_limit=0.5), SamplerConfig(shapes="target", shape_sd=flat)):
        with pytest.raises(UserError, match="cannot be split"):
            draw_shapes(config, 2, _generator())


def test_works_for_another_model_in_its_own_pose_basis(shared: Path) -> None:
    """The published layout's hand: a rotated pose basis and a mean; joints land where the open hand's do."""
    layer = HandLayer(load_hand_model(shared / "reference" / "MANO_RIGHT.pkl"))
    hands = HandSampler(layer, SamplerConfig()).sample(8, _generator())
    assert torch.isfinite(hands.vector()).all()
    anatomy = Anatomy.of(layer)
    angles = POSTURES["fist"].angles()[None]
    wanted = anatomy.rotations(angles)
    coefficients = layer.coefficients(roma.rotmat_to_rotvec(wanted))
    assert torch.allclose(roma.rotvec_to_rotmat(layer.axis_angles(coefficients)), wanted, atol=1e-4)


def _write(folder: Path, hands: HandParams, name: str = "rec-0", parts: tuple[str, ...] = tuple(COLUMNS)) -> Path:
    arrays = {
        "glb": hands.rotation,
        "pose": hands.pose,
        "shape": hands.shape,
        "scale": hands.scale,
        "trans": hands.translation,
    }
    for part in parts:
        np.savetxt(folder / f"{name}-{part}.txt", arrays[part].numpy())
    return folder / name


def test_hands_come_from_parameter_files(sampler: HandSampler, layer: HandLayer, tmp_path: Path) -> None:
    kept = sampler.sample(5, _generator())
    prefix = _write(tmp_path, kept, parts=("pose", "glb", "shape"))
    read = HandSampler(layer, SamplerConfig(pose_files=prefix)).sample(40, _generator())
    nearest = (read.pose[:, None] - kept.pose).abs().amax(-1).min(1)
    assert nearest.values.max() < 1e-4
    assert len(nearest.indices.unique()) == 5
    assert torch.allclose(read.rotation, kept.rotation[nearest.indices], atol=1e-5)
    assert (read.translation == 0).all()


def test_bad_parameter_files_are_told_in_one_sentence(sampler: HandSampler, layer: HandLayer, tmp_path: Path) -> None:
    hands = sampler.sample(3, _generator())
    config = SamplerConfig(pose_files=_write(tmp_path, hands))
    HandSampler(layer, config)
    good = (tmp_path / "rec-0-pose.txt").read_text()
    lines = good.splitlines()
    damages = {
        "columns": "\n".join(line.rsplit(" ", 1)[0] for line in lines),
        "not finite": good.replace(lines[1].split()[0], "nan", 1),
        "lines": "\n".join(lines[:2]),
        "cannot be read": good.replace(lines[2].split()[3], "hand", 1),
        "no rows": "",
    }
    for message, text in damages.items():
        (tmp_path / "rec-0-pose.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            HandSampler(layer, config)
    (tmp_path / "rec-0-pose.txt").unlink()
    with pytest.raises(UserError, match=r"rec-0-pose\.txt does not exist"):
        HandSampler(layer, config)


def test_limits_are_given_for_every_joint() -> None:
    assert len(JOINT_LIMITS_DEG) == 15
    assert all(low < high for joint in JOINT_LIMITS_DEG for low, high in joint)
