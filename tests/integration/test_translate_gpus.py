"""A translation whose workers have a GPU while the machine that plans and verifies it has none."""

import json
import os
from pathlib import Path

import pytest
import torch

from dakpn.datasets import manifest
from dakpn.translation.job_report import read_report
from tests.command import assert_failed, dakpn, dakpn_process
from tests.paths import REPOSITORY
from tests.scenes import Scenes
from tests.translations import arguments

_AT_START = """
import os, sys

if sys.argv[0].endswith("default_worker.py") or "default_worker.py" in " ".join(sys.orig_argv):
    import importlib.abc, importlib.machinery, importlib.util

    class Given(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name, path=None, target=None):
            if name != "dakpn.translation.translator":
                return None
            sys.meta_path.remove(self)
            self.spec = importlib.util.find_spec(name)
            return importlib.machinery.ModuleSpec(name, self, origin=self.spec.origin)

        def exec_module(self, module):
            self.spec.loader.exec_module(module)
            assert os.environ.get("CUDA_VISIBLE_DEVICES") == "0", "Ray gave this worker no GPU"
            available = module._available
            module._available = lambda name: available("cpu" if name == "cuda" else name)
            module.Translator._sends = True

    sys.meta_path.insert(0, Given())
"""
"""What a worker's process runs as it starts: where Ray gives it a GPU, the CPU stands for one, with all of its ways."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU; the test is of one without")
def test_a_job_is_planned_and_verified_where_there_is_no_gpu(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = arguments(weights, scenes.synthetic, out, "num_gpus=1", "workers=1")
    planned = dakpn(*command, "--dry-run")
    assert planned.stdout.startswith("12 images in 3 shards to translate"), planned.stderr
    assert_failed(dakpn(*command[:-1], "workers=0"), 2, "device 'cuda' cannot be used")

    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(_AT_START)
    path = os.pathsep.join([str(tmp_path / "site"), str(REPOSITORY)])
    done = dakpn_process(*command, PYTHONPATH=path, RAY_OVERRIDE_RESOURCES=json.dumps({"GPU": 1}))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 12 images in 3 shards\n"

    checked = ("verify", "--input", scenes.synthetic, "--output", out, "--weights", weights, "workers=1")
    verified = dakpn(*checked, "tolerance=1", "--json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["retranslated"] == 12
    assert verified.stderr.count("this process has none: it takes the CPU") == 1
    assert dakpn(*command).stdout == done.stdout  # all is done, and no worker is asked for
    assert read_report(str(out)).shards_before == 3
    assert manifest.read_index(str(out)).rows == 12
