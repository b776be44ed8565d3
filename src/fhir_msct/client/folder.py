"""An export on disk, with the same face as a server: NDJSON, gzip, Bundles of any type, single resources.

Every file, line and entry becomes a Resource or a Damage, in an order that does not depend on the machine.
A Damage that is `lost` may have held a resource: a study cannot call itself complete with it. The others
(a bulk log, a manifest, an OperationOutcome) are no FHIR data and only counted.
"""

import os
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from fhir_msct.client import beside
from fhir_msct.client import bundle as bundles
from fhir_msct.client.beside import Beside
from fhir_msct.client.body import MIB, Limits, Line, gunzip, lines
from fhir_msct.client.damage import Damage
from fhir_msct.client.failures import Unusable
from fhir_msct.errors import UsageError
from fhir_msct.records import Resource

Found = Resource | Damage | Beside
"""What files hold, and what they say of others beside them."""

DEEPEST = 8
"""Bundles inside Bundles."""

_BOM = b"\xef\xbb\xbf"
_KINDS = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz", ".json", ".json.gz")


class Source(Struct, frozen=True, kw_only=True):
    """One file of an export."""

    path: Path
    name: str
    """Relative to the folder, with slashes."""

    @property
    def is_gzip(self) -> bool:
        return self.name.lower().endswith(".gz")

    @property
    def is_ndjson(self) -> bool:
        """Whether its name says that each line is one resource."""
        return self.name.lower().removesuffix(".gz").endswith((".ndjson", ".jsonl"))


def sources(folder: Path) -> tuple[Source, ...]:
    """The files below a folder (or the one file that was named), sorted by name.

    Raises UsageError where there is no folder, or one in it cannot be read. Links to folders are not
    followed; they are in the list, so that reading them says so.
    """
    if folder.is_file():
        return (Source(path=folder, name=folder.name),)
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist: --from wants a folder with FHIR files")
    found: list[Path] = []
    for at, folders, names in os.walk(folder, onerror=_refused):
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        found += [Path(at) / name for name in (*names, *links)]
    named = [Source(path=path, name=_printable(path.relative_to(folder))) for path in found]
    return tuple(sorted(named, key=lambda source: source.name))


def _refused(error: OSError) -> None:
    raise UsageError(f"{error.filename} cannot be read: what is in it would be missing")


def _printable(path: Path) -> str:
    """A name that can be stored, also where the disk holds one that is not UTF-8."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_folder(folder: Path, limits: Limits | None = None) -> Iterator[Found]:
    """Everything in a folder: each file, line and entry, and what they say of others."""
    for source in sources(folder):
        yield from read_file(source, limits)


def read_file(source: Source, limits: Limits | None = None) -> Iterator[Found]:
    """Everything in one file."""
    limits = limits or Limits()
    if not source.path.is_file():
        yield _of_file(source, "unreadable")
    elif not source.name.lower().endswith(_KINDS):
        yield _of_file(source, "file-type")
    elif source.is_ndjson:
        yield from _streamed(source, limits)
    else:
        yield from _whole(source, limits)


def pour(source: Source, write: Callable[[bytes], object], limits: Limits | None = None) -> Damage | None:
    """Writes out what a file holds, unpacked; the Damage where it ends too early or cannot be read."""
    written = 0
    try:
        for chunk in _chunks(source, limits or Limits()):
            write(chunk)
            written += len(chunk)
    except Unusable as error:
        return _of_file(source, error.reason, written)
    return None


def read_lines(name: str, path: Path, limits: Limits | None = None) -> Iterator[Found]:
    """Every line of an unpacked NDJSON file that goes by `name` in reports."""
    limits = limits or Limits()
    with path.open("rb") as file:
        for line in lines(_parts(file), limits.line):
            yield from _line(name, line)


def _streamed(source: Source, limits: Limits) -> Iterator[Found]:
    good = _Until(_chunks(source, limits))
    for line in lines(good, limits.line):
        yield from _line(source.name, line)
    if good.ended is not None:
        yield _of_file(source, good.ended.reason, good.bytes)


class _Until:
    """Chunks up to the first one that cannot be read; then why, and how many bytes came."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self.bytes = chunks, 0
        self.ended: Unusable | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks:
                self.bytes += len(chunk)
                yield chunk
        except Unusable as error:
            self.ended = error


def _whole(source: Source, limits: Limits) -> Iterator[Found]:
    """A file that is one JSON value; or several lines of JSON under a name that does not say so."""
    try:
        body = _read(source, limits)
    except Unusable as error:
        yield _of_file(source, error.reason)
        return
    first = body.lstrip().split(b"\n", 1)
    if len(first) == 2 and _is_json(first[0]) and not _is_json(body):
        for line in lines([body], limits.line):
            yield from _line(source.name, line)
    else:
        yield from _value(source.name, 0, body)


def _read(source: Source, limits: Limits) -> bytes:
    """All that a file holds; raises Unusable where it cannot be read, or is too much."""
    body = bytearray()
    for chunk in _chunks(source, limits):
        body += chunk
        if len(body) > limits.body:
            raise Unusable("too-big", "longer than a file of this kind may be")
    return bytes(body)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body.removeprefix(_BOM), type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _line(name: str, line: Line) -> Iterator[Found]:
    if line.body is None:
        yield Damage(
            file=name, offset=line.offset, length=line.length, sha256=line.sha256, reason="line-too-long"
        )
    elif line.body.strip():
        yield from _value(name, line.offset, line.body)


def _value(name: str, offset: int, body: bytes) -> Iterator[Found]:
    """One JSON text: a resource, or a Bundle of them. Space around it is not part of it."""
    if offset == 0 and body.startswith(_BOM):
        offset, body = len(_BOM), body[len(_BOM) :]
    inner = body.lstrip(b" \t\r\n")
    offset, inner = offset + len(body) - len(inner), inner.rstrip(b" \t\r\n")
    try:
        bundles.checked_text(inner)
    except Unusable as error:
        yield _damage(name, offset, inner, error.reason)
        return
    yield from _one(name, offset, inner, None, 0)


def _one(
    name: str, offset: int, body: bytes, entry: bundles.Entry | None, depth: int, subsetted: bool = False
) -> Iterator[Found]:
    try:
        known = bundles.incoming(body)
        if known.type == "Bundle":
            yield from _bundle(name, offset, body, depth + 1, subsetted)
            return
    except Unusable as error:
        reason = error.reason
        if reason == "not-an-object" and b'"resourceType"' in body:
            reason = "shape"
        yield _damage(name, offset, body, reason, entry)
        return
    if not known.type:
        if entry is None and (listing := beside.manifest(name, body)):
            yield listing
        yield _damage(name, offset, body, "no-type", entry)
    elif known.type == "OperationOutcome" or (entry is not None and entry.mode == "outcome"):
        yield msgspec.structs.replace(_damage(name, offset, body, "message", entry), type=known.type)
    else:
        found = bundles.resource(body, known, where=f"{name}:{offset}", entry=entry)
        yield msgspec.structs.replace(found, subsetted=True) if subsetted else found


def _bundle(name: str, offset: int, body: bytes, depth: int, subsetted: bool) -> Iterator[Found]:
    if depth > DEEPEST:
        yield _damage(name, offset, body, "too-deep")
        return
    cut = bundles.cut(body)
    if page := beside.page(name, cut):
        yield page
    for number, (entry, place) in enumerate(zip(cut.entries, bundles.places(body, cut.entries), strict=True)):
        at = offset + place
        method = (entry.method or "").upper()
        if method == "PATCH":
            yield _damage(name, at, entry.body or b"", "patch", entry)
        elif method == "DELETE":
            yield _deleted(name, at, number, entry)
        elif entry.body is not None:
            yield from _one(name, at, entry.body, entry, depth, subsetted or cut.subsetted)
        else:
            yield _damage(name, at, b"", "no-resource", entry)


def _deleted(name: str, offset: int, number: int, entry: bundles.Entry) -> Resource | Damage:
    """A DELETE entry as a deletion; one by search parameters names nothing, so something may be lost."""
    found = re.fullmatch(
        r"(?:.*/)?([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/.*)?", entry.url or ""
    )
    if not found:
        return _damage(name, offset, (entry.url or "").encode(), "delete-unclear", entry)
    return Resource(
        type=found[1],
        id=found[2],
        body=b"",
        version=entry.version,
        lastupdated=entry.modified,
        deleted=True,
        where=f"{name}:{offset} entry {number}",
    )


def _damage(name: str, offset: int, body: bytes, reason: str, entry: bundles.Entry | None = None) -> Damage:
    return Damage(
        file=name,
        offset=offset,
        length=len(body),
        sha256=sha256(body).hexdigest(),
        reason=reason,
        in_bundle=entry is not None,
    )


def _of_file(source: Source, reason: str, offset: int = 0) -> Damage:
    """A Damage of a whole file, or of its rest."""
    hashed, length = sha256(), 0
    try:
        with (source.path if source.path.is_file() else Path(os.devnull)).open("rb") as file:
            for chunk in _parts(file):
                hashed.update(chunk)
                length += len(chunk)
    except OSError:
        reason = "unreadable"
    return Damage(file=source.name, offset=offset, length=length, sha256=hashed.hexdigest(), reason=reason)


def _chunks(source: Source, limits: Limits) -> Iterator[bytes]:
    try:
        with source.path.open("rb") as file:
            yield from gunzip(_parts(file), limits) if source.is_gzip else _parts(file)
    except OSError:
        raise Unusable("unreadable", f"{source.name} cannot be read") from None


def _parts(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(MIB):
        yield part
