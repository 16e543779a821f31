"""Recognisers: their published sizes, their kernels beside slow twins, and that each can learn 32 gestures by heart."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from config_gesture import GestureExperiment, GestureOptimConfig, RecogniserConfig, RecogniserName
from gesture.bank import SequenceBank
from gesture.dg_sta import DgSta
from gesture.hpev import Hpev, posture_volume
from gesture.masked_attention import Domain, dense_attention, domain_mask, spatial_attention, temporal_attention
from gesture.neighbours import around, gathered, nearest
from gesture.pointlstm import PointLstm, PointLstmCell
from gesture.recognisers import NAMES, RECIPES, make_recogniser, parameter_counts
from gesture.res_tcn import ResTcn
from gesture.spd import as_vector, gaussian, rectified_log
from gesture.st_gcn import StGcn, partitions
from gesture.st_ts_hgr_net import StTsHgrNet
from gesture.sta_res_tcn import StaResTcn
from gesture.train import make_optimizer
from tests.gestures import synthetic_bank
from train_gesture import main
from util.joints import MANO21, SHREC22, JointSet

POINTS = 24
"""Points of a frame in these tests."""


def test_sizes_are_those_published(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--parameters"])
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert counts == parameter_counts() and tuple(counts) == NAMES
    assert counts["dg_sta"] == 267_022
    for name, recipe in RECIPES.items():
        if recipe.published is not None:
            assert abs(counts[name] / recipe.published - 1) < 0.004, "the rounding of published millions"


@pytest.mark.parametrize("joint_set", [SHREC22, MANO21], ids=lambda joint_set: joint_set.name)
@pytest.mark.parametrize("name", [name for name in NAMES if RECIPES[name].sees == "joints"])
def test_joint_sets_of_either_kind_are_seen(name: RecogniserName, joint_set: JointSet) -> None:
    config = RecogniserConfig(name, frames=12, volume=8)
    network = make_recogniser(config, 28, joint_set).eval()
    joints = torch.randn(2, 12, len(joint_set), 3)
    with torch.no_grad():
        scores = network(joints)
        # each sequence is judged alone, and each of its frames matters
        assert torch.allclose(network(joints[:1]), scores[:1], atol=1e-4)
        assert not torch.allclose(network(joints.flip(1)), scores, atol=1e-4)
    assert scores.shape == (2, 28) and scores.isfinite().all()


@pytest.mark.parametrize("domain", ["spatial", "temporal"])
def test_masked_attention_is_its_dense_twin(domain: Domain) -> None:
    query, key, value = (torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True) for _ in range(3))
    attend = spatial_attention if domain == "spatial" else temporal_attention
    fast, slow = attend(query, key, value), dense_attention(query, key, value, domain)
    assert torch.allclose(fast, slow, atol=1e-12)
    weight = torch.randn_like(fast)
    for a, b in zip(
        *(torch.autograd.grad(x, (query, key, value), weight, retain_graph=True) for x in (fast, slow)), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-12)


def test_masks_say_who_sees_whom() -> None:
    for frames, joints in ((3, 2), (8, 22)):
        spatial, temporal = (domain_mask(frames, joints, domain) for domain in ("spatial", "temporal"))
        for i, j in np.ndindex(*spatial.shape):
            same = i // joints == j // joints
            assert bool(spatial[i, j]) == same and bool(temporal[i, j]) == (not same or i == j)


def test_the_graph_is_the_hands() -> None:
    for joint_set in (SHREC22, MANO21):
        own, parents, children = partitions(joint_set)
        assert torch.allclose((own + parents + children).sum(1), torch.ones(len(joint_set)))
        assert (own > 0).equal(torch.eye(len(joint_set)) > 0) and (parents > 0).equal(children.mT > 0)
        assert {(parent, child) for child, parent in (parents > 0).nonzero().tolist()} == set(joint_set.bones)


def test_logarithms_of_matrices() -> None:
    samples = torch.randn(3, 9, 4, dtype=torch.float64)
    matrix = samples.mT @ samples
    log = rectified_log(matrix, 1e-6)
    assert torch.allclose(torch.linalg.matrix_exp(log), matrix)
    # of 2 samples in 4 dimensions two eigenvalues are 0: they count as the floor
    low = rectified_log(samples[:, :2].mT @ samples[:, :2], 0.01)
    values = torch.linalg.eigvalsh(low)
    assert torch.allclose(values[:, :2], torch.full_like(values[:, :2], 0.01).log()) and values[:, 2:].gt(-4).all()


def test_gradients_of_logarithms_also_where_eigenvalues_meet() -> None:
    square = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    thin = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rectified_log(x @ x.mT + 0.1 * torch.eye(4), 1e-3), (square,))
    assert torch.autograd.gradcheck(lambda x: rectified_log(x @ x.mT, 0.01), (thin,))
    ball = (2 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    rectified_log(ball).sum().backward()
    assert ball.grad is not None and torch.allclose(ball.grad, torch.full((3, 3), 0.5, dtype=torch.float64))


def test_gaussians_and_their_vectors() -> None:
    samples = torch.randn(5, 40, 3, dtype=torch.float64)
    matrix = gaussian(samples)
    for one, embedded in zip(samples.numpy(), matrix.numpy(), strict=True):
        mean = one.mean(0)
        expected = np.block([[np.cov(one.T, bias=True) + np.outer(mean, mean), mean[:, None]], [mean[None], np.eye(1)]])
        assert np.allclose(embedded, expected)
    assert torch.allclose(as_vector(matrix).norm(dim=-1), torch.linalg.matrix_norm(matrix)), "lengths are kept"


def test_the_posture_volume_is_that_of_its_definition() -> None:
    joints = torch.randn(2, 3, 22, 3)
    size, step = 8, 2
    volume = posture_volume(joints, size, step)
    assert volume.shape == (2, size + 2 * step, size, size)
    for b in range(2):
        expected = torch.zeros(volume.shape[1:])
        edge = max(float((f.amax(0) - f.amin(0)).max()) for f in joints[b])
        for t, frame in enumerate(joints[b]):
            middle = (frame.amax(0) + frame.amin(0)) / 2
            for joint in frame:
                i, j, k = (min(size - 1, int(v)) for v in ((joint - middle) / edge + 0.5) * size)
                expected[i + step * t, j, k] = 1
        assert volume[b].equal(expected)
    assert posture_volume(joints * 3 + 1, size, step).equal(volume), "neither size nor place matters"


def test_neighbours_are_the_nearest() -> None:
    points, among = torch.randn(2, 5, 3), torch.randn(2, 7, 3)
    index = nearest(points, among, 3)
    for b in range(2):
        for i in range(5):
            apart = (among[b] - points[b, i]).norm(dim=-1)
            assert set(index[b, i].tolist()) == set(apart.argsort()[:3].tolist())
    assert gathered(among, index)[1, 2, 0].equal(among[1, index[1, 2, 0]])
    frames = torch.arange(3.0).view(1, 3, 1, 1)
    assert around(frames).flatten().tolist() == [0, 0, 1, 0, 1, 2, 1, 2, 2]
    assert nearest(points, among, 30).shape == (2, 5, 7), "no more than there are"


def test_a_point_reads_the_states_of_its_neighbours() -> None:
    """One step beside the plain way: an LSTM cell on (place, features, offset, state) of each pair."""
    cell = PointLstmCell(3, 4).double()
    features, place, past = (torch.randn(1, n, c, dtype=torch.float64) for n, c in ((5, 3), (5, 4), (6, 4)))
    state, memory = (torch.randn(1, 6, 4, dtype=torch.float64) for _ in range(2))
    index = nearest(place[..., :3], past[..., :3], 2)
    seen = cell.of_input(torch.cat([place, features], -1))
    fast = cell.step(seen, place, past, index, state, memory)
    weight = torch.cat([cell.of_input.weight, cell.of_offset.weight, cell.of_state.weight], 1)
    for i in range(5):
        states, memories = [], []
        for j in index[0, i].tolist():
            inputs = torch.cat([place[0, i], features[0, i], past[0, j] - place[0, i], state[0, j]])
            let_in, forget, let_out, new = (weight @ inputs + cell.of_input.bias).chunk(4)
            memories.append(forget.sigmoid() * memory[0, j] + let_in.sigmoid() * new.tanh())
            states.append(let_out.sigmoid() * memories[-1].tanh())
        assert torch.allclose(fast[0][0, i], torch.stack(states).amax(0))
        assert torch.allclose(fast[1][0, i], torch.stack(memories).amax(0))


def test_the_order_of_points_does_not_matter() -> None:
    network = PointLstm(14, (8, 8, 8, 16), (3, 4, 3, 4)).eval()
    points = torch.randn(2, 4, 12, 3)
    with torch.no_grad():
        assert torch.allclose(network(points), network(points[:, :, torch.randperm(12)]), atol=1e-5)


@pytest.fixture(scope="module")
def joints() -> SequenceBank:
    return synthetic_bank()


@pytest.fixture(scope="module")
def points() -> SequenceBank:
    return synthetic_bank(points=POINTS)


SMALL: dict[RecogniserName, tuple[Callable[[], nn.Module], int, int, float]] = {
    "dg_sta": (lambda: DgSta(14, SHREC22, 4, 0.0), 4, 14, 2e-3),
    "res_tcn": (lambda: ResTcn(14, SHREC22, 0.0), 16, 8, 1e-3),
    "sta_res_tcn": (lambda: StaResTcn(14, SHREC22, 0.0), 16, 8, 1e-3),
    "st_gcn": (lambda: StGcn(14, SHREC22, 0.0, (16, 16, 32, 32)), 8, 18, 5e-3),
    "st_ts_hgr_net": (lambda: StTsHgrNet(14, SHREC22, features=5, joined=24), 12, 40, 1.5e-2),
    "hpev": (lambda: Hpev(14, SHREC22, 8, 0.0, 12, 2, (16, 16, 32, 32), 8), 8, 12, 5e-3),
    "pointlstm": (lambda: PointLstm(14, (16, 32, 32, 64), (4, 6, 4, 6)), 5, 12, 2e-3),
}
"""What is built, frames that it sees, steps and learning rate that are enough; the heavy ones in a smaller size."""


@pytest.mark.parametrize("name", NAMES)
def test_each_learns_32_gestures_by_heart(name: RecogniserName, joints: SequenceBank, points: SequenceBank) -> None:
    make, frames, steps, rate = SMALL[name]
    network, every = make(), torch.arange(32)
    bank = points if RECIPES[name].sees == "points" else joints
    sequences = points.points(every, frames, POINTS) if bank is points else joints.joints(every, frames)
    optim = GestureOptimConfig(learning_rate=rate, weight_decay=0.0)
    optimizer = make_optimizer(GestureExperiment(recogniser=RecogniserConfig(name), optim=optim), network)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(sequences), bank.labels).backward()
        optimizer.step()
    for layer in network.modules():  # running means are far behind after so few steps
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None
    with torch.no_grad():
        network(sequences)
        taken = network.eval()(sequences).argmax(-1)
    assert (taken == bank.labels).float().mean() >= 31 / 32
    if name == "st_ts_hgr_net":
        join = network.get_parameter("join")
        assert torch.allclose(join.mT @ join, torch.eye(join.shape[-1]).expand(len(join), -1, -1), atol=1e-4)


def test_only_one_recogniser_needs_geoopt(root: Path) -> None:
    text = {file.name for file in (root / "gesture").glob("*.py") if "geoopt" in file.read_text(encoding="utf-8")}
    assert text == {"st_ts_hgr_net.py", "recognisers.py", "train.py"}
