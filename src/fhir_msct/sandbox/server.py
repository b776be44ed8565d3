"""The sandbox as Python sees it: a FHIR R4 server that runs while a `with` block does.

with Sandbox() as server:
    server.load(lines)
    httpx.get(server.url + "/Patient")
"""

import os
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fhir_msct.errors import UsageError
from fhir_msct.sandbox.faults import Faults, Trouble

if TYPE_CHECKING:
    import uvicorn

    from fhir_msct.sandbox.desk import Seen
    from fhir_msct.sandbox.smart import Smart


class Sandbox:
    """A FHIR server on loopback, ready inside its `with` block; in memory when `path` is None.

    `path` is its database file, kept afterwards. `port` 0 takes any free one. `page_size` is the page
    a search gets that does not ask for one, `page_cap` the largest it may ask for. `token`, when given,
    is the bearer token every request must carry; `smart` has tokens asked for by SMART Backend Services.
    `clock` is the time the server believes in.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        page_size: int = 20,
        page_cap: int | None = None,
        faults: Faults | None = None,
        clock: Callable[[], datetime] | None = None,
        token: str | None = None,
        smart: "Smart | None" = None,
    ) -> None:
        self._path = path
        self._place = (host, port)
        self._page_size = page_size
        self._page_cap = page_cap
        self._token = token
        self._smart = smart
        self._faults = faults
        self._clock = clock or (lambda: datetime.now(UTC))

    def __enter__(self) -> Self:
        """Starts the server; raises UsageError when port or file cannot be had, Locked when in use."""
        from fhir_msct.sandbox.app import build
        from fhir_msct.sandbox.desk import Desk
        from fhir_msct.sandbox.pages import Pages
        from fhir_msct.sandbox.store import Store

        listener = _listener(*self._place)
        try:
            self._store = Store(self._path)
        except BaseException:
            listener.close()
            raise
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/fhir"
        self._trouble = Trouble(self._faults)
        pages = Pages(self._store, size=self._page_size, cap=self._page_cap)
        self._desk = Desk(
            self._store, pages, self._trouble, clock=self._clock, token=self._token, smart=self._smart
        )
        self._uvicorn = _uvicorn(build(self._desk, self._trouble))
        # The socket listens already, so whoever connects before the loop runs only waits.
        run = {"sockets": [listener]}
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs=run, name="sandbox", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server; raises what failed inside it, unless the block failed itself."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._store.close()
        if kind is None and self._desk.failures:
            raise self._desk.failures[0]

    def load(self, resources: Iterable[bytes]) -> int:
        """Imports resources as they are and returns how many versions were new.

        One that carries meta.versionId and meta.lastUpdated keeps every byte; the same id again is the
        next version. Raises InputError for what is no resource, and then nothing is loaded.
        """
        from fhir_msct.sandbox.load import load

        return load(self._store, resources, self._clock)

    def dump(self, type_: str) -> list[bytes]:
        """The current resources of a type as the server holds them, ordered by id."""
        return [version.body for version in self._store.all(type_) if version.body is not None]

    def clear(self) -> None:
        """Forgets every resource, request and fault: a server as new."""
        self._store.clear()
        self._desk.pages.expire()
        self._desk.seen.clear()
        if self._smart is not None:
            self._smart.forget()
        self.faults = None

    def expire_pages(self) -> None:
        """Makes every link to a next page 410, as after an hour on a real server."""
        self._desk.pages.expire()

    @property
    def seen(self) -> "tuple[Seen, ...]":
        """The requests that reached the server, oldest first."""
        return tuple(self._desk.seen)

    @property
    def versions(self) -> int:
        """How many versions of resources were ever stored: it grows with every write, and only then."""
        return int(self._store.select("select count(*) from version")[0][0])

    @property
    def faults(self) -> Faults:
        """What goes wrong; assigning switches it, also while the server runs."""
        return self._trouble.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._trouble.switch(faults or Faults())


def serve(
    path: Path | None = None,
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    resources: Iterable[bytes] = (),
    smart: "Smart | None" = None,
    say: Callable[[str], None],
) -> None:
    """Runs a sandbox until Ctrl+C; loads the resources first. Raises as `Sandbox` does."""
    with Sandbox(path, port=port, host=host, smart=smart) as server:
        loaded = server.load(resources)
        say(f"FHIR R4 server at {server.url} ({loaded} resources loaded); stop it with Ctrl+C")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("stopped")


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio only turns off Nagle's delay (40 ms an answer) where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"cannot listen on {host} port {port}: {error}; choose another port") from None
    return listener


def _uvicorn(app: object) -> "uvicorn.Server":
    import uvicorn

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
