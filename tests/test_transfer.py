"""The image-translation generator against numbers of the published implementation, and from a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.reference_weights import seeded_state
from model.generator import ResidualGenerator
from model.transfer import load_generator
from tests.shared import REFERENCE, needs_reference
from util.checkpoint import load_weights, save_weights
from util.convert import convert
from util.errors import UserError


@needs_reference
def test_agrees_with_the_published_implementation(tmp_path: Path):
    path = tmp_path / "generator.pth"
    torch.save(seeded_state(REFERENCE / "transfer_state_dict_keys.json"), path)
    generator = load_generator(path)
    data = np.load(REFERENCE / "transfer.npz")
    with torch.no_grad():
        translated = generator(torch.tensor(data["image"]))
    assert np.abs(translated - data["translated"]).max() < 1e-4


def test_a_small_one_learns_and_keeps_to_the_range_of_depth():
    generator = ResidualGenerator(filters=4, blocks=2)
    image = 2 * torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) - 1
    translated = generator(image)
    assert translated.shape == image.shape and translated.abs().max() <= 1
    (translated - image).abs().mean().backward()
    # A bias before a normalisation has no effect; the last one does.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters() if p.ndim > 1)


def test_comes_back_from_both_kinds_of_file(tmp_path: Path):
    generator = ResidualGenerator(filters=4, blocks=2)
    save_weights(tmp_path / "a.safetensors", generator.state_dict(), {"generator": {"filters": 4, "blocks": 2}})
    checkpoint = convert(tmp_path / "a.safetensors", tmp_path / "b.pth")
    assert "image-translation generator, 2 residual blocks, 4 filters" in checkpoint.about()
    content = torch.load(tmp_path / "b.pth", weights_only=True)
    generator.load_state_dict(content)
    image = torch.rand(1, 1, 16, 16)
    for name in ("a.safetensors", "b.pth"):
        assert torch.equal(load_generator(tmp_path / name)(image), generator(image))


def test_a_file_of_ours_with_other_tensors_or_settings_is_refused(tmp_path: Path):
    state = ResidualGenerator(filters=4, blocks=2).state_dict()
    path = tmp_path / "a.safetensors"
    cases: tuple[tuple[object, str], ...] = (
        ({"filters": 4, "blocks": 3}, "lack model.12.conv_block.1.bias"),
        ({"filters": "four", "blocks": 2}, "damaged header"),
        ({"filters": 4, "layers": 2}, "damaged header"),
        (None, "damaged header"),
    )
    for size, words in cases:
        save_weights(path, state, {"generator": size})
        with pytest.raises(UserError, match=words):
            load_generator(path)
    save_weights(path, state, {"generator": {"filters": 4, "blocks": 2}})
    with pytest.raises(UserError, match="sees no hand pose"):
        load_weights(path)
