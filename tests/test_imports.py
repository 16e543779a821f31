"""The house holds: imports run one way, and no module outgrows its one idea."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = (
    "config_data",
    "config_losses",
    "config_optim",
    "config_rendered",
    "config_transfer",
    "config_benchmark",
    "config",
    "config_gesture",
)
ROOMS = ("util", "render", "fitting", "dataloader", "model", "training", "predicting", "gesture", "annotating")
ORDER = SETTINGS + ROOMS
ENTRIES = ("train_render", "evaluate", "predict", "fit_hand", "export", "train_gesture", "annotate", "hubconf")
MAX_LINES = 400


def _sources(name: str) -> list[Path]:
    single = ROOT / f"{name}.py"
    return [single] if single.is_file() else sorted((ROOT / name).rglob("*.py"))


def _imported(file: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.relative_to(ROOT)} line {node.lineno}: a relative import hides its room"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_before_it(room: str) -> None:
    later = set(ORDER[ORDER.index(room) + 1 :]) | set(ENTRIES)
    for file in _sources(room):
        wrong = _imported(file) & later
        assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_settings_need_no_package() -> None:
    allowed = {"dataclasses", "pathlib", "typing", "collections", "math", *SETTINGS}
    assert set().union(*(_imported(ROOT / f"{name}.py") for name in SETTINGS)) <= allowed
    assert set(SETTINGS) == {file.stem for file in ROOT.glob("config*.py")}


def test_packages_re_export_nothing() -> None:
    for room in ROOMS:
        body = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")).body
        assert [type(node) for node in body] == [ast.Expr], f"{room}/__init__.py holds more than its docstring"


def test_no_module_is_longer_than_its_idea() -> None:
    files = [ROOT / f"{entry}.py" for entry in ENTRIES]
    files += [file for room in (*ORDER, "tests", "docs", "bench") for file in _sources(room)]
    long = {
        str(f.relative_to(ROOT)): n for f in files if (n := len(f.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long
