"""Bulk Data `$export`: kick-off, polling, manifest, files. It knows the protocol and nothing of the trial.

https://hl7.org/fhir/uv/bulkdata/export.html, in its dialects: GET with a comma list (STU1 to STU3), POST
with Parameters (STU4), `error` or `outcome`. A repeated `_type` is only the last resort: HAPI keeps the
first of them without a word.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec
from msgspec import Struct

from fhir_msct.client import origin as origins
from fhir_msct.client.body import MIB, read_body, read_chunks
from fhir_msct.client.failures import Declined, TooSlow, Unusable
from fhir_msct.client.manifest import Listed, Manifest, read_manifest
from fhir_msct.client.origin import Origin
from fhir_msct.client.reply import FHIR_JSON, issue_codes, media_type
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import RETRIED, TRANSIENT, asked_wait, http_date
from fhir_msct.errors import ConfigError, Unreachable

NDJSON = "application/fhir+ndjson"

OTHER_DIALECT = frozenset({400, 404, 405, 413, 414, 415, 422, 431, 501})
"""Statuses after which a kick-off is tried in the next dialect; a long GET (413, 414, 431) goes by POST."""


class Accepted(Struct, frozen=True, kw_only=True):
    """A job that the server took on."""

    status_url: str
    date: datetime | None
    """The server's clock when it did."""


class Waiting(Struct, frozen=True, kw_only=True):
    """A job that is not done."""

    progress: str
    """What the server says of it; only whether it changes matters."""
    wait: float | None


def kick_off_of(
    base: str, level: str, types: Sequence[str], *, since: str = "", filters: Sequence[str] = ()
) -> tuple[str, list[tuple[str, str]]]:
    """Where an export at a level (``, `Patient` or `Group/id`) is asked for, and with which parameters."""
    pairs = [("_type", ",".join(types)), *([("_since", since)] if since else [])]
    pairs += [("_typeFilter", one) for one in filters]
    return f"{base}/{level}/$export".replace("//$", "/$"), pairs


class Bulk:
    """The exports of one server. `file_origins`: where else files lie that may see the token."""

    def __init__(self, client: Client, file_origins: Sequence[str] = ()) -> None:
        self._exchange, self._origin = client.exchange, client.origin
        self._files = [Origin(url) for url in file_origins]

    def kick_off(
        self, level: str, types: Sequence[str], *, since: str = "", filters: Sequence[str] = ()
    ) -> Accepted:
        """A new job for these types at a level, with the parameters of `kick_off_of`.

        It is sent once: where no answer comes there may be a job that nobody knows. Raises Declined (401:
        whatever the dialect), Unreachable, and Unusable (`status-foreign`: to be polled elsewhere).
        """
        route = f"{level.partition('/')[0]}/$export".lstrip("/")
        url, comma = kick_off_of(self._origin.base, level, types, since=since, filters=filters)
        one_by_one = [*(("_type", type_) for type_ in types), *comma[1:]]
        query = urlencode(comma, quote_via=quote, safe=",")
        ways: list[tuple[str, str, bytes | None]] = [("GET", f"{url}?{query}", None)]
        ways += [("POST", url, _parameters(asked)) for asked in (comma, one_by_one)]
        refused: Declined | None = None
        for method, address, body in ways:
            try:
                return self._kicked(method, address, body, route)
            except Declined as error:
                if error.status == 401:
                    raise
                refused = refused or error
                if error.status not in OTHER_DIALECT:
                    break
        raise refused or Declined(0, (), route)

    def _kicked(self, method: str, url: str, body: bytes | None, route: str) -> Accepted:
        headers = {"Accept": FHIR_JSON, "Prefer": "respond-async", "Cache-Control": "no-cache"}
        headers |= {"Content-Type": FHIR_JSON} if body else {}
        patience, tried, renewed = self._exchange.patience, 0, False
        while True:
            tried += 1
            with self._exchange.stream(
                method,
                url,
                route=route,
                headers=headers,
                content=body,
                with_token=True,
                admits=self._origin.holds,
            ) as reply:
                status, wait = reply.status_code, asked_wait(reply.headers)
                place, date = reply.headers.get("content-location"), http_date(reply.headers.get("date"))
                codes = issue_codes(_told(reply, self._exchange.limits))
            if status == 202 and place:
                url = self._origin.resolve(place)
                if not self._origin.is_place_of(url):
                    where = origins.shown(url)
                    raise Unusable("status-foreign", f"{route}: to be polled at {where}: not followed")
                return Accepted(status_url=url, date=date)
            if status == 401 and not renewed:
                renewed = True  # once more, with a new token
                continue
            if status not in (429, 503) or tried >= patience.tries:
                raise Declined(status, codes, _no(route, status, codes))
            patience.sleep(patience.backoff(tried) if wait is None else wait)

    def poll(self, url: str) -> Waiting | Manifest:
        """How far a job is; a whole manifest when it is done (or a part that has `next`).

        Raises Declined for a job that failed or is not known, Unusable for what is no manifest.
        """
        if not self._origin.is_place_of(url):
            raise Unusable("status-foreign", f"a job at {origins.shown(url)}: not followed")
        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        for again in (True, False):
            with self._exchange.stream(
                "GET",
                url,
                route="$export status",
                headers=headers,
                with_token=True,
                admits=self._origin.is_place_of,
            ) as reply:
                status, wait = reply.status_code, asked_wait(reply.headers)
                progress = reply.headers.get("x-progress", "")
                if status == 200:
                    return read_manifest(read_body(reply, self._exchange.limits), self._origin)
                codes = issue_codes(_told(reply, self._exchange.limits))
            if status != 401 or not again:
                break
        if status == 202:
            return Waiting(progress=progress, wait=wait)
        later = status in RETRIED and (status != 500 or not TRANSIENT.isdisjoint(codes))
        if later or not TRANSIENT.isdisjoint(codes):
            return Waiting(progress="", wait=wait)
        raise Declined(status, codes, _no("$export status", status, codes))

    def download(self, file: Listed, path: Path, *, requires_token: bool) -> None:
        """Writes a file's NDJSON, unpacked and whole, to a path.

        The token goes along only where the manifest wants one, and only to our own origin or a listed
        one. Raises Declined (404 and 410: the file has expired), Unusable, Unreachable.
        """
        self._check(file.url, requires_token)
        patience, tried, renewed = self._exchange.patience, 0, False
        while True:
            tried += 1
            try:
                wait = self._downloaded(file, path, requires_token)
                if wait is None:
                    _unwrap(path)
                    return
            except Declined as error:
                if error.status != 401 or renewed or not requires_token:
                    raise
                wait, renewed, tried = 0.0, True, tried - 1  # once more, with a new token
            except (Unreachable, Unusable) as error:
                if tried >= patience.tries or getattr(error, "reason", "cut") not in _TRY_AGAIN:
                    raise
                wait = patience.backoff(tried)
            if tried >= patience.tries:
                raise Declined(503, (), "an exported file: the server says later, again and again")
            patience.sleep(wait)

    def _check(self, url: str, with_token: bool) -> None:
        """Returns where a file may be asked for; raises Unusable (`file-foreign`) where it may not."""
        ours = self._origin.is_place_of(url)
        listed = ours or any(origin.is_place_of(url) for origin in self._files)
        if with_token and not listed:
            where = origins.shown(url)
            raise Unusable(
                "file-foreign", f"a file at {where}, with the token: [pull] file_origins lists it not"
            )
        if not listed:
            try:
                known = Origin(url.partition("?")[0])
            except ConfigError:
                raise Unusable("file-foreign", "a file at an address that may not be asked") from None
            if known.is_inside and not self._origin.is_inside:
                raise Unusable(
                    "file-foreign",
                    f"a file at {origins.shown(url)}, inside our network, named by a server elsewhere: "
                    "[pull] file_origins lists it not",
                )

    def _admits(self, with_token: bool) -> Callable[[str], bool]:
        """What says of a redirect's address whether a file may be asked for there."""

        def admits(url: str) -> bool:
            try:
                self._check(url, with_token)
            except Unusable:
                return False
            return True

        return admits

    def _downloaded(self, file: Listed, path: Path, with_token: bool) -> float | None:
        """None when the file is here, else how long to wait."""
        headers = {"Accept": NDJSON}
        with self._exchange.stream(
            "GET",
            file.url,
            route="$export file",
            headers=headers,
            with_token=with_token,
            admits=self._admits(with_token),
        ) as reply:
            if reply.status_code != 200:
                codes = issue_codes(_told(reply, self._exchange.limits))
                if reply.status_code in RETRIED:
                    return asked_wait(reply.headers) or 1.0
                raise Declined(reply.status_code, codes, _no("$export file", reply.status_code, codes))
            media = media_type(reply.headers.get("content-type", ""))
            if "html" in media or "xml" in media:
                raise Unusable("file-type", f"$export file: {media} instead of NDJSON")
            framed = {"content-length", "transfer-encoding", "content-encoding"} & {*reply.headers}
            if not framed and file.count is None:
                raise Unusable("unframed", "$export file: nothing says where it ends")
            with path.open("wb") as out:
                for chunk in read_chunks(reply, self._exchange.limits):
                    out.write(chunk)
        return None

    def cancel(self, url: str) -> int:
        """Tells the server that its job is no longer needed; the status (404: it knows of none)."""
        if not self._origin.is_place_of(url):
            return 0
        try:
            with self._exchange.stream(
                "DELETE",
                url,
                route="$export status",
                headers={"Accept": FHIR_JSON},
                with_token=True,
                admits=self._origin.is_place_of,
            ) as reply:
                return reply.status_code
        except (Unreachable, Unusable):
            return 0


_TRY_AGAIN = frozenset({"cut", "gzip-cut", "gzip-bad"})
"""What is wrong with a file that may come whole the next time."""


def _unwrap(path: Path) -> None:
    """Turns a Binary in JSON (HAPI's answer to another Accept) into what it holds; refuses XML."""
    with path.open("rb") as file:
        head = file.read(MIB).lstrip()
    if head[:1] == b"<":
        raise Unusable("file-type", "$export file: XML instead of NDJSON")
    if b'"Binary"' not in head[:200] or b'"data"' not in head[:MIB] or head.count(b"\n") > 20:
        return
    try:
        tree: Any = msgspec.json.decode(path.read_bytes())
        if isinstance(tree, dict) and tree.get("resourceType") == "Binary":
            path.write_bytes(base64.b64decode(tree.get("data") or "", validate=True))
    except (msgspec.DecodeError, binascii.Error, TypeError):
        raise Unusable("file-type", "$export file: a Binary that cannot be unwrapped") from None


def _parameters(pairs: Sequence[tuple[str, str]]) -> bytes:
    """https://hl7.org/fhir/R4/parameters.html"""
    kinds = {"_since": "valueInstant"}
    listed = [{"name": name, kinds.get(name, "valueString"): value} for name, value in pairs]
    return json.dumps({"resourceType": "Parameters", "parameter": listed}).encode()


def _told(reply: httpx.Response, limits: Any) -> bytes:
    """The body of an answer of which only issue codes are wanted; empty where it cannot be read."""
    try:
        return read_body(reply, limits)
    except (TooSlow, Unusable, httpx.TransportError):  # status and headers are here, and say enough
        return b""


def _no(route: str, status: int, codes: Sequence[str]) -> str:
    why = f" ({', '.join(codes)})" if codes else ""
    return f"{route}: the server says {status}{why}"
