"""Fitting's closed forms against the hand layer and autograd, its solver against a problem with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import scipy.optimize
import torch
from torch import Tensor

from config import SamplerConfig
from fitting.chain import Chain, Hands, box_limits, box_of
from fitting.collision import HandCollisions
from fitting.correspondence import FITTED, NOT_SHARED, OFFSETS_MM, Correspondence
from fitting.cost import FitWeights, PoseCost, pose_limits
from fitting.prior import PosturePrior, Starts
from fitting.solver import Quadratic, minimise
from fitting.subject import find_subject, reduced
from render.anatomy import Anatomy, within_limits
from render.articulation import Articulation
from render.hand_layer import HandLayer, HandParams
from render.hand_model import HandModel, load_hand_model
from render.parameter_files import read_parameter_files, write_parameter_files
from util.streams import stream

SIZE = torch.tensor(1.07, dtype=torch.float64)
SHAPE = torch.tensor([0.2, 0.3, -0.5, 0.4, 0.2, -0.3, 0.1, 0.0, 0.2, -0.1], dtype=torch.float64)


@pytest.fixture(scope="module", params=["open hand", "with pose directions"])
def layer(request: pytest.FixtureRequest) -> HandLayer:
    model = load_hand_model()
    if request.param != "open hand":  # as MANO has them, and a pose basis with a mean
        random = np.random.default_rng(0)
        basis = np.linalg.qr(random.normal(size=(45, 45)))[0]
        arrays = {**model.__dict__, "posedirs": 0.002 * random.normal(size=(778, 3, 135)), "hands_components": basis}
        model = HandModel(**{**arrays, "hands_mean": 0.1 * random.normal(size=45)})
    return HandLayer(model).double()


def posed(n: int) -> Hands:
    """Hands anywhere, float64."""
    generator = stream("hands")
    angles = Articulation(SamplerConfig(paths="all")).draw(n, generator).double()
    turn = roma.rotvec_to_rotmat(torch.randn(n, 3, generator=generator, dtype=torch.float64))
    return Hands(box_of(angles), turn, 300 * torch.randn(n, 3, generator=generator, dtype=torch.float64))


def by_layer(layer: HandLayer, chain: Chain, hands: Hands) -> Tensor:
    """The slow twin: keypoints of the posed surface, mm."""
    pose = layer.coefficients(roma.rotmat_to_rotvec(chain.anatomy.rotations(hands.angles())))
    n = len(hands)
    mesh = layer(hands.rotation, pose, SHAPE.expand(n, 10))
    shift = hands.root_mm - 1000 * SIZE * layer.rest_joints(SHAPE)[0]
    return mesh.placed(SIZE.expand(n, 1), shift, 1.0)[1]


def moved(hands: Hands, by: Tensor) -> Hands:
    box, turn, shift = by.split([45, 3, 3], -1)
    return Hands(hands.box + box, roma.rotvec_to_rotmat(turn) @ hands.rotation, hands.root_mm + shift)


def test_keypoints_and_jacobian_are_those_of_the_hand_layer(layer: HandLayer):
    chain, hands = Chain(layer, torch.eye(21)), posed(3)
    points = chain.points(chain.rest(SHAPE, SIZE), hands)
    assert torch.allclose(points.mm.mT, by_layer(layer, chain, hands), atol=1e-6)
    still = torch.zeros(3, 51, dtype=torch.float64)
    slow = torch.autograd.functional.jacobian(lambda by: by_layer(layer, chain, moved(hands, by)).sum(0), still)
    assert points.jacobian is not None
    assert torch.allclose(points.jacobian, slow.permute(2, 3, 1, 0), atol=1e-6)  # type: ignore[union-attr]


def test_points_can_be_differentiated(layer: HandLayer):
    chain, hands = Chain(layer, torch.eye(21)[::6]), posed(1)
    rest = chain.rest(SHAPE, SIZE)
    still = torch.zeros(1, 51, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda by: chain.points(rest, moved(hands, by), jacobian=False).mm, still)


def test_shape_size_and_offsets_move_points_as_autograd_says(layer: HandLayer):
    hands = posed(2)
    bones = torch.tensor([0, 3, 8])
    chain = Chain(layer, torch.eye(21)[[0, 3, 18]], bones, torch.randn(3, 3))
    rest = chain.rest(SHAPE, SIZE)

    def from_shared(shared: Tensor) -> Tensor:
        return chain.points(chain.rest(shared[1:], SIZE * shared[0].exp()), hands, jacobian=False).mm

    slow = torch.autograd.functional.jacobian(from_shared, torch.cat([torch.zeros(1).double(), SHAPE]))
    assert torch.allclose(chain.by_shape(rest, hands), slow.permute(0, 3, 1, 2), atol=1e-8)  # type: ignore[union-attr]

    def from_offsets(offsets: Tensor) -> Tensor:
        other = chain.with_offsets(offsets)
        return other.points(other.rest(SHAPE, SIZE), hands, jacobian=False).mm

    slow = torch.autograd.functional.jacobian(from_offsets, chain.offsets_mm)  # (n, 3, m, m, 3)
    own = torch.diagonal(slow, dim1=2, dim2=3).permute(0, 3, 1, 2)  # type: ignore[arg-type]
    assert torch.allclose(chain.by_offset(rest, hands), own, atol=1e-8)


def test_coordinates_are_angles_and_their_limits_the_anatomy_s():
    angles = Articulation(SamplerConfig(paths="all")).draw(200, stream("angles"))
    assert torch.allclose(
        Hands(box_of(angles), torch.zeros(200, 3, 3), torch.zeros(200, 3)).angles(), angles, atol=1e-6
    )
    low, high = box_limits(angles).unbind(-1)
    anywhere = low + torch.rand(200, 45) * (high - low)
    anywhere[:100] = torch.where(torch.rand(100, 45) < 0.5, low, high)
    assert within_limits(Hands(anywhere, torch.zeros(200, 3, 3), torch.zeros(200, 3)).angles()).all()


def cost_of(layer: HandLayer, labels: int, pushing: bool) -> tuple[PoseCost, Tensor]:
    """A cost whose every term pulls: labels near and far, turned hands, fingers that pass through each other."""
    correspondence = Correspondence.of("nyu14")
    combinations, bones = correspondence.combinations, correspondence.bones
    offsets = correspondence.offsets_mm
    if pushing:
        combinations = torch.cat([torch.eye(21, dtype=torch.float64), combinations])
        bones = torch.cat([torch.zeros(21, dtype=torch.long), bones])
        offsets = torch.cat([torch.zeros(21, 3), offsets])
    chain, hands = Chain(layer, combinations, bones, offsets), posed(labels)
    rest = chain.rest(SHAPE, SIZE)
    true = chain.points(rest, hands, jacobian=False).mm[..., -14:]
    generator = stream("labels")
    noisy = true + 8 * torch.randn(true.shape, generator=generator, dtype=torch.float64)
    crossed = hands.box.clone()
    crossed[:, 1] = -0.4  # the index finger across the middle one
    crossed[:, 10] = 0.3
    hands = replace(hands, box=crossed)
    collisions = HandCollisions(layer, SHAPE, SIZE) if pushing else None
    prior = PosturePrior.of(SHAPE)
    share = correspondence.share().double()
    cost = PoseCost(chain, rest, hands.rotation, noisy, share, prior, FitWeights(), collisions)
    at = cost.place(hands)
    at[:, 45:48] = torch.randn(labels, 3, generator=generator, dtype=torch.float64)
    return cost, at


@pytest.mark.parametrize("pushing", [False, True])
def test_gradient_of_the_cost(layer: HandLayer, pushing: bool):
    cost, at = cost_of(layer, 3, pushing)
    model = cost(at)
    if pushing:
        assert (model.cost > cost_of(layer, 3, pushing=False)[0](at).cost + 1).all()
    step, generator = 1e-6, stream("directions")
    for _ in range(8):
        along = torch.randn(at.shape, generator=generator, dtype=torch.float64)
        slow = (cost(at + step * along).cost - cost(at - step * along).cost) / (4 * step)  # half of it
        assert torch.allclose((model.gradient * along).sum(-1), slow, rtol=1e-4, atol=1e-3)
    assert torch.linalg.eigvalsh(model.hessian).amin() > 0


def test_the_solver_finds_the_least_cost_within_limits():
    generator = stream("solver")
    rows = torch.randn(40, 7, 5, generator=generator, dtype=torch.float64)
    wanted = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    limits = torch.tensor([[-0.5, 0.5]] * 4 + [[-torch.inf, torch.inf]], dtype=torch.float64)

    def bent(at: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        inside = (rows @ at.unsqueeze(-1)).squeeze(-1)
        return inside + 0.1 * inside**3, rows * (1 + 0.3 * inside**2).unsqueeze(-1)

    true, _ = bent(wanted, rows)

    def evaluate(at: Tensor, chosen: Tensor) -> Quadratic:
        value, by = bent(at, rows[chosen])
        off = value - true[chosen]
        return Quadratic(off.square().sum(-1), (by.mT @ off.unsqueeze(-1)).squeeze(-1), by.mT @ by)

    found, cost = minimise(evaluate, torch.zeros(40, 5, dtype=torch.float64), limits, 60)
    low, high = limits.unbind(-1)
    assert ((found >= low) & (found <= high)).all()
    assert (found == low).any() and (found == high).any()
    assert torch.allclose(evaluate(found, torch.arange(40)).cost, cost)
    for k in range(40):
        off = lambda at, k=k: (bent(torch.tensor(at)[None], rows[k : k + 1])[0] - true[k])[0].numpy()  # noqa: E731
        best = scipy.optimize.least_squares(off, np.zeros(5), bounds=(low.numpy(), high.numpy()))
        assert float(cost[k]) <= 2 * best.cost * 1.001 + 1e-6
    free, _ = minimise(evaluate, torch.zeros(40, 5, dtype=torch.float64), limits * torch.inf, 60)
    assert (free - wanted).abs().median() < 1e-3


def test_a_shared_step_is_that_of_the_whole_problem():
    layer = HandLayer(load_hand_model()).double()
    cost, at = cost_of(layer, 4, pushing=False)
    at[:, 45:48] = 0
    low, high = pose_limits(at).unbind(-1)
    at = at.clamp(low + 1e-3, high - 1e-3)  # nothing is held
    by = cost.chain.by_shape(cost.rest, cost.hands(at))
    gradient, curvature = reduced(cost, at, by)
    labelled, model = cost.labelled(at), cost(at)
    shared = (by * labelled.pull.unsqueeze(1)).flatten(2)
    whole = torch.block_diag(*model.hessian, (shared @ shared.mT).sum(0))
    for k in range(4):
        across = labelled.rows[k] @ shared[k].mT
        whole[51 * k : 51 * k + 51, 204:], whole[204:, 51 * k : 51 * k + 51] = across, across.mT
    force = torch.cat([model.gradient.flatten(), (shared @ labelled.off.unsqueeze(-1)).sum(0).squeeze(-1)])
    whole.diagonal()[204:] += 1  # what is expected of a shape
    expected = torch.linalg.solve(whole, force)[204:]
    found = torch.linalg.solve(curvature + torch.eye(11), gradient)
    assert torch.allclose(found, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max()))


def test_starts_find_the_posture_and_the_size():
    layer = HandLayer(load_hand_model())
    chain, prior = Chain(layer, torch.eye(21)), PosturePrior.of(layer.template)
    rest = chain.rest(torch.zeros(10), torch.tensor(1.0))
    starts = Starts(chain, rest, prior.library[:300])
    turn = roma.random_rotmat(40)
    hands = Hands(prior.library[100:140], turn, 500 * torch.randn(40, 3))
    joints = chain.points(rest, hands, jacobian=False).mm.mT
    found = starts.hands(joints, (0, 3))
    assert torch.allclose(found.box, hands.box)
    assert torch.allclose(found.rotation, turn, atol=1e-3) and torch.allclose(found.root_mm, hands.root_mm, atol=0.1)
    assert float(starts.size_of(1.25 * joints)) == pytest.approx(1.25, abs=1e-3)


def test_a_subject_s_shape_is_found():
    layer = HandLayer(load_hand_model())
    correspondence = Correspondence.of("mano21")
    chain, prior = Chain(layer, correspondence.combinations.float()), PosturePrior.of(layer.template)
    shape, size = torch.tensor([0.0, 0.8, -0.9, 0, 0.7, 0, 0, 0, 0, 0]), torch.tensor(0.92)
    hands = posed(48)
    hands = Hands(hands.box.float(), hands.rotation.float(), hands.root_mm.float())
    labels = chain.points(chain.rest(shape, size), hands, jacobian=False).mm.mT
    subject = find_subject(chain, prior, labels, torch.ones(21), FitWeights())
    found, wanted = (chain.rest(s, z).joints_mm for s, z in ((subject.shape, subject.size), (shape, size)))
    usual = chain.rest(torch.zeros(10), torch.tensor(1.08)).joints_mm
    assert (found - wanted).norm(dim=-1).mean() < 0.1 * (usual - wanted).norm(dim=-1).mean()


def test_joints_that_count_are_those_defined_alike():
    assert Correspondence.of("nyu14").shared == (*range(11), 12)
    assert Correspondence.of("icvl16").shared == tuple(range(1, 16))
    assert Correspondence.of("mano21").shared == tuple(range(21))
    for name, joints in FITTED.items():
        correspondence = Correspondence.of(name)
        keypoints = torch.randn(21, 3, dtype=torch.float64)
        assert torch.allclose(correspondence.combinations @ keypoints, joints.from_mano21(keypoints))
        assert len(correspondence.bones) == len(joints) and set(NOT_SHARED) <= set(FITTED)
    assert set(OFFSETS_MM) == {"nyu14", "icvl16"}
    assert not Correspondence.of("nyu14", offsets=False).offsets_mm.any()
    tips = Correspondence.of("msra21").bones[[4, 8, 12, 16, 20]]
    assert tips.tolist() == [3, 6, 12, 9, 15]


def test_parameter_files_come_back(tmp_path):
    layer = HandLayer(load_hand_model())
    hands = posed(5)
    pose = layer.coefficients(roma.rotmat_to_rotvec(Anatomy.of(layer).rotations(hands.angles().float())))
    params = HandParams(torch.randn(5, 3), pose, torch.randn(5, 10), torch.rand(5, 1), 600 * torch.randn(5, 3))
    written = write_parameter_files(tmp_path / "some", params)
    assert sorted(path.name for path in written) == [
        f"some-{p}.txt" for p in ("glb", "pose", "scale", "shape", "trans")
    ]
    assert torch.allclose(read_parameter_files(tmp_path / "some").vector(), params.vector(), atol=1e-3, rtol=1e-5)
