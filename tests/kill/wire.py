"""A wire between a command and a server, at which the command can be killed: at the n-th request, before
the server has it, when the server has answered and nobody heard, in the middle of the answer, or after it.
"""

import http.client
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

MOMENTS = ("before", "unheard", "half", "after")

SLOWEST = 120
"""Seconds in which a server answers; a real one on a busy machine may take some."""


class Wire:
    """A proxy on loopback. A context manager."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url).netloc
        self._lock = threading.Lock()
        self.forget()

    def __enter__(self) -> "Wire":
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._listener.daemon_threads = True
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.server_port}/fhir"
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def forget(self) -> None:
        """Counts from zero, and strikes nobody."""
        self.requests, self._at, self._moment = 0, 0, ""
        self._strike: Callable[[], None] = lambda: None

    def towards(self, url: str) -> None:
        """From now on the server is at this address."""
        self._server = urlsplit(url).netloc

    def strike(self, at: int, moment: str, strike: Callable[[], None]) -> None:
        """At the `at`-th request (1 is the first) from now on, at this moment, this happens."""
        self.forget()
        self._at, self._moment, self._strike = at, moment, strike

    def passes(self) -> str:
        """One more request: the moment at which something happens to it, or the empty text."""
        with self._lock:
            self.requests += 1
            return self._moment if self.requests == self._at else ""

    def ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The server's own answer; it is told the address that the command knows."""
        with closing(http.client.HTTPConnection(self._server, timeout=SLOWEST)) as connection:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            told = answer.read()
        return answer, told

    def happens(self) -> None:
        """The moment has come."""
        self._strike()


def _handler(wire: Wire) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            try:
                self.pass_on(wire.passes())
            except (ConnectionError, http.client.HTTPException):
                self.close_connection = True  # whoever asked is dead, or the server is

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  (names that http.server looks for)

        def pass_on(self, moment: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if moment == "before":
                wire.happens()
                self.close_connection = True
                return
            answer, told = wire.ask(self, body)
            if moment == "unheard":
                wire.happens()
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            if answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            half = len(told) // 2
            self.wfile.write(told[:half])
            if moment == "half":
                self.wfile.flush()
                wire.happens()
                self.close_connection = True
                return
            self.wfile.write(told[half:])
            self.wfile.flush()
            if moment == "after":
                wire.happens()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler
