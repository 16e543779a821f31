"""Every kernel compiles for GPUs, on machines without one as well: warp brings the compiler along."""

from importlib import import_module
from pathlib import Path

import pytest
import warp as wp

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(file.stem for file in (ROOT / "render").glob("*.py") if "@wp.kernel" in file.read_text("utf-8"))
ARCHITECTURES = (80, 90)
"""Compute capabilities: A100 and H100."""


def test_kernels_are_found() -> None:
    assert {"rasterise_warp", "sensor_warp", "surface_warp"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_kernels_compile_to_ptx(name: str, tmp_path: Path) -> None:
    wp.init()
    module = import_module(f"render.{name}")
    kernels = [value.key for value in vars(module).values() if isinstance(value, wp.Kernel)]
    wp.compile_aot_module(module, arch=ARCHITECTURES, module_dir=tmp_path, use_ptx=True)
    for architecture in ARCHITECTURES:
        (file,) = tmp_path.glob(f"*.sm{architecture}.ptx")
        ptx = file.read_bytes().decode("ascii", "ignore")
        assert f".target sm_{architecture}" in ptx
        for kernel in kernels:
            assert any(".entry" in line and kernel in line for line in ptx.splitlines()), kernel
