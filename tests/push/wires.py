"""Transports that stand between us and the server, and do what wires and servers do."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

from lib.loopback import TLS


class Killed(BaseException):
    """The process dies here: nothing of ours catches it."""


class Wire(httpx.BaseTransport):
    """Passes everything on, and keeps what was sent."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport(verify=TLS)
        self.sent: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()

    @property
    def transactions(self) -> list[list[Any]]:
        """The entries of each transaction that was sent."""
        return [json.loads(one.content)["entry"] for one in self.sent if is_transaction(one)]


def is_transaction(request: httpx.Request) -> bool:
    """Whether a request is a Bundle that is done whole or not at all."""
    to_base = request.method == "POST" and request.url.path == "/fhir"
    return to_base and json.loads(request.content)["type"] == "transaction"


class Interrupted(Wire):
    """At the given transaction (1 is the first) something happens, before or after the server gets it."""

    def __init__(self, at: int, happens: Callable[[], None], *, arrives: bool) -> None:
        super().__init__()
        self._at, self._happens, self._arrives = at, happens, arrives

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        strikes = is_transaction(request) and len(self.transactions) + 1 == self._at
        if strikes and not self._arrives:
            self.sent.append(request)
            self._happens()
            self.sent.pop()
        response = super().handle_request(request)
        if strikes and self._arrives:
            response.read()
            response.close()
            self._happens()
        return response


def dies() -> None:
    """The process is killed."""
    raise Killed


def breaks() -> None:
    """The connection is lost."""
    raise httpx.ReadError("the connection was reset")


class Rewriting(Wire):
    """A server that gives back what it got in its own spelling: no versions, 2.50 as 2.5."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = super().handle_request(request)
        body = re.sub(rb'("reference":"[^"]+?)/_history/[^"]+"', rb'\1"', response.read())
        body = re.sub(rb"(?<=[.]\d)0+(?=[,}])", b"", body)
        response.close()
        headers = [(k, v) for k, v in response.headers.raw if k.lower() != b"content-length"]
        return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(body))


class Careless(Wire):
    """A server whose transaction-response is not in the order of what was sent, or lacks an entry."""

    def __init__(self, change: Callable[[list[Any]], list[Any]]) -> None:
        super().__init__()
        self._change = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = super().handle_request(request)
        body = response.read()
        if is_transaction(request):
            tree = json.loads(body)
            body = json.dumps({**tree, "entry": self._change(tree["entry"])}).encode()
        headers = [(k, v) for k, v in response.headers.raw if k.lower() != b"content-length"]
        return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(body))
