"""The real thing on one GPU, through the command line, in a few minutes: `make test-gpu`.

Elsewhere it says that it was skipped. It needs nothing but what the commands need, so that it runs on a bare machine
too. It ends with a table of figures, and with exit code 1 if anything is not as it should be.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.bench_training import RECIPES, steps_on_a_gpu
from benchmarks.recipes import shipped_config
from dakpn.models.function.blur import StackedGather, gaussian_blur
from dakpn.models.function.noise import keyed_noise
from dakpn.models.function.translation import TranslationFunction, upsample_params
from dakpn.scenes import photograph, render_scene, write_dataset
from dakpn.training.reporting import read_metrics

REPOSITORY = Path(__file__).parents[2]
SIZE = (540, 960)
IMAGES = 48
_PATIENCE_S = 120
SMALL = (
    "prediction_size=[96, 160]",
    "encoder.training={size: [135, 240], steps: 40, batch_size_per_worker: 8, learning_rate: 1.0e-3}",
    "encoder.adaptation_rounds=1",
    "style.entries=24",
    "adversarial.steps=60",
    "report_every=10",
    "checkpoint_every=20",
)


class Row(NamedTuple):
    """One line of the table: what was done, whether it is as it should be, and figures."""

    what: str
    good: bool
    figures: str


def main() -> int:
    """Run all; print a line as each is done, and the table at the end."""
    if not torch.cuda.is_available():
        print("skipped: torch finds no GPU on this machine; `make test-gpu` needs one and takes under 4 minutes there")
        return 0
    started = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="dakpn-gpu-") as name:
        for check in (parity, steps, lambda: commands(Path(name))):
            for row in check():
                rows.append(row)
                print(f"{'ok' if row.good else 'FAILED':<7}{row.what:<52}{row.figures}", flush=True)
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, {os.cpu_count()} CPUs")
    print(f"{sum(row.good for row in rows)} of {len(rows)} as they should be, in {time.monotonic() - started:.0f} s")
    if report := os.environ.get("DAKPN_GPU_REPORT"):
        machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cpus": os.cpu_count()}
        Path(report).write_text(json.dumps({**machine, "rows": [row._asdict() for row in rows]}, indent=2) + "\n")
    return 0 if all(row.good for row in rows) else 1


def parity() -> Iterator[Row]:
    """The function, its noise and its gradients are on the GPU what they are on the CPU."""
    function = TranslationFunction(shipped_config().translation)
    size = (1052, 1914)
    image = torch.from_numpy(render_scene(7, size).image)
    params = function.bound(torch.randn(1, function.num_params, 192, 320, generator=torch.Generator().manual_seed(0)))
    pixels = image.permute(2, 0, 1)[None].float() / 255
    found = {}
    for device in ("cpu", "cuda"):
        full = upsample_params(params.to(device), size)
        noise = keyed_noise(5, size, device=device)[None]
        found[device] = (function.apply(pixels.to(device), full, noise).cpu() * 255, noise.cpu())
    apart = (found["cpu"][0] - found["cuda"][0]).abs()
    share = float((apart > 0.51).float().mean())
    yield Row(
        "function at 1914 x 1052, GPU and CPU", share < 1e-5, f"{share:.1e} of values differ by over half a level"
    )
    yield Row("noise, GPU and CPU", torch.equal(found["cpu"][1], found["cuda"][1]), "equal to the bit")
    half = [
        function.apply(
            pixels[..., rows, :].cuda(),
            upsample_params(params.cuda(), size, (rows.start, 0, rows.stop - rows.start, size[1])),
            torch.zeros(1, device="cuda"),
        ).cpu()
        for rows in (slice(0, 540), slice(500, 1052))
    ]
    whole = function.apply(pixels.cuda(), upsample_params(params.cuda(), size), torch.zeros(1, device="cuda")).cpu()
    margin = function.radius
    equal = torch.equal(half[0][..., : 540 - margin, :], whole[..., : 540 - margin, :])
    equal &= torch.equal(half[1][..., margin:, :], whole[..., 500 + margin :, :])
    yield Row("tiles and the whole image on the GPU", equal, "equal to the bit")
    sigma = (torch.rand(2, 3, 60, 80) * 3).requires_grad_()
    small = torch.rand(2, 3, 60, 80, requires_grad=True)
    weights = torch.randn(2, 3, 60, 80)
    gradients = [
        torch.autograd.grad((blurred.cpu() * weights).sum(), (small, sigma))
        for blurred in (gaussian_blur(small, sigma), StackedGather.apply(small.cuda(), sigma.cuda(), 12))
    ]
    worst = max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True))
    yield Row("gradients of the blur, GPU and CPU", worst < 1e-4, f"{worst:.1e} apart at most")


def steps() -> Iterator[Row]:
    """A step of each recipe, by the benchmark of training."""
    for recipe in RECIPES:
        for claim in steps_on_a_gpu(recipe, shipped_config(recipe)):
            yield Row(
                claim.claim.partition(", NVIDIA")[0], claim.reached, f"{claim.measured:.4g} (target {claim.target})"
            )


def commands(folder: Path, *more: str, gpu: bool = True) -> Iterator[Row]:
    """Each command as a user gives it; without a GPU, and with smaller networks, this tries the script itself."""
    for domain, renderer in (("synthetic", render_scene), ("real", photograph)):
        write_dataset(folder / "source" / domain, IMAGES, 100, partial(renderer, size=SIZE), processes=8)
        dakpn(folder, "pack", f"source/{domain}", domain, "--rows-per-shard", "12")
    data = ("synthetic=synthetic", "real=real", f"use_gpu={str(gpu).lower()}", *more)
    recipe = str(REPOSITORY / "workflows/configs/gta5_cityscapes.yaml")
    for workers in (0, 1):
        run = f"run{workers}"
        done, seconds = timed(
            lambda w=workers, r=run: dakpn(folder, "train", recipe, *SMALL, *data, f"run={r}", f"workers={w}")
        )
        line = read_metrics(str(folder / run / "metrics.jsonl"))[-1] if done.returncode == 0 else {}
        figures = f"{seconds:.0f} s; {line.get('images_per_second', 0):.0f} images/s at the end"
        yield Row(f"train workers={workers}", done.returncode == 0, figures + said(done))
    yield stopped(folder, recipe, data)
    translate = ("translate", "--weights", "run0/weights", "--input", "synthetic", "--output")
    for name, more in (("cpu", ["workers=2"]), ("gpu", ["workers=1", f"num_gpus={int(gpu)}"])):
        done, seconds = timed(lambda n=name, m=more: dakpn(folder, *translate, n, *m))
        yield Row(
            f"translate {' '.join(more)}", done.returncode == 0, f"{seconds:.0f} s for {IMAGES} images" + said(done)
        )
        done, seconds = timed(lambda n=name: dakpn(folder, "verify", "--input", "synthetic", "--output", n))
        yield Row(f"verify what was translated by {name}", done.returncode == 0, f"{seconds:.0f} s" + said(done))
    evaluation = (
        "evaluate",
        str(REPOSITORY / "workflows/configs/camvid_demo_evaluation.yaml"),
        *("output=evaluation", "real_test=real", "contenders.source-only=synthetic", "contenders.DA-KPN=gpu"),
        *("training.steps=20", "seeds=[0]"),
    )
    for name, more in (("on the CPU", ()), ("two cells share the GPU", ("num_gpus=0.5", "output=evaluation_gpu"))):
        done, seconds = timed(lambda more=more: dakpn(folder, *evaluation, *more))
        yield Row(f"evaluate ({name})", done.returncode == 0, f"{seconds:.0f} s" + said(done))


def stopped(folder: Path, recipe: str, data: Sequence[str]) -> Row:
    """SIGTERM in the middle of the predictor's training; the same command goes on and ends with the same weights."""
    given = ("encoder.weights=run0/encoder", *SMALL, *data)
    straight = dakpn(folder, "train", recipe, *given, "run=straight")
    process = subprocess.Popen(command("train", recipe, *given, "run=stopped"), cwd=folder, stderr=subprocess.PIPE)
    metrics = str(folder / "stopped/metrics.jsonl")
    while process.poll() is None and not any(line["stage"] == "adversarial" for line in read_metrics(metrics)):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    before = time.monotonic()
    process.communicate()
    seconds = time.monotonic() - before
    again = dakpn(folder, "train", recipe, *given, "run=stopped")
    weights = [(folder / run / "weights/model.safetensors") for run in ("straight", "stopped")]
    same = all(path.exists() for path in weights) and weights[0].read_bytes() == weights[1].read_bytes()
    good = process.returncode == 143 and same
    figures = f"exit code {process.returncode}, {seconds:.1f} s from SIGTERM; weights {'equal' if same else 'differ'}"
    return Row("stop and resume", good, figures + said(straight) + said(again))


def command(*arguments: str) -> list[str]:
    """The `dakpn` command of this Python."""
    return [sys.executable, "-m", "workflows", *arguments]


def dakpn(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder; one that takes too long is ended and counts as failed."""
    try:
        return subprocess.run(
            command(*arguments), cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(error.cmd, 124, "", f"it did not end within {_PATIENCE_S} s")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work returns, and its seconds."""
    before = time.monotonic()
    done = work()
    return done, time.monotonic() - before


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a command that failed."""
    return "" if done.returncode == 0 else f"; it said: {(done.stderr.splitlines() or ['nothing'])[-1]}"


if __name__ == "__main__":
    sys.exit(main())
