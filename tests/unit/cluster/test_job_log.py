"""A job is followed to its end, whatever happens to the stream of its log. The server here only breaks off streams."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web

from cluster import job_log
from cluster.job_client import JobClient
from cluster.job_log import JobError, follow, last_lines, raise_unless_succeeded

LOG = "first line\nsecond line\ndakpn: the input is empty\n\n"


class BreakingServer:
    """Answers as Ray's dashboard does, but each stream of the log ends a little later than the one before."""

    def __init__(self, ends: list[int], status: str, exit_code: int) -> None:
        self.ends, self.status, self.exit_code = ends, status, exit_code

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "x"})

    async def jobs(self, request: web.Request) -> web.Response:
        details = {"type": "SUBMISSION", "submission_id": "a", "entrypoint": "x", "driver_exit_code": self.exit_code}
        return web.json_response([{**details, "status": "RUNNING" if self.ends else self.status}])

    async def log(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": LOG})

    async def tail(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        for begin in range(0, end := self.ends.pop(0), 7):
            await stream.send_str(LOG[begin : min(begin + 7, end)])
        await stream.close()
        return stream

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve as long as the block; gives the address."""
        app = web.Application()
        routes = {"version": self.version, "jobs/": self.jobs, "jobs/a/logs": self.log, "jobs/a/logs/tail": self.tail}
        app.add_routes([web.get(f"/api/{path}", handler) for path, handler in routes.items()])
        loop = asyncio.new_event_loop()
        runner = web.AppRunner(app)
        loop.run_until_complete(runner.setup())
        loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "_PAUSE_S", 0.01)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")


@pytest.mark.parametrize("ends", [[len(LOG)], [10, 25, len(LOG)], [0, 30, 12, len(LOG)]])
def test_every_line_is_passed_on_once_though_streams_break_off(ends: list[int]) -> None:
    printed: list[str] = []
    with BreakingServer(list(ends), "SUCCEEDED", 0).running() as address:
        client = JobClient(address)
        details = follow(client, "a", printed.append)
        raise_unless_succeeded(client, details)
    assert "".join(printed) == LOG


def test_a_failure_has_the_exit_code_and_the_last_sentence_of_the_job() -> None:
    with BreakingServer([5, len(LOG)], "FAILED", 2).running() as address:
        client = JobClient(address)
        details = follow(client, "a", lambda text: None)
        with pytest.raises(JobError, match="job a failed with exit code 2: the input is empty") as failure:
            raise_unless_succeeded(client, details)
    assert failure.value.exit_code == 2


def test_the_last_lines_are_those_that_say_something() -> None:
    assert last_lines("a\n\nb\n  \nc\n", 2) == ["b", "c"]
    assert last_lines("") == []
