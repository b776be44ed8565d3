"""The routes: HTTP requests to interactions, and their answers to HTTP.

https://hl7.org/fhir/R4/http.html. Every handler runs on the server's one loop from request to answer,
so no two writes ever meet half way.
"""

import re
import zlib
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from fhir_msct.sandbox.capability import capability_statement
from fhir_msct.sandbox.desk import Desk
from fhir_msct.sandbox.interactions import Answer, etag_version, incoming, known
from fhir_msct.sandbox.moments import moment
from fhir_msct.sandbox.outcome import Rejected, operation_outcome
from fhir_msct.sandbox.pages import history
from fhir_msct.sandbox.parameters import DIGITS
from fhir_msct.sandbox.permissions import needed
from fhir_msct.sandbox.search import query
from fhir_msct.sandbox.smart import Denied, Smart
from fhir_msct.sandbox.store import Version

PATH = "/fhir"
TOKEN_PATH = "/auth/token"  # noqa: S105  (an address)
LONGEST_URL = 8000
"""A longer one is a 414; a HAPI server's Tomcat stops at 8 kB too."""

_FHIR = "application/fhir+json;charset=UTF-8"
_JSON = ("application/fhir+json", "application/json", "application/json+fhir", "text/json")
_FORM = "application/x-www-form-urlencoded"
_HOST = re.compile(r"[\w.\-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")

Handler = Callable[[Desk, Request, bytes], Response]


def routes(desk: Desk) -> list[Route]:
    """What the server answers, address by address."""
    return [
        *(_smart_routes(desk, desk.smart) if desk.smart else ()),
        Route(PATH, _route(desk, _base), methods=["GET", "POST"]),
        Route(PATH + "/", _route(desk, _base), methods=["GET", "POST"]),
        Route(PATH + "/metadata", _route(desk, _metadata), methods=["GET"]),
        Route(PATH + "/{type}", _route(desk, _type), methods=["GET", "POST", "PUT"]),
        Route(PATH + "/{type}/_search", _route(desk, _search), methods=["GET", "POST"]),
        Route(PATH + "/{type}/{id}", _route(desk, _instance), methods=["GET", "PUT", "DELETE"]),
        Route(PATH + "/{type}/{id}/_history", _route(desk, _history), methods=["GET"]),
        Route(PATH + "/{type}/{id}/_history/{version}", _route(desk, _vread), methods=["GET"]),
    ]


def _smart_routes(desk: Desk, smart: Smart) -> list[Route]:
    """What a server with SMART answers to those who have no token yet."""

    async def configuration(request: Request) -> Response:
        try:
            return _json(200, smart.configuration(_token_url(request)))
        except Rejected as no:
            return answered(no.body, no.status)

    async def token(request: Request) -> Response:
        kind = request.headers.get("Content-Type", "")
        try:
            return _json(200, smart.token(kind, await request.body(), _token_url(request), desk.clock()))
        except Denied as no:
            return _json(400, {"error": no.error, "error_description": no.text})
        except Rejected as no:
            return answered(no.body, no.status)

    return [
        Route(PATH + "/.well-known/smart-configuration", configuration, methods=["GET"]),
        Route(TOKEN_PATH, token, methods=["POST"]),
    ]


def _token_url(request: Request) -> str:
    return _address(request).removesuffix(PATH) + TOKEN_PATH


def _json(status: int, document: dict[str, Any]) -> Response:
    return JSONResponse(document, status, {"Cache-Control": "no-store", "Pragma": "no-cache"})


def target(scope: Scope) -> str:
    """A request's path and query, as sent."""
    query_string = str(scope["query_string"], "latin-1")
    return str(scope["raw_path"], "latin-1") + (f"?{query_string}" if query_string else "")


def _route(desk: Desk, handle: Handler) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            body = await request.body()
            _admit(desk, request)
            body = _unpacked(request, body)
            if desk.smart is not None:
                _permit(desk, desk.smart, request, body)
            return handle(desk, request, body)
        except Rejected as no:
            headers = {"WWW-Authenticate": "Bearer"} if no.status == 401 else None
            return answered(no.body, no.status, headers)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it

    return answer


def _permit(desk: Desk, smart: Smart, request: Request, body: bytes) -> None:
    """Returns where the token is good for all that is wanted; a next page is of the type searched for."""
    grant = smart.admit(request.headers.get("Authorization"), desk.clock())
    if grant is None:
        raise Rejected(401, "a token is needed that is neither over nor revoked")
    path = request.url.path.removeprefix(PATH).strip("/")
    if request.method != "POST" and (type_ := desk.pages.type_of(request.query_params.get("_getpages", ""))):
        path = path or type_
    for type_, letter in needed(request.method, path, body):
        if not grant.allows(type_, letter):
            raise Rejected(403, f"the token's scopes do not allow this: system/{type_}.{letter}")


def _admit(desk: Desk, request: Request) -> None:
    if len(target(request.scope)) > LONGEST_URL:
        raise Rejected(414, "the address is too long: use POST and _search")
    if desk.token is not None and request.headers.get("Authorization") != f"Bearer {desk.token}":
        raise Rejected(401, "a bearer token is needed, and this is not it")
    wanted = [part.partition(";")[0].strip() for part in request.headers.get("Accept", "*/*").split(",")]
    formats = request.query_params.getlist("_format")
    if all(media.endswith("xml") for media in wanted) and not formats:
        raise Rejected(406, "this server speaks application/fhir+json only")
    if any(name != "json" and name.partition(";")[0].replace(" ", "+") not in _JSON for name in formats):
        raise Rejected(406, "_format: this server speaks json only")
    sent = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    form = request.url.path.endswith("/_search")
    if request.method in ("POST", "PUT") and sent and sent not in ((_FORM,) if form else _JSON):
        raise Rejected(400, f"Content-Type: wants {_FORM if form else 'application/fhir+json'}")


def _unpacked(request: Request, body: bytes) -> bytes:
    if request.headers.get("Content-Encoding", "identity") == "identity":
        return body
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(body)
    except zlib.error:
        raise Rejected(400, "the body is not gzip, as Content-Encoding says it is") from None
    if not inflate.eof or request.headers["Content-Encoding"] != "gzip":
        raise Rejected(400, "the body is not one whole gzip member")
    return plain


def _base(desk: Desk, request: Request, body: bytes) -> Response:
    if request.method == "POST":
        return answered(desk.bundles.run(body, _address(request)))
    if "_getpages" not in request.query_params:
        raise Rejected(400, "a search needs a type")
    return answered(desk.pages.next(dict(request.query_params), _address(request)))


def _metadata(desk: Desk, request: Request, body: bytes) -> Response:
    return answered(capability_statement(_address(request), desk.started, desk.trouble.faults))


def _type(desk: Desk, request: Request, body: bytes) -> Response:
    type_ = known(request.path_params["type"])
    if request.method in ("GET", "HEAD"):
        return _search(desk, request, b"")
    if request.method == "PUT" and not request.url.query:
        raise Rejected(400, "an update needs an id in its address, or a condition")
    new, base = incoming(body, type_, own_id=request.method != "POST"), _address(request)
    if request.method == "POST":
        condition = request.headers.get("If-None-Exist")
        done = desk.interactions.create(new, if_none_exist=condition, base=base)
    else:
        done = desk.interactions.update_where(new, request.url.query, base=base)
    return _written(request, done)


def _search(desk: Desk, request: Request, body: bytes) -> Response:
    type_ = known(request.path_params["type"])
    try:
        pairs = parse_qsl(request.url.query, keep_blank_values=True, errors="strict")
        pairs += parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Rejected(400, "the search is not UTF-8") from None
    base = _address(request)
    return answered(desk.pages.first(query(type_, pairs, base=base), base, type_))


def _instance(desk: Desk, request: Request, body: bytes) -> Response:
    type_, id_ = known(request.path_params["type"]), request.path_params["id"]
    if_match = request.headers.get("If-Match")
    if request.method == "PUT":
        return _written(request, desk.interactions.update(incoming(body, type_), id_, if_match=if_match))
    if request.method == "DELETE":
        desk.interactions.delete(type_, id_, if_match=if_match)
        return answered(operation_outcome(200, f"{type_}/{id_} is gone", severity="information"))
    return _shown(request, desk.interactions.read(type_, id_))


def _vread(desk: Desk, request: Request, body: bytes) -> Response:
    params = request.path_params
    return _shown(request, desk.interactions.vread(params["type"], params["id"], params["version"]))


def _history(desk: Desk, request: Request, body: bytes) -> Response:
    type_, id_ = request.path_params["type"], request.path_params["id"]
    count, offset = (_whole(request, name) for name in ("_count", "_offset"))
    versions = desk.interactions.history(type_, id_)
    return answered(history(versions, _address(request), count=count, offset=offset))


def _whole(request: Request, name: str) -> int:
    """A number among the parameters; 0 where it is absent."""
    text = request.query_params.get(name, "0")
    if not text.isdecimal() or len(text) > DIGITS:
        raise Rejected(400, f"{name}: not a whole number")
    return int(text)


def _shown(request: Request, answer: Answer) -> Response:
    version = _left(answer)
    asked = request.headers.get("If-None-Match")
    if asked is not None and etag_version(asked) == version.version:
        return Response(status_code=304, headers=_version_headers(request, version))
    return answered(version.body or b"", headers=_version_headers(request, version))


def _written(request: Request, answer: Answer) -> Response:
    version = _left(answer)
    headers = _version_headers(request, version)
    if request.method == "POST":
        headers["Location"] = headers["Content-Location"]
    wanted = request.headers.get("Prefer", "")
    if "return=minimal" in wanted:
        return Response(status_code=answer.status, headers=headers)
    if "return=OperationOutcome" in wanted:
        text = operation_outcome(answer.status, f"{version.source} is stored", severity="information")
        return answered(text, answer.status, headers)
    return answered(version.body or b"", answer.status, headers)


def _left(answer: Answer) -> Version:
    if answer.version is None:
        raise LookupError("an interaction that leaves a version left none")
    return answer.version


def _version_headers(request: Request, version: Version) -> dict[str, str]:
    headers = {
        "ETag": f'W/"{version.version}"',
        "Content-Location": f"{_address(request)}/{version.source}",
    }
    at = moment(version.last_updated)
    if at is not None:
        headers["Last-Modified"] = formatdate(at.start // 1_000_000, usegmt=True)
    return headers


def _address(request: Request) -> str:
    host = request.headers.get("Host", "")
    if not _HOST.fullmatch(host):
        raise Rejected(400, "the Host header is not an address")
    return f"http://{host}{PATH}"


def answered(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in FHIR JSON."""
    return Response(body, status, headers, media_type=_FHIR)
