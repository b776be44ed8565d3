"""A proxy on loopback: real sockets for whatever stands behind it, broken ones where it says so.

    with Proxy() as proxy:
        proxy.behind = chaos.handle_request

What is behind gets each request as httpx has it, and answers or raises as a transport does: an error is a
connection that is reset, before the answer or in the middle of its body. A `Content-Length` is sent as it
is given, however much follows; where there is none the end of the connection is the end of the body.
"""

import socket
import struct
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

import httpx

from hapi.guarded import PATH

Behind = Callable[[httpx.Request], httpx.Response]


class Heard(NamedTuple):
    """A request that came to an address where none should come, or none with a secret in it."""

    line: str
    headers: dict[str, str]
    body: bytes


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.torn: set[socket.socket] = set()
        """Connections that end with a reset."""

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What is said to a request."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection: politely, or with the reset that an immediate close sends."""
        if request not in self.torn:
            super().shutdown_request(request)
            return
        self.torn.discard(request)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error; anything else is shown."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Proxy(_Listener):
    """Stands between the client and `behind`."""

    behind: Behind = staticmethod(lambda request: httpx.Response(503))

    @property
    def url(self) -> str:
        """Its FHIR base address."""
        return self.root + PATH

    def answer(self, request: httpx.Request) -> httpx.Response:
        return self.behind(request)


class Foreign(_Listener):
    """Another server, which would take any token; it keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Heard] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(Heard(f"{request.method} {request.url}", dict(request.headers), request.content))
        body = b'{"resourceType":"Bundle","type":"searchset","total":0}'
        kind = {"Content-Type": "application/fhir+json", "Content-Length": str(len(body))}
        return httpx.Response(200, headers=kind, content=body)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's own name)
        """Says nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        address = f"http://{self.headers['Host']}{self.path}"
        request = httpx.Request(self.command, address, headers=self.headers.items(), content=body)
        try:
            response = self.server.answer(request)
            self._send(response)
        except httpx.TransportError:
            self._reset()

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  (the library's own names)

    def _send(self, response: httpx.Response) -> None:
        said = {name.title(): text for name, text in response.headers.items()}
        said["Date"] = format_datetime(datetime.now(UTC), usegmt=True)
        promised = int(said["Content-Length"]) if "Content-Length" in said else None
        if promised is None:
            said["Connection"] = "close"
            self.close_connection = True
        self.send_response_only(response.status_code)
        for name, text in said.items():
            self.send_header(name, text)
        self.end_headers()
        sent = 0
        for chunk in response.stream:  # type: ignore[union-attr]  # always a synchronous one here
            self.wfile.write(chunk)
            sent += len(chunk)
        if promised is not None and sent < promised:
            self.close_connection = True

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.torn.add(self.connection)
        self.close_connection = True
