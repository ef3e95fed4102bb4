"""The demo from its command to its page, at the smallest size there is."""

import json
import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from dakpn.config import VerifyConfig
from tests.command import dakpn, dakpn_process
from workflows import verify

TINY = ("synthetic_count=16", "real_count=16", "steps=4", "encoder_steps=4", "segmenter_steps=4", "seeds=[0]")


def outside(page: str) -> list[str]:
    """Whatever the page would fetch from elsewhere."""
    links = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]+)""", page)
    links += re.findall(r"""url\(\s*["']?([^"')]+)""", page)
    links += re.findall(r"""@import\s+["']?([^"';]+)""", page)
    return [link for link in links if not link.startswith(("data:", "#"))]


def test_what_a_page_would_fetch_is_found() -> None:
    page = '<img src="x.png"><a href=https://a.b><style>p {background: url(//c)}</style><img src="data:image/png,A">'
    assert outside(page) == ["x.png", "https://a.b", "//c"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompletedProcess[str]]:
    """The folder of a finished demo, and what its command printed."""
    out = tmp_path_factory.mktemp("demo")
    return out, dakpn_process("demo", "--out", out, *TINY, timeout=280)


@pytest.mark.timeout(600)
def test_the_demo_runs_to_a_table_and_a_page_that_needs_nothing_else(demo: tuple[Path, CompletedProcess[str]]) -> None:
    out, done = demo
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "mIoU on real images" in done.stdout
    assert all(contender in done.stdout for contender in ("source-only", "DA-KPN", "oracle"))
    assert done.stdout.rstrip().endswith(f"report: {out}/report.html")

    page = (out / "report.html").read_text()
    assert outside(page) == []
    assert page.count("data:image/") >= 6
    for cell in json.loads((out / "evaluation/results.json").read_text())["cells"]:
        assert f"{100 * cell['miou']:.1f}" in page
    assert verify.main(VerifyConfig(input=str(out / "data/synthetic"), output=str(out / "translated"), workers=1)) == 16


@pytest.mark.timeout(600)
def test_a_second_demo_in_the_same_folder_repeats_nothing(
    ray_here: str, demo: tuple[Path, CompletedProcess[str]]
) -> None:
    out, _ = demo
    results = (out / "evaluation/results.json").read_bytes()
    again = dakpn("demo", "--out", out, *TINY)
    assert again.returncode == 0, again.stderr
    assert "resumed at step 4" in again.stderr
    assert "0 of 1 shard to translate, 1 done before" in again.stderr
    assert (out / "evaluation/results.json").read_bytes() == results
