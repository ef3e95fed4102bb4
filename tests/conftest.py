"""What all tests share, made once a session: a tiny dataset, weights, what they make of it, an S3 server and a Ray."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pytest
import ray
import torch
from hypothesis import settings

from dakpn.config import TrainConfig, TranslateConfig
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import color_moments
from dakpn.models.weights import save_predictor
from dakpn.scenes import render_scene, write_dataset
from dakpn.sources.pack import pack_dataset
from tests import fake_gpu
from tests.lanes import OneRayScheduling
from tests.processes import patient_ray_session
from tests.s3_server import chosen_server
from tests.s3_server import s3_server as running_s3_server
from tests.scenes import CAMVID, Scenes, make_scenes, tiny_training
from tests.translations import SHARDS, job, outputs
from workflows import train, translate

_CPUS = 5  # two workers with two streams each, and one to spare
_numbers = count()

# Ray gives its workers way to all other processes (15); beside one on each core they would hardly move.
os.environ.setdefault("RAY_worker_niceness", "0")
settings.register_profile("tests", deadline=None)  # how long an example takes tells of the machine, not of the code
settings.load_profile("tests")
torch.set_num_threads(1)  # tiny tensors: more threads only wait for one another when the machine is busy
fake_gpu.register()


@pytest.hookimpl(optionalhook=True)  # `pytest -p no:xdist` runs everything in one process
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneRayScheduling:
    return OneRayScheduling(config, log)


@pytest.fixture(scope="session")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of shards of three images that take a while to translate."""
    folder = tmp_path_factory.mktemp("many")
    write_dataset(folder / "rendered", 3 * SHARDS, 0, partial(render_scene, size=(240, 320)), processes=1)
    pack_dataset(folder / "rendered", str(folder / "source"), CAMVID, None, 3, labelled=True)
    return str(folder / "source")


@pytest.fixture(scope="session")
def undisturbed(weights: str, many_shards: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed translation of `many_shards` leaves; none of it names the place of the output."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    translate.main(job(weights, many_shards, folder))
    return outputs(folder)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at once, past pytest's capture: what a test of many faults is at."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"\n{request.node.name}: {text}")
            sys.stdout.flush()

    return line


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Rendered and packed once."""
    return make_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, scenes: Scenes) -> str:
    """Predictor weights with a random head and styles: they change every image, which untrained weights would not."""
    return _random_weights(tmp_path_factory.mktemp("weights"), tiny_training("unused", scenes))


@pytest.fixture(scope="session")
def weights_for_any_image(tmp_path_factory: pytest.TempPathFactory, scenes: Scenes) -> str:
    """Like `weights`, but of a predictor that does not look at labels."""
    config = tiny_training("unused", scenes, "head.condition=encoder")
    return _random_weights(tmp_path_factory.mktemp("weights_for_any_image"), config)


@pytest.fixture(scope="session")
def translated(tmp_path_factory: pytest.TempPathFactory, scenes: Scenes, weights: str) -> Path:
    """The synthetic dataset, translated in this process. Tests copy it before they change it."""
    output = tmp_path_factory.mktemp("translated") / "out"
    translate.main(TranslateConfig(weights=weights, input=scenes.synthetic, output=str(output), workers=0))
    return output


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """Address of a real S3 server; None where its binary is not installed.

    Its address and keys are in the environment from here on, so that Ray's workers inherit them.
    """
    server = chosen_server()
    if server.path is None:
        yield None
        return
    with running_s3_server(tmp_path_factory.mktemp("s3"), server) as address, pytest.MonkeyPatch.context() as patch:
        for name, value in {"AWS_ENDPOINT_URL": f"http://{address}", **server.keys}.items():
            patch.setenv(name, value)
        yield address


@pytest.fixture
def bucket(s3_server: str | None) -> str:
    """The URI of a new bucket."""
    if s3_server is None:
        pytest.skip(f"the S3 server comes with {chosen_server().source}; it is not installed here")
    name = f"bucket-{next(_numbers)}"
    fsspec.filesystem("s3", endpoint_url=f"http://{s3_server}").mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def ray_here(s3_server: str | None) -> Iterator[str]:
    """The one Ray of this process, and its address: workflows join it instead of starting one each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        with patient_ray_session(_CPUS):
            yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="session")
def finished_run(ray_here: str, scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run in this process. Tests copy it before they change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    train.main(tiny_training(run, scenes))
    return run


def _random_weights(folder: Path, config: TrainConfig) -> str:
    torch.manual_seed(0)
    classes = CAMVID.label_space.num_classes
    predictor = KernelPredictor(config.predictor(config.encoder.network, classes, ("dusk", "noon", "rain"), 1914))
    if predictor.style_bank is not None:
        shares = torch.rand(3, classes, 8, 8).softmax(1)
        predictor.style_bank.fill(color_moments(torch.rand(3, 3, 8, 8), shares))
    torch.nn.init.normal_(predictor.head.weight)
    torch.nn.init.normal_(predictor.head.bias)
    save_predictor(str(folder), predictor, CAMVID.label_space, "random weights of the tests")
    return str(folder)
