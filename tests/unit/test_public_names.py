"""What can be imported from `dakpn` itself, and what that costs."""

import subprocess
import sys

import pytest

import dakpn
from tests.command import environment
from tests.paths import REPOSITORY

NAMES = ("SegmentationDataset", "Trainer", "TranslatingDataset", "Translator", "load_preset")
HEAVY = ("torch", "ray", "numpy", "pyarrow", "pydantic")
_LOADED = "import sys; {statement}; print(*sorted({heavy!r} & sys.modules.keys()))"


def loaded_by(statement: str) -> set[str]:
    """Of the heavy packages, those that a fresh process has loaded after the statement."""
    command = [sys.executable, "-c", _LOADED.format(statement=statement, heavy=set(HEAVY))]
    done = subprocess.run(
        command, env=environment(), cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_library_costs_nothing_until_a_name_is_used_and_data_never_torch() -> None:
    assert loaded_by("import dakpn; dir(dakpn)") == set()
    assert "torch" not in loaded_by("from dakpn import SegmentationDataset, load_preset")


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_the_thing_itself(name: str) -> None:
    assert getattr(dakpn, name).__name__ == name
    assert name in dir(dakpn)
    assert "Example:" in getattr(dakpn, name).__doc__


def test_there_are_no_others() -> None:
    assert sorted(dakpn.__all__) == sorted(NAMES)
    assert "__version__" in dir(dakpn)
    with pytest.raises(AttributeError, match=r"module 'dakpn' has no attribute 'Translater'"):
        _ = dakpn.Translater
    with pytest.raises(ImportError, match="cannot import name 'Translater'"):
        from dakpn import Translater  # noqa: F401
