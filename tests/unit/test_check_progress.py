"""How `dakpn check` shows that it is at work: a bar on a terminal, a line now and then elsewhere."""

import os
import pty
import subprocess
import threading
from functools import partial

import pytest

from dakpn.config import CheckConfig
from dakpn.progress import LINE_EVERY_S, progress
from tests.command import CLI, environment
from tests.paths import REPOSITORY
from tests.scenes import Scenes
from workflows import check


def test_a_terminal_shows_a_bar_and_stdout_stays_clean(scenes: Scenes) -> None:
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                shown.extend(os.read(ours, 4096))
            except OSError:  # how a terminal without a writer ends
                return

    reader = threading.Thread(target=read)
    command = [*CLI, "check", scenes.synthetic, "--json"]
    with subprocess.Popen(
        command, env=environment(TERM="xterm"), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        reader.start()
        stdout, _ = process.communicate(timeout=120)
        os.close(theirs)
    reader.join(20)
    os.close(ours)
    assert process.returncode == 0
    assert "checking" in shown.decode()
    assert "12/12" in shown.decode()
    assert stdout.startswith(b"{")


@pytest.mark.parametrize(("every_s", "lines"), [(0.0, 12), (3600.0, 0)])
def test_elsewhere_a_line_says_now_and_then_how_far_it_is(
    every_s: float, lines: int, scenes: Scenes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert LINE_EVERY_S == 30
    monkeypatch.setattr(check, "progress", partial(progress, line_every_s=every_s))
    with caplog.at_level("INFO", logger="dakpn.progress"):
        check.main(CheckConfig(source=scenes.synthetic))
    said = [record.getMessage() for record in caplog.records if record.name == "dakpn.progress"]
    assert len(said) == lines
    assert [line.split(",")[0] for line in said[-1:]] == ["checking: 12 of 12 images"][:lines]
