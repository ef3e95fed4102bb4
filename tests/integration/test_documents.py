"""The commands of README and docs, run as they stand in one folder, one after the other, on tiny images."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from dakpn.scenes import photograph, render_scene, write_dataset
from tests.command import dakpn, environment
from tests.documents import shown_commands
from tests.paths import REPOSITORY
from tests.processes import patient_ray_session
from tests.scenes import as_cityscapes

SIZE = (96, 128)  # no smaller than the patch that the demo trains on
_NETWORK = ("network.widths=[4,8,8,16]",)
_TRAINING = ("training.size=[24,32]", "training.steps=2")
_TRAIN = (
    "prediction_size=[24,32]",
    *(f"encoder.{setting}" for setting in (*_NETWORK, *_TRAINING)),
    "discriminator.widths=[8,16]",
    "adversarial.patch_size=[32,32]",
    "adversarial.steps=2",
)
# What makes a command short; everything else is as the page has it.
SHORTER = {
    "demo": ("synthetic_count=8", "real_count=8", "steps=2", "encoder_steps=2", "segmenter_steps=2", "seeds=[0]"),
    "train": _TRAIN,
    "tune": (*_TRAIN, "tune.trials=2", "tune.report_every=2", "tune.objective.images=4", "tune.objective.correlate=0"),
    "evaluate": (*_NETWORK, *_TRAINING, "seeds=[0]"),
}
SHORTER_WITH_BASELINES = (
    *(f"contenders.{baseline}.steps=1" for baseline in ("CycleGAN", "CUT")),
    "real_labelled.counts=[0,2]",
    "real_labelled.draws=1",
    "measures={images: 4, pictures: 2, extractor: none}",
)


def write_video(root: Path) -> None:
    """Photographs in CamVid's layout, of two sequences and with a `val` split."""
    write_dataset(root / "all", 24, 500, partial(photograph, size=SIZE), processes=1)
    for number, image in enumerate(sorted((root / "all/images").iterdir())):
        split = "val" if number >= 20 else "train"
        for kind in ("images", "labels"):
            target = root / kind / split / f"000{number // 10}TP_{number:06d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root / "all" / kind / image.name, target)
    shutil.rmtree(root / "all")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader has before the first command."""
    write_dataset(tmp_path / "PATH/TO/synthetic", 8, 100, partial(render_scene, size=SIZE), processes=1)
    write_video(tmp_path / "PATH/TO/camvid")
    for name in ("PATH/TO/photos", "camvid"):
        (tmp_path / name).symlink_to(tmp_path / "PATH/TO/camvid")
    (tmp_path / "PATH/TO/gta5").symlink_to(tmp_path / "PATH/TO/synthetic")
    as_cityscapes(tmp_path / "PATH/TO/synthetic", tmp_path / "PATH/TO/cityscapes")
    (tmp_path / "workflows").symlink_to(REPOSITORY / "workflows")
    (tmp_path / "RUN").symlink_to(tmp_path / "runs/mine")
    shutil.copytree(tmp_path / "PATH/TO/synthetic", tmp_path / "SRC")
    (tmp_path / "SRC/images/empty.png").write_bytes(b"")  # what `check` is to find
    page = (REPOSITORY / "docs/evaluation.md").read_text()
    (tmp_path / "camvid_evaluation.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    return tmp_path


def run_all() -> None:
    """Run the commands in the current folder, with one Ray that is started there."""
    folder = Path.cwd()
    with patient_ray_session(cpus=5):
        for command in shown_commands():
            if command.needs_cluster or not command.words[0].endswith("dakpn"):
                continue
            words = list(command.words[1:])
            more = [*SHORTER.get(words[0], ())]
            if "workflows/configs/quickstart_evaluation.yaml" in words:
                more = ["training.size=[32,64]", "training.steps=2"]
            if "camvid_evaluation.yaml" in words:
                more += SHORTER_WITH_BASELINES
            done = dakpn(*words, *more, cwd=folder)
            assert done.returncode == (3 if "quarantine" in words else 0), f"{command}\n{done.stderr}"
            sys.stdout.write(f"{command}\n")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_runs_as_it_stands(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import run_all; run_all()"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 15
