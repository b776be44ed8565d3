"""What goes to a server: each answer as a `DerivedOutcome`, and each value that somebody typed.

An id is made of what the answer is about and of nothing else, so that the same answer always lands on
the same resource: not of input versions, not of the tool's version, not of the clock.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from fhir_msct.dates import calendar_date, instant
from fhir_msct.plan import Endpoint
from fhir_msct.records import DerivedOutcome, When
from fhir_msct.results import Outcome

TAGS = "urn:fhir-msct:tags"
DERIVED, ENTERED = "derived", "entered"
INPUT_VERSION = "urn:fhir-msct:input-version"
ENTRY = "urn:fhir-msct:entry"
ADDRESS = "urn:ietf:rfc:3986"
"""The system of an identifier that is an address (https://hl7.org/fhir/R4/datatypes.html#Identifier)."""
TOOL = "fhir-msct"
SETTLED = ("final", "amended", "corrected")
RUN = re.compile(r"demo-[a-z2-7]{8}")

_exact = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode()))
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_SOURCE = re.compile(r"(https?://\S+/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(/_history/.+)?")


class Input(Struct, frozen=True):
    """What an outcome needs to know of a resource it rests on."""

    status: str = ""
    said: str = ""
    """When it was issued, else when it was measured, as written."""
    entered: bool = False
    """Entered by hand and sent by us: its version on a server is of our own making, and says nothing."""


def identity(*parts: str | int) -> str:
    """The id of what these parts name (a kind, a study ...): `msct-` and 32 of a-z 2-7.

    A demo on somebody's server is a study called `demo-` and 8 of a-z 2-7: its ids begin with that name.
    """
    named = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    run = next((part for part in parts[1:2] if isinstance(part, str) and RUN.fullmatch(part)), "msct")
    return f"{run}-" + base64.b32encode(hashlib.sha256(named.encode()).digest())[:32].decode().lower()


def system(study: str) -> str:
    """The identifier system of a study's own resources."""
    return f"urn:fhir-msct:{quote(study, safe='')}"


def input_of(body: bytes) -> Input:
    """Status and time of an input, out of its own bytes."""
    tree = json.loads(body)
    period = tree.get("effectivePeriod") or {}
    said = (
        tree.get("issued")
        or tree.get("effectiveDateTime")
        or tree.get("effectiveInstant")
        or period.get("end")
        or period.get("start")
    )
    return Input(str(tree.get("status", "")), str(said or ""), ENTERED in tags(tree))


def tags(tree: Mapping[str, Any]) -> set[str]:
    """Our own tags on a resource."""
    meta = tree.get("meta")
    found = meta.get("tag") if isinstance(meta, dict) else None
    listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return {str(one.get("code")) for one in listed if one.get("system") == TAGS}


def located(
    source: str, server: str, inputs: Mapping[str, Input], marks: Mapping[str, str] | None = None
) -> str:
    """An input with the address of the server that holds it, where that is not the one written to.

    What has no id is nowhere, and what we entered goes to the same server as what rests on it. `marks` are
    inputs out of files, each by its hash: their ids mean something else on the server written to.
    """
    if "/#" in source or _entered(source, inputs):
        return source
    plain = f"{server}/{source}" if server else source
    return (marks or {}).get(source, plain)


def reference(source: str, entered: bool = False) -> dict[str, Any]:
    """A reference to an input's version; the version also as text, since servers drop it.

    A resource that no server gave an id is referred to by its hash; one with an address by that: its id
    means something else, or nothing, on the server that is written to.
    """
    found = _SOURCE.fullmatch(source)
    if found is None:
        kind, _, mark = source.partition("/#")
        return {"type": kind, "identifier": {"system": "urn:fhir-msct:sha256", "value": mark or source}}
    server, kind, own, _ = found.groups()
    if server:
        named = [{"url": INPUT_VERSION, "valueString": source.removeprefix(server)}]
        return {"extension": named, "type": kind, "identifier": {"system": ADDRESS, "value": source}}
    if entered:
        source = f"{kind}/{own}"
    return {"extension": [{"url": INPUT_VERSION, "valueString": source}], "reference": source}


def outcome(
    row: Outcome,
    endpoint: Endpoint,
    *,
    study: str,
    subject: str,
    category: str,
    unit: str,
    infusions: Iterable[str],
    inputs: Mapping[str, Input],
    server: str = "",
    marks: Mapping[str, str] | None = None,
) -> DerivedOutcome:
    """One row of by_subject.csv as it goes back.

    `subject`: the Patient's id; `unit`: the study's unit of the row's parameter; `infusions`: the
    versions that opened the course; `inputs`: what the archive says of each Observation among the
    row's sources. `server`: where the inputs are, if not where this goes; `marks`: how `located` names
    those that are nowhere.
    """
    own = identity("outcome", study, row.usubjid, row.endpoint, row.course, endpoint.avisit)
    sources = row.source.split()
    used = {source: inputs[source] for source in sources if source.startswith("Observation/")}
    settled = all(one.status in SETTLED for one in used.values())
    base, aval = _decimal(row.base), _decimal(row.aval)
    return DerivedOutcome(
        id=own,
        study=quote(study, safe=""),
        identifier=own,
        research_study=research_study_id(study),
        device=device_id(study),
        status="final" if settled else "preliminary",
        category=category or None,
        endpoint=row.endpoint,
        rule=endpoint.rule,
        subject=subject,
        when=_when(row),
        issued=issued(used.values()),
        **_answer(row),
        derived_from=_references(sorted(used), used, server, marks),
        part_of=_references(sorted(infusions), {}, server, marks),
        base=base,
        base_comparator=row.base_comparator or None,
        base_unit=None if base is None else unit,
        aval=aval,
        aval_comparator=row.comparator or None,
        aval_unit=None if aval is None else unit,
    )


def _references(
    sources: Iterable[str], inputs: Mapping[str, Input], server: str, marks: Mapping[str, str] | None
) -> str | None:
    listed = [reference(located(one, server, inputs, marks), _entered(one, inputs)) for one in sources]
    return json.dumps(listed, ensure_ascii=False, separators=(",", ":")) if listed else None


def _entered(source: str, inputs: Mapping[str, Input]) -> bool:
    return source in inputs and inputs[source].entered


def _answer(row: Outcome) -> dict[str, Any]:
    """The answer in the one kind of value it has; beside met or not met, what that rests on."""
    if row.status in ("met", "not met"):
        return {"answer": row.status.replace(" ", "-"), **_value(row, "detail", "detail_day", "detail_word")}
    return {**_value(row, "value", "day", "word"), "unit_text": row.unit or None}


def _value(row: Outcome, number: str, day: str, word: str) -> dict[str, Any]:
    found = _decimal(row.value)
    if found is not None:
        unit = "unit" if number == "value" else f"{number}_unit"
        return {number: found, f"{number}_comparator": row.value_comparator or None, unit: row.unit or None}
    if calendar_date(row.value):
        return {day: row.value}
    return {word: row.value} if row.value else {}


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _when(row: Outcome) -> When | None:
    """From baseline to the visit, or the one day there is."""
    if row.adt and row.base_adt and row.base_adt <= row.adt:
        return When("Period", row.base_adt.isoformat(), row.adt.isoformat())
    day = row.adt or row.base_adt
    return When("dateTime", day.isoformat()) if day else None


def issued(inputs: Iterable[Input]) -> str | None:
    """The newest moment that the inputs say, as written; None where a newer one has only a date.

    FHIR's `issued` is an instant, and a time that nobody wrote is not invented.
    """
    said = [one.said for one in inputs]
    moments = [(moment, text) for text in said if _INSTANT.fullmatch(text) and (moment := instant(text))]
    if not moments:
        return None
    newest: tuple[datetime, str] = max(moments)
    days = [day for text in said if not _INSTANT.fullmatch(text) and (day := calendar_date(text))]
    return newest[1] if all(day <= newest[0].date() for day in days) else None


def device_id(study: str) -> str:
    """The id of the tool, as this study's device."""
    return identity("device", study, TOOL)


def research_study_id(study: str) -> str:
    """The id of the study's ResearchStudy."""
    return identity("research-study", study)


def exact(body: bytes) -> dict[str, Any]:
    """The tree of a resource whose numbers keep their digits when it is encoded again."""
    tree: dict[str, Any] = _exact.decode(body)
    return tree


def with_status(body: bytes, status: str) -> bytes:
    """A derived result with another status and everything else as it was, digit for digit."""
    tree = _exact.decode(body)
    tree["status"] = status
    tree["meta"] = {"tag": tree["meta"]["tag"]}
    tree.pop("text", None)  # a narrative that a server made of the old content
    return msgspec.json.encode(tree)


def entered(body: bytes, *, by: str, at: str, document: str) -> bytes:
    """A resource made from a row that somebody typed: our tag, and who typed it, when, from what."""
    tree = _exact.decode(body)
    tree["meta"] = {"tag": [{"system": TAGS, "code": ENTERED}]}
    if _INSTANT.fullmatch(at):
        tree["issued"] = at
    said = [("by", "valueString", by), ("at", "valueDateTime", at), ("document", "valueString", document)]
    parts = [{"url": name, kind: text} for name, kind, text in said]
    tree["extension"] = [*tree.get("extension", ()), {"url": ENTRY, "extension": parts}]
    return msgspec.json.encode(tree)
