"""tools/mutants.py: what it mutates, and how it counts."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool():
    pytest.importorskip("cosmic_ray", reason="make mutants installs it")
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tools" / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_and_its_tests_are_there(tool):
    for module, tests in tool.GUARDS.items():
        assert (ROOT / "mixtransfer" / module).is_file()
        assert all((ROOT / "tests" / test).is_file() for test in tests.split()), module


def test_what_is_told_from_what_is_not(tool, tmp_path, monkeypatch):
    """Of a module with a fault that its test sees and one that it does not, and with types, which are no code."""
    (tmp_path / "mixtransfer").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "build" / "mutants").mkdir(parents=True)
    source = "def f(x: int | None) -> int | None:\n    if not x:\n        return None\n    return x * 2\n"
    (tmp_path / "mixtransfer" / "doubled.py").write_text(source)
    (tmp_path / "tests" / "test_doubled.py").write_text(
        "from pathlib import Path\n\n\ndef test_it():\n    space = {}\n"
        "    exec(Path('mixtransfer/doubled.py').read_text(), space)\n    assert space['f'](2) == 4\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setitem(tool.GUARDS, "doubled.py", "test_doubled.py")
    results = tool.examine("doubled.py", 0, 0)
    survived = {tool.mutated_line(result.diff) for result in results if not result.is_killed}
    assert survived == {"return x + 2", "return x ** 2"}  # 2 + 2 and 2 squared are 4 too
    assert (tmp_path / "mixtransfer" / "doubled.py").read_text() == source
    assert len(tool.examine("doubled.py", 3, 1)) == 3
