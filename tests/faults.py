"""A proxy before an HTTP server that fails on demand, and counts what it was asked for.

It passes requests on byte for byte, the signed Host header too, so that a signature made for the proxy's address
still holds behind it.
"""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ANSWER = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>by order of the test</Message></Error>'


@dataclass
class Fault:
    """What to do to the requests that match, so many times.

    Attributes:
        methods: regular expression that the whole method must match.
        path: regular expression found in the path with its query.
        times: requests to do it to; the ones after pass.
        status: answer this instead of asking the server, with `code`; 0 asks the server.
        code: S3's error code.
        delay_s: wait so long first.
        cut_after: close the connection after so many bytes of the body; None sends all.
        hidden: the answer that is cut does not say how long it would have been.
    """

    methods: str = ".*"
    path: str = ""
    times: int = 10**9
    status: int = 0
    code: str = "SlowDown"
    delay_s: float = 0.0
    cut_after: int | None = None
    hidden: bool = False

    def takes(self, method: str, path: str) -> bool:
        """Tell whether the fault is for this request."""
        return self.times > 0 and bool(re.fullmatch(self.methods, method)) and bool(re.search(self.path, path))


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to `target` ("host:port"); `faults` may be changed at any time, the first that matches is done."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What to set as the endpoint."""
        return f"http://127.0.0.1:{self.server_port}"

    def fail(self, *faults: Fault) -> None:
        """Do these faults from now on, and count from zero."""
        with self._lock:
            self.faults, self.requests = list(faults), []

    def asked(self, methods: str = ".*", path: str = "") -> int:
        """How many requests matched since `fail`."""
        return sum(Fault(methods, path).takes(*request) for request in self.requests)

    def next_fault(self, method: str, path: str) -> Fault | None:
        """Note a request, and take the fault that is due for it."""
        with self._lock:
            self.requests.append((method, path))
            due = next((fault for fault in self.faults if fault.takes(method, path)), None)
            if due:
                due.times -= 1
            return due

    def handle_error(self, *_: object) -> None:
        """Clients that go away, and connections cut on purpose, are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def handle_any(self) -> None:
        fault = self.server.next_fault(self.command, self.path) or Fault()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(fault.delay_s)
        if fault.status:
            self._refuse(fault)
        else:
            self._forward(body, fault)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any  # noqa: N815 - names that http.server looks for

    def log_message(self, *_: object) -> None:
        pass

    def _refuse(self, fault: Fault) -> None:
        body = b"" if self.command == "HEAD" else _ANSWER.format(fault.code).encode()
        self._send(fault.status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))], body)

    def _forward(self, body: bytes, fault: Fault) -> None:
        connection = HTTPConnection(self.server.target, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() != "transfer-encoding"]
        if self.command != "HEAD" and answer.getheader("Content-Length") is None and answer.status != 204:
            kept.append(("Content-Length", str(len(content))))
        if fault.hidden:
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
            kept.append(("Connection", "close"))
        self._send(answer.status, kept, content if fault.cut_after is None else content[: fault.cut_after])
        if fault.cut_after is not None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """Run a proxy for the block."""
    with FaultyProxy(target) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
