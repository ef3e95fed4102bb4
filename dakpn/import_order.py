"""The project's packages before those of the same name that a user may have in the current folder."""

import importlib
import sys
from pathlib import Path

import dakpn

PACKAGES = ("cluster", "workflows")
"""Top-level packages with names that anyone may give a file of their own."""


def project_root() -> Path:
    """Return the folder that the project's packages lie in."""
    return Path(dakpn.__file__).resolve().parent.parent


def is_shadowed(folder: Path) -> bool:
    """Tell whether a folder other than the project's has a module or package of the same name as the project."""
    if folder.resolve() == project_root():
        return False
    return any((folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists() for name in PACKAGES)


def project_first() -> None:
    """Load the project's packages before others of the same name: Ray's workers look in the driver's folder first."""
    root = str(project_root())
    sys.path[:] = [root, *(path for path in sys.path if path != root)]
    for name in PACKAGES:
        importlib.import_module(name)  # Ray changes the order of folders again before a worker's first task
