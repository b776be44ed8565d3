"""The middleware that makes the switched-on faults happen (`faults.py` says which there are)."""

import asyncio
import re
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec import Raw
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_msct.sandbox.faults import Faults, Trouble
from fhir_msct.sandbox.outcome import operation_outcome

_LOGIN = b"<!DOCTYPE html><html><body><form action='/login'>Please sign in</form></body></html>"
_OUTCOME = operation_outcome(200, "some results may be missing", severity="information")


class FaultyWire:
    """Breaks what goes over the wire: statuses, delays, login pages, bodies cut short."""

    def __init__(self, app: ASGIApp, trouble: Trouble) -> None:
        self._app = app
        self._trouble = trouble

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line, strikes = _line(scope), self._trouble.strikes
        if strikes("delay", line):
            await asyncio.sleep(self._trouble.faults.delay)
        status = self._trouble.status(line)
        if status is not None:
            await _refusal(status, self._trouble.faults.retry_after)(scope, receive, send)
        elif strikes("html_login", line):
            await Response(_LOGIN, media_type="text/html")(scope, receive, send)
        elif self._trouble.gone(scope["query_string"].decode("latin-1"), line):
            await _refusal(410, None)(scope, receive, send)
        elif strikes("lose_answer", line):
            await self._app(scope, receive, _cut(send, quiet=False, share=0.0))
        elif strikes("cut_body", line):
            quiet = self._trouble.faults.cut_body == "quiet"
            await self._app(scope, receive, _cut(send, quiet=quiet, share=0.5))
        else:
            await self._app(scope, receive, send)


class FaultyPages:
    """Bends searchset Bundles, and what the server understands of a search."""

    def __init__(self, app: ASGIApp, trouble: Trouble) -> None:
        self._app = app
        self._trouble = trouble

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._trouble.faults == Faults():
            await self._app(scope, receive, send)
            return
        if self._trouble.strikes("ignore", _line(scope)):
            ignored = self._trouble.faults.ignore
            pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            kept = [(name, value) for name, value in pairs if name.partition(":")[0] not in ignored]
            scope = {**scope, "query_string": urlencode(kept).encode()}
        start: Message = {}

        async def bent(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body = _bent(message.get("body", b""), self._trouble, _line(scope))
            MutableHeaders(scope=start)["Content-Length"] = str(len(body))
            await send(start)
            await send({**message, "body": body})

        await self._app(scope, receive, bent)


def _line(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{scope['method']} {scope['path']}" + (f"?{query}" if query else "")


def _refusal(status: int, retry_after: str | None) -> Response:
    headers = {"Retry-After": retry_after} if retry_after is not None and status in (429, 503) else None
    body = operation_outcome(status, "this fault was switched on")
    return Response(body, status, headers, media_type="application/fhir+json")


def _cut(send: Send, *, quiet: bool, share: float) -> Send:
    start: Message = {}

    async def cut(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        body = message.get("body", b"")
        part = body[: int(len(body) * share)]
        if quiet:
            MutableHeaders(scope=start)["Content-Length"] = str(len(part))
        await send(start)
        await send({"type": "http.response.body", "body": part, "more_body": not quiet})

    return cut


def _bent(body: bytes, trouble: Trouble, line: str) -> bytes:
    if b'"type":"searchset"' not in body[:200]:
        return body
    bundle = msgspec.json.decode(body, type=dict[str, Raw])
    entries = msgspec.json.decode(bundle.pop("entry", Raw(b"[]")), type=list[Raw])
    links = msgspec.json.decode(bundle.pop("link", Raw(b"[]")), type=list[dict[str, str]])
    if trouble.strikes("drop_total", line):
        bundle.pop("total", None)
    if trouble.strikes("wrong_total", line):
        bundle["total"] = Raw(str(trouble.faults.wrong_total).encode())
    links = _bent_links(links, trouble, line)
    entries = _bent_entries(entries, trouble, line)
    parts = {**bundle, "link": links, "entry": entries}
    return msgspec.json.encode({key: value for key, value in parts.items() if value not in ([], None)})


def _bent_links(links: list[dict[str, str]], trouble: Trouble, line: str) -> list[dict[str, str]]:
    urls = {link["relation"]: link["url"] for link in links}
    if "next" in urls:
        if trouble.strikes("drop_next", line):
            del urls["next"]
        elif trouble.strikes("next_to_self", line):
            urls["next"] = urls["self"]
        elif trouble.strikes("next_host", line):
            urls["next"] = re.sub(r"//[^/]+", f"//{trouble.faults.next_host}", urls["next"], count=1)
    return [{"relation": relation, "url": url} for relation, url in urls.items()]


def _bent_entries(entries: list[Raw], trouble: Trouble, line: str) -> list[Raw]:
    if entries and trouble.strikes("repeat_entries", line):
        entries = [*entries, entries[0]]
    if trouble.strikes("drop_entries", line):
        entries = entries[: -trouble.faults.drop_entries]
    if trouble.strikes("bare_entries", line):
        bodies = [msgspec.json.decode(entry, type=dict[str, Raw])["resource"] for entry in entries]
        entries = [Raw(b'{"resource":' + bytes(body) + b"}") for body in bodies]
    if trouble.strikes("outcome_entry", line):
        entries = [*entries, Raw(b'{"resource":' + _OUTCOME + b',"search":{"mode":"outcome"}}')]
    return entries
