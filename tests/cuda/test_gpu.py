"""The same numbers on a GPU as on the CPU; runs wherever there is one."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from config import EXPERIMENTS
from dataloader.points import all_points_xyz, box_cut, points_from_crop
from dataloader.sample import HandSample
from model.network import DualBranchNetwork
from model.offset_maps import Cells, read_maps, read_rows, write_maps
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.rasterise import rasterise
from render.sensor import SensorNoise
from render.spheres import HandSpheres
from render.surface import part_surface_distance, surface_distance
from training.loop import Loop
from training.parts import Ready
from training.prefetch import rendered_steps
from training.selfsupervise import SelfSupervision
from training.setup import make_network, make_rendered
from training.supervised import supervised_terms
from util.errors import UserError
from util.run_folder import RunFolder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
SMOKE = EXPERIMENTS["smoke"]
EXACT = replace(SMOKE, network=replace(SMOKE.network, precision="fp32"))
BATCH, POINTS = 6, 300


@pytest.fixture(scope="module")
def sample() -> HandSample:
    """Rendered hands, on the CPU."""
    return make_rendered(SMOKE).batch(BATCH, torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def layers() -> dict[torch.device, HandLayer]:
    return {device: HandLayer(load_hand_model()).to(device) for device in (CPU, GPU)}


@pytest.fixture(autouse=True)
def exact_products():
    """No TF32, which has 10 bits of mantissa: products are compared with the CPU's."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def with_gradient(function: Callable[..., Tensor], at: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient, on the CPU."""
    at = at.detach().clone().requires_grad_()
    value = function(at, *rest)
    value.sum().backward()
    assert value.device == at.device and at.grad is not None
    return value.detach().cpu(), at.grad.cpu()


def labels_xyz(sample: HandSample) -> tuple[Tensor, Tensor]:
    """Vertices and joints in half cubes."""
    assert sample.vertices_mm is not None and sample.joints_mm is not None
    return sample.crop.xyz_from_mm(sample.vertices_mm), sample.crop.xyz_from_mm(sample.joints_mm)


def test_rasteriser(sample: HandSample, layers: dict[torch.device, HandLayer]) -> None:
    assert sample.vertices_mm is not None
    uvz = sample.crop.pixels_from_mm(sample.vertices_mm)
    faces = layers[CPU].faces
    image, gradient = with_gradient(lambda v: rasterise(v, faces.to(v.device), 128), uvz)
    its_image, its_gradient = with_gradient(lambda v: rasterise(v, faces.to(v.device), 128), uvz.to(GPU))
    assert ((image > 0) == (its_image > 0)).all() and (image > 0).any()
    torch.testing.assert_close(its_image, image, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(its_gradient, gradient, rtol=1e-4, atol=1e-3)


def test_rasteriser_takes_its_turn_in_the_stream_of_torch(
    sample: HandSample, layers: dict[torch.device, HandLayer]
) -> None:
    assert sample.vertices_mm is not None
    uvz = sample.crop.pixels_from_mm(sample.vertices_mm)
    expected = rasterise(uvz, layers[CPU].faces, 128)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(uvz, device=GPU)
        torch.cuda._sleep(200_000_000)  # the kernel must not start before what is queued ahead of it is done
        late.copy_(uvz.to(GPU))
        image = rasterise(late, layers[GPU].faces, 128)
    stream.synchronize()
    torch.testing.assert_close(image.cpu(), expected, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("by_part", [False, True])
def test_surface_distance(sample: HandSample, layers: dict[torch.device, HandLayer], by_part: bool) -> None:
    vertices, joints = labels_xyz(sample)
    points, _ = points_from_crop(sample.crop, POINTS, torch.Generator().manual_seed(1), box_cut(sample.crop, joints))
    labels = torch.randint(0, 16, points.shape[:2], generator=torch.Generator().manual_seed(2))

    def distance(at: Tensor) -> Tensor:
        layer, here = layers[torch.device(at.device.type)], points.to(at.device)
        if by_part:
            return part_surface_distance(here, labels.to(at.device), at, layer.faces, layer.part_faces)
        return surface_distance(here, at, layer.faces)

    value, gradient = with_gradient(distance, vertices)
    its_value, its_gradient = with_gradient(distance, vertices.to(GPU))
    torch.testing.assert_close(its_value.sqrt(), value.sqrt(), rtol=0, atol=1e-4)
    # of two triangles equally near either may be taken: they share the gradient out in their own ways
    apart = (its_gradient - gradient).abs().amax(-1) > 1e-3 * gradient.abs().max()
    assert apart.float().mean() < 0.01


def test_hand_layer(sample: HandSample, layers: dict[torch.device, HandLayer]) -> None:
    assert sample.params is not None
    params = sample.params

    def vertices(pose: Tensor) -> Tensor:
        layer = layers[torch.device(pose.device.type)]
        return layer(params.rotation.to(pose.device), pose, params.shape.to(pose.device)).vertices_m

    for ours, theirs in zip(
        with_gradient(vertices, params.pose), with_gradient(vertices, params.pose.to(GPU)), strict=True
    ):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_spheres_points_and_maps(sample: HandSample, layers: dict[torch.device, HandLayer]) -> None:
    found: dict[torch.device, list[Tensor]] = {}
    for device in (CPU, GPU):
        here = sample.to(device)
        vertices, joints = labels_xyz(here)
        spheres = HandSpheres(layers[CPU]).to(device)
        centres, radii = spheres.centres(joints), spheres.radii(joints, vertices, here.crop.cube_mm[:, :1] / 2)
        drawn, seen = points_from_crop(here.crop, POINTS, torch.Generator().manual_seed(3), box_cut(here.crop, joints))
        cells = Cells.of(here.crop.depth, 32)
        maps = write_maps(here.crop.uvd_from_xyz(joints), cells)
        read = read_maps(maps, cells), read_rows(cells.at_seen(maps), cells)
        tensors = [centres, radii, spheres.penetration(centres, radii), drawn, seen, all_points_xyz(here.crop), maps]
        tensors += [*read, spheres.label_points(drawn, centres, radii)]
        assert all(tensor.device.type == device.type for tensor in tensors)
        found[device] = [tensor.cpu() for tensor in tensors]
    *ours, our_labels = found[CPU]
    *theirs, their_labels = found[GPU]
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(their, our, rtol=1e-4, atol=1e-4)
    assert (our_labels != their_labels).float().mean() < 0.005


def step_gradients(device: torch.device, folder: RunFolder) -> dict[str, Tensor]:
    """Gradients of the network after one self-supervised step's losses, on the CPU."""
    fabric = Fabric(accelerator=device.type, devices=1)
    torch.manual_seed(0)
    network, layer = make_network(EXACT, fabric)
    rendered = make_rendered(EXACT)
    loop = Loop(EXACT, fabric, network, folder)
    terms_of = SelfSupervision(EXACT, layer, rendered)
    sample, real = (rendered.batch(4, torch.Generator().manual_seed(seed)).to(device) for seed in (5, 6))
    outputs = loop.wrapped(sample.crop)
    terms = supervised_terms(outputs, sample, layer, EXACT.supervised)
    on_real = loop.wrapped(real.crop)
    terms |= terms_of.weighted(
        terms_of.unlabelled_terms(real.crop, on_real, 300, torch.Generator().manual_seed(7)), 300
    )
    assert all(value.device.type == device.type for value in terms.values())
    fabric.backward(torch.stack(list(terms.values())).sum())
    gradients = {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}
    loop.optimizer.step()
    loop.averaged.update(network, 0)
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values() if tensor.is_floating_point())
    return gradients


def test_training_step(tmp_path) -> None:
    runs = [(device, RunFolder.open(tmp_path / name, EXACT)) for device, name in ((CPU, "on_cpu"), (GPU, "on_gpu"))]
    ours, theirs = (step_gradients(device, folder) for device, folder in runs)
    assert ours.keys() == theirs.keys()
    flat = [torch.cat([gradients[name].flatten() for name in ours]) for gradients in (ours, theirs)]
    # sums in another order, and points that change their triangle, part or side of a threshold
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99


def test_bf16_network_on_gpu(sample: HandSample, layers: dict[torch.device, HandLayer]) -> None:
    network = DualBranchNetwork(SMOKE.network, layers[GPU]).to(GPU).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    with torch.no_grad():
        outputs = network(sample.to(GPU).crop)
    assert [output.joints_xyz.isfinite().all().item() for output in outputs] == [True] * SMOKE.network.stages


def test_sensor_noise(sample: HandSample) -> None:
    depth_mm = sample.crop.depth_mm[:, 0]
    ours, theirs = (
        SensorNoise(SMOKE.sensor)(depth_mm.to(device), torch.Generator().manual_seed(2)).cpu() for device in (CPU, GPU)
    )
    # readings next to a threshold, or between two steps, may fall to the other side of it
    assert float(((ours - theirs).abs() > 1e-2).float().mean()) < 1e-3


def test_rendered_steps_come_in_pinned_memory() -> None:
    sample = next(rendered_steps(SMOKE, make_rendered(SMOKE), 0, 1, 2, pinned=True))
    assert sample.crop.depth.is_pinned() and sample.vertices_mm is not None and sample.vertices_mm.is_pinned()
    assert torch.equal(sample.to(GPU).crop.depth.cpu(), sample.crop.depth)


def test_a_loss_that_is_not_finite_reaches_no_weights(tmp_path) -> None:
    fabric = Fabric(accelerator="cuda", devices=1)
    network, _ = make_network(EXACT, fabric)
    loop = Loop(EXACT, fabric, network, RunFolder.open(tmp_path / "run", EXACT))
    weight = network.stage(0).pixel.offsets.weight
    before = weight.detach().clone()
    with pytest.raises(UserError, match="Step 0: stage1/maps is not finite"):
        loop.run(lambda step, part: Ready(lambda counts: {"stage1/maps": weight.sum() * float("nan")}), 1)
    assert loop.step == EXACT.optim.log_every and torch.equal(before, weight)


def test_cuda_graphs_give_the_same_outputs_and_gradients(sample: HandSample) -> None:
    fabric, crop = Fabric(accelerator="cuda", devices=1), sample.to(GPU).crop
    found = []
    for graphs in (False, True):
        torch.manual_seed(0)
        network, _ = make_network(replace(EXACT, optim=replace(EXACT.optim, cuda_graphs=graphs)), fabric)
        for _ in range(4):  # graphs are recorded after runs that warm up
            torch.compiler.cudagraph_mark_step_begin()
            network.zero_grad()
            outputs = network(crop)
            torch.stack([output.joints_xyz.square().mean() for output in outputs]).sum().backward()
        gradients = [p.grad.flatten().cpu() for p in network.parameters() if p.grad is not None]
        found.append((outputs[-1].joints_xyz.detach().cpu(), torch.cat(gradients)))
    (joints, gradient), (its_joints, its_gradient) = found
    torch.testing.assert_close(its_joints, joints, rtol=1e-3, atol=1e-3)
    assert torch.nn.functional.cosine_similarity(gradient, its_gradient, dim=0) > 0.99


def test_hands_drawn_on_the_gpu() -> None:
    rendered = make_rendered(SMOKE, GPU)
    sample, again = (next(rendered_steps(SMOKE, rendered, 0, 1, BATCH)) for _ in range(2))
    assert sample.vertices_mm is not None and sample.joints_mm is not None and sample.params is not None
    tensors = (sample.crop.depth, sample.vertices_mm, sample.joints_mm, sample.params.pose)
    assert all(tensor.is_cuda for tensor in tensors) and torch.equal(sample.crop.depth, again.crop.depth)
    # as exact as labels of a CPU: the hand of the parameters is the hand of the labels, and it is what is seen
    layer, params = rendered.layer, sample.params
    mesh = layer(params.rotation, params.pose, params.shape)
    half_mm = sample.crop.cube_mm[:, :1] / 2
    vertices_xyz, joints_xyz = mesh.placed(params.scale, params.translation, half_mm)
    torch.testing.assert_close(sample.crop.mm_from_xyz(vertices_xyz), sample.vertices_mm, rtol=0, atol=0.05)
    torch.testing.assert_close(sample.crop.mm_from_xyz(joints_xyz), sample.joints_mm, rtol=0, atol=0.05)
    clean = replace(SMOKE, rendered=replace(SMOKE.rendered, noise=False))
    seen = next(rendered_steps(clean, make_rendered(clean, GPU), 0, 1, BATCH))
    assert seen.vertices_mm is not None
    drawn = rasterise(seen.crop.pixels_from_mm(seen.vertices_mm), layer.faces, seen.crop.size)
    both = (drawn > 0) & (seen.crop.depth_mm[:, 0] > 0)
    assert both.sum() > 0.5 * (drawn > 0).sum()
    assert ((drawn - seen.crop.depth_mm[:, 0]).abs()[both] < 0.5).float().mean() > 0.8
