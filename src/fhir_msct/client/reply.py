"""A server's answer: what of it is looked at, whether it is FHIR at all, and the error that a no deserves."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.client.bundle import checked_text
from fhir_msct.client.failures import CONFLICT, Declined, Shut, Unusable
from fhir_msct.client.retry import RETRIED, TRANSIENT, http_date
from fhir_msct.errors import ServerUnfit

FHIR_JSON = "application/fhir+json"
_JSON = frozenset({FHIR_JSON, "application/json", "application/json+fhir"})

_ISSUES = frozenset(
    {
        *("invalid", "structure", "required", "value", "invariant", "security", "login", "unknown"),
        *("expired", "forbidden", "suppressed", "processing", "not-supported", "duplicate"),
        *("multiple-matches", "not-found", "deleted", "too-long", "code-invalid", "extension", "too-costly"),
        *("business-rule", "conflict", "transient", "lock-error", "no-store", "exception", "timeout"),
        *("incomplete", "throttled", "informational", "success", "limited-filter"),
    }
)
"""https://hl7.org/fhir/R4/valueset-issue-type.html, and what R5 added: any other word is the server's own."""

_HAPI_CONFLICT = re.compile(r"\bHAPI-0550\b")
"""Where the database finds out last: https://github.com/hapifhir/hapi-fhir/issues/4843"""

REFUSED = (401, 403)
"""Statuses that say: not with these credentials."""


class Reply(Struct, frozen=True, kw_only=True):
    """A whole answer."""

    status: int
    body: bytes = b""
    codes: tuple[str, ...] = ()
    etag: str | None = None
    location: str = ""
    """The address of what was created; not to be followed, only read."""
    date: datetime | None = None
    """The server's own clock."""
    media: str = ""
    """The media type, in lower case and without its parameters."""
    encoding: str = ""
    """How the body was compressed on its way."""
    refusal: str = ""
    """What to look at where the credentials are refused."""
    let_in: bool = True
    """Whether the server has ever let us in, before this answer or with it."""


def reply_of(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """A whole answer, from its parts."""
    return Reply(
        status=status,
        body=body,
        codes=() if status < 300 else issue_codes(body),
        etag=headers.get("etag"),
        location=headers.get("location", ""),
        date=http_date(headers.get("date")),
        media=media_type(headers.get("content-type", "")),
        encoding=headers.get("content-encoding", "").strip().lower(),
    )


def says_later(reply: Reply) -> bool:
    """Whether an answer asks for another try."""
    transient = 400 <= reply.status < 500 and not TRANSIENT.isdisjoint(reply.codes)
    return reply.status in RETRIED or transient


def checked(body: bytes, content_type: str, route: str, named: str, key: str) -> None:
    """Returns for whole JSON; a login page with status 200 is not FHIR, and half a body is none.

    `named` is the server, `key` what leads there in study.toml.
    """
    media = media_type(content_type)
    if media not in _JSON:
        what = "a page for people (a login?)" if "html" in media else "something else"
        raise ServerUnfit(
            f"{route}: {named} answered with {what}, not with FHIR JSON: "
            f"check {key}, and whether this machine is let in"
        )
    checked_text(body)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        raise Unusable("cut", f"{route}: the answer is cut short, or not JSON") from None


def media_type(content_type: str) -> str:
    """The media type of a Content-Type header, in lower case and without its parameters."""
    return content_type.split(";", 1)[0].strip().lower()


def request_id(said: str) -> str:
    """The server's id of a request, as far as what it says can be one."""
    return said if re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", said) else ""


def issue_codes(body: bytes) -> tuple[str, ...]:
    """The issue codes of an OperationOutcome, which are a closed list and hold no patient's data.

    HAPI's number of a version conflict, which comes with a 500 and another code as well, is one of them.
    """
    try:
        tree: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ()
    listed = tree.get("issue") if isinstance(tree, dict) else None
    issues = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    codes = [issue.get("code") for issue in issues]
    known = [code for code in codes if isinstance(code, str) and code in _ISSUES]
    told = any(_HAPI_CONFLICT.search(str(issue.get("diagnostics"))) for issue in issues)
    return (*known, CONFLICT) if told and CONFLICT not in known else tuple(known)


def declined(reply: Reply, route: str) -> Declined:
    """The error that an answer deserves which is not the one that was wanted.

    Shut (exit code 3) where the credentials are refused and were never taken; Declined (5) for all else.
    """
    why = f" ({', '.join(reply.codes)})" if reply.codes else ""
    advice = f": {reply.refusal}" if reply.status in REFUSED and reply.refusal else ""
    later = ": run this again later" if reply.status >= 500 else ""
    message = f"{route}: the server says {reply.status}{why}{advice or later}"
    kind = Shut if reply.status in REFUSED and not reply.let_in else Declined
    return kind(reply.status, reply.codes, message)
