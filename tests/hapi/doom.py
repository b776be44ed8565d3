"""The death of a server, in the middle of what several commands are doing with it at the same time."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler

from hapi.running import Hapi
from kill.wire import Wire

DEATHS = ("during", "unheard", "before")
"""While the server works on a request, after it has answered and nobody heard it, before it has it."""

MEETING_SECONDS = 120


class Doom:
    """Kills a server when every one of so many wires has come to the request that it waits for."""

    def __init__(self, server: Hapi, wires: int, delay: float) -> None:
        """`delay`: seconds that the requests have which the server works on when it dies."""
        self._server, self._delay = server, delay
        self._meeting = threading.Barrier(wires, action=self._strike)
        self.struck, self.dead = threading.Event(), threading.Event()

    def meet(self) -> None:
        """Returns when all are here; raises BrokenBarrierError where one of them never came."""
        self._meeting.wait(MEETING_SECONDS)

    def _strike(self) -> None:
        self.struck.set()
        threading.Timer(self._delay, self._kill).start()

    def _kill(self) -> None:
        self._server.kill()
        self.dead.set()


class DoomedWire(Wire):
    """A wire between a command and the server, on which one request meets its doom."""

    def dooms(self, doom: Doom, death: str, part: str, at: int) -> None:
        """The `at`-th request from now on whose method and address contain `part` dies so."""
        self.forget()
        self._doom, self._death, self._part, self._left = doom, death, part, at

    def ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """As on any wire, until the request comes."""
        if not self._is_it(handler):
            return super().ask(handler, body)
        if self._death == "unheard":
            super().ask(handler, body)
        self._doom.meet()
        if self._death == "during":
            return super().ask(handler, body)
        self._doom.dead.wait(MEETING_SECONDS)
        raise ConnectionResetError

    def spare(self) -> None:
        """Nothing more happens."""
        self._left = 0

    def _is_it(self, handler: BaseHTTPRequestHandler) -> bool:
        with self._lock:
            self._left -= self._part in f"{handler.command} {handler.path} "
            return self._left == 0 and self._part in f"{handler.command} {handler.path} "

    _left, _part = 0, "nothing asks for this"
