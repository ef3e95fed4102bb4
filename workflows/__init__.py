"""The workflows: one short module a command, with a `main`; `cli` is the command line, `__main__` the program.

Importing `cluster` first settles Ray's environment.
"""

import runpy
import sys

import cluster  # noqa: F401


def as_command(name: str) -> None:
    """Run this package as the program that it is, with a command's name before the arguments of this process.

    So `python -m workflows.train CONFIG.yaml` is `python -m workflows train CONFIG.yaml`.
    """
    sys.argv[1:1] = [name]
    runpy.run_module("workflows", run_name="__main__")
