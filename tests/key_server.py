"""A small S3 server for one bucket whose keys may be anything, also what no honest server would take."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

BUCKET = "bucket"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


class KeyServer(ThreadingHTTPServer):
    """Answers listings (`page` keys each, as V2 of S3 does), HEAD and GET of `objects`.

    With `stuck` every page says that there are more, from the same place.
    """

    daemon_threads = True

    def __init__(self, objects: dict[str, bytes], page: int = 1000) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects, self.page, self.stuck = objects, page, False
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        """What to set as the endpoint."""
        return f"http://127.0.0.1:{self.server_port}"

    def listing(self, prefix: str, after: str, most: int) -> str:
        """Return a page of keys that begin with `prefix` and come behind `after`."""
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page = keys[: min(self.page, most)]
        more = self.stuck or len(page) < len(keys)
        token = "stuck" if self.stuck else quote(page[-1], safe="") if more else ""
        rows = "".join(
            f"<Contents><Key>{quote(key, safe='/')}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f"<ETag>&quot;{_tag(self.objects[key])}&quot;</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            for key in page
        )
        return (
            f"{_HEAD}<ListBucketResult><Name>{BUCKET}</Name><EncodingType>url</EncodingType>"
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{f'<NextContinuationToken>{token}</NextContinuationToken>' if more else ''}{rows}</ListBucketResult>"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KeyServer

    def handle_any(self) -> None:
        self.server.requests.append((self.command, self.path))
        parts = urlsplit(self.path)
        ask = {name: values[0] for name, values in parse_qs(parts.query).items()}
        key = unquote(parts.path.removeprefix(f"/{BUCKET}").removeprefix("/"))
        if "list-type" in ask:
            after = unquote(ask.get("continuation-token", "")).removeprefix("stuck")
            page = self.server.listing(ask.get("prefix", ""), after, int(ask.get("max-keys", 1000)))
            self._send(200, page.encode())
        elif key in self.server.objects:
            self._send(200, self.server.objects[key])
        else:
            self._send(404, f"{_HEAD}<Error><Code>NoSuchKey</Code></Error>".encode())

    do_GET = do_HEAD = handle_any  # noqa: N815 - names that http.server looks for

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_tag(body)}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _tag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@contextmanager
def key_server(objects: dict[str, bytes], page: int = 1000) -> Iterator[KeyServer]:
    """Run a server for the block."""
    with KeyServer(objects, page) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
