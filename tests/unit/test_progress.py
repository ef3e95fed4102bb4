"""Progress: a bar where somebody looks, lines that a log can hold elsewhere."""

import logging
import time

import pytest

from dakpn.progress import progress


def test_without_a_terminal_lines_come_now_and_then_with_the_time_left(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with caplog.at_level(logging.INFO, "dakpn"), progress("training", "steps") as show:
        for done in range(40, 51):  # resumed at 40
            show(done, 100, note="2 images/s")
            now += 7
    assert caplog.messages == [
        "training: 45 of 100 steps, 6:25 left, 2 images/s",
        "training: 50 of 100 steps, 5:50 left, 2 images/s",
    ]
    assert capsys.readouterr().err == ""


def test_no_time_left_is_claimed_before_anything_was_done(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dakpn"), progress("packing", "shards", line_every_s=0) as show:
        show(3, 9)
    assert caplog.messages == ["packing: 3 of 9 shards"]


def test_on_a_terminal_a_bar_is_drawn_and_taken_away(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with caplog.at_level(logging.INFO, "dakpn"), progress("checking", "images") as show:
        show(7, 8, note="[31 images/s]")
        time.sleep(0.3)
    drawn = capsys.readouterr()
    assert "checking" in drawn.err
    assert "7/8" in drawn.err
    assert "[31 images/s]" in drawn.err
    assert drawn.err.endswith("\x1b[2K")  # the line is erased
    assert drawn.out == ""
    assert caplog.messages == []
