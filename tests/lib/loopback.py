"""HTTP to servers on this machine: what TLS would need is read once, not for each of thousands of clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from threading import Thread
from typing import TypeVar

import httpx

Server = TypeVar("Server", bound=ThreadingHTTPServer)

TLS = httpx.create_ssl_context(trust_env=False)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """A server of Python's own that answers in a thread, until the end of the block."""
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
