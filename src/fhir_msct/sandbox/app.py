"""The application: the routes, and what lies round them."""

from collections.abc import Callable
from datetime import datetime
from email.utils import formatdate
from itertools import count

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_msct.sandbox.desk import Desk, Seen
from fhir_msct.sandbox.export import Exports
from fhir_msct.sandbox.faults import Trouble
from fhir_msct.sandbox.faulty import FaultyPages, FaultyWire
from fhir_msct.sandbox.outcome import operation_outcome
from fhir_msct.sandbox.routes import answered, routes, target


def build(desk: Desk, trouble: Trouble) -> ASGIApp:
    """The application, its faults round it; what fails inside is kept on the desk."""
    middleware = [
        Middleware(Stamp, clock=desk.clock),
        Middleware(FaultyWire, trouble=trouble),
        Middleware(GZipMiddleware, minimum_size=500, compresslevel=1),
        Middleware(FaultyPages, trouble=trouble),
    ]
    handlers = {HTTPException: _no_route, Exception: _failed}
    app = Starlette(
        routes=[*Exports(desk, trouble).routes(), *routes(desk)],
        middleware=middleware,
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        desk.seen.append(Seen(scope["method"], target(scope), headers))
        try:
            await app(scope, receive, send)
        except Exception as error:
            desk.failures.append(error)

    return watched


class Stamp:
    """Puts the server's own `Date` and a request id on every answer."""

    def __init__(self, app: ASGIApp, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._clock = clock
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"]
        name = given[0] if given else f"{next(self._numbers):016x}"

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Date"] = formatdate(self._clock().timestamp(), usegmt=True)
                headers["X-Request-ID"] = name
            await send(message)

        await self._app(scope, receive, stamped)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = f"{request.method} is not something this server does at this address"
    return answered(operation_outcome(status, text), status)


async def _failed(request: Request, error: Exception) -> Response:
    return answered(operation_outcome(500, f"the sandbox failed: {type(error).__name__}"), 500)
