"""All mappings of a study: `mappings/` and the study folder's own, compiled once.

mapping = Mapping.load()
mapping.read(observation).records     ->  (Measurement(paramcd="CK", aval=Decimal("5.40"), ...),)
mapping.write(record, onto=original)  ->  the original's bytes with only that value replaced
"""

import json
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Dict
from pathlib import Path
from typing import Any

import msgspec

from fhir_msct import data, plan
from fhir_msct.errors import MappingError, Refused, UsageError
from fhir_msct.mapping import codes, identity, rows, structs, template, twice
from fhir_msct.mapping.context import Context
from fhir_msct.mapping.derived import BUILDERS
from fhir_msct.mapping.kind import NOT_READ, Kind
from fhir_msct.mapping.ndjson import BLOCK, is_utf8
from fhir_msct.mapping.reading import Aside, Reading
from fhir_msct.mapping.scope import Known
from fhir_msct.mapping.shape import NOBODY, Shape
from fhir_msct.mapping.subjects import Patients
from fhir_msct.mapping.units import Units
from fhir_msct.records import DerivedOutcome, Finding, Measurement, Resource, Subject, Transplant


class Mapping:
    """Resources to records and back, by the templates, codes and units of one study."""

    def __init__(self, shipped: Path, own: Path | None, study: plan.Plan) -> None:
        _refuse_unknown_files(shipped, own)
        self.tables = codes.load(shipped, own)
        self.units = Units(shipped, own)
        self.study = study
        _refuse_unknown_parameters(self.tables["codes"].rows, study)
        self.shapes = _shapes(shipped, own, self.tables)
        words = rows.read(shipped, "words.csv", own)
        recognition = rows.read(shipped, "recognition.csv", own)
        self.kinds: dict[str, Kind] = {}
        for kind in {shape.template.kind for shape in self.shapes.values()}:
            self.kinds[kind] = Kind(kind, self.shapes, self.tables, words, recognition)
        self.peek_code: Callable[[bytes], Any] = msgspec.json.Decoder(structs.peek_struct(["code"])).decode
        self.seen = {
            name: kind.by_code.seen
            for name, kind in self.kinds.items()
            if kind.by_code and kind.field == "code"
        }
        keys = sorted({key for kind in self.kinds.values() for key in kind.keys})
        self.peek: Callable[[bytes], Any] = msgspec.json.Decoder(structs.peek_struct(keys)).decode
        self.context = self.context_for(NOBODY)

    @classmethod
    def load(cls, folder: Path | str | None = None, study: plan.Plan | None = None) -> "Mapping":
        """The shipped mappings, with those of a study folder added.

        Raises MappingError (file and key) for a template that FHIR R4 does not fit, or rows that
        contradict each other; ConfigError for a study.toml that cannot be used.
        """
        home = Path(folder) if folder is not None else None
        if home is not None and not home.is_dir():
            raise UsageError(f"{home} is no folder: run `fhir-msct init {home}` first")
        if study is None:
            study = plan.load(home if home is not None and (home / "study.toml").is_file() else None)
        own = home / "mappings" if home is not None and (home / "mappings").is_dir() else None
        return cls(data.mappings(), own, study)

    def read(self, resource: Any, *, base: str | None = None, patients: Patients | None = None) -> Reading:
        """Records, or what was set aside and why, or out of scope.

        `resource`: JSON bytes or text, a dict, a fhir.resources model (which has lost the digits it
        parsed), or a `Resource` of the archive. `base`: the server's URL, so that absolute references
        to it are followed. `patients`: who is in the study; without it only plain references resolve.
        """
        if patients is None:
            patients = NOBODY if base is None else Patients(base=base)
        context = self.context if patients is NOBODY else self.context_for(patients)
        given = identity.resource_of(resource)
        found = self.reading(given, context)
        kind = found.records[0].source.partition("/")[0] if found.records else ""
        why = twice.why_not(given.body, kind) if kind else None  # no pull has looked at this one
        return identity.aside(given, why) if why else found

    def reading(self, resource: Resource, context: Context) -> Reading:
        """The reading of one resource of the archive, in the study's context."""
        body = resource.body
        if not body.isascii() and not is_utf8(body):
            return identity.aside(resource, Aside("not-utf8"))
        kind = self.kinds.get(resource.type)
        if kind is not None:
            return kind.read(resource, context)
        try:
            peeked = self.peek(body)
        except (msgspec.DecodeError, RecursionError) as error:
            return identity.aside(resource, identity.broken(body, error))
        return self.peeked(resource, peeked, context)

    def peeked(self, resource: Resource, peeked: Any, context: Context) -> Reading:
        """The reading of a resource whose type only its own bytes say."""
        kind = self.kinds.get(peeked.f_resourceType)
        if kind is not None:
            known = kind.judge(peeked)
            return known if isinstance(known, Reading) else kind.read_known(resource, known, context)
        if peeked.f_resourceType is None:
            return identity.aside(resource, Aside("no-type"))
        return Reading(out=("", peeked.f_resourceType))

    def read_ndjson(self, path: Path | str, *, patients: Patients | None = None) -> Iterator[Reading]:
        """The reading of every line of a file, streaming; a bad line costs one line.

        A usual measurement is not looked at for a key that stands twice, as a pull and `read` do.
        """
        context, name = self.context if patients is None else self.context_for(patients), Path(path).name
        peek, seen = self.peek_code, self.seen
        with Path(path).open("rb", buffering=BLOCK) as file:  # split at the byte 0x0A and nowhere else
            for number, line in enumerate(file, 1):
                known = None
                if line.isascii() or is_utf8(line):
                    try:
                        peeked = peek(line)
                        known = seen[peeked.f_resourceType].get(b"" + peeked.f_code)
                    except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
                        pass  # no JSON, no code, a type of another kind: the careful road says which
                if known.__class__ is Reading:  # most of what a hospital sends ends here
                    yield known
                elif known.__class__ is Known and (
                    record := known.shapes[0].record(Resource("", None, line), known, context)
                ):
                    yield Reading((record,))
                elif line.strip():
                    yield self.reading(Resource("", None, line, where=f"{name}:{number}"), context)

    def write(self, record: Any, onto: bytes | None = None, *, patients: Patients = NOBODY) -> bytes:
        """The JSON bytes of a record: a new resource, or `onto` with only the changed values replaced.

        Raises Refused where something would be lost, or where a derived field was edited.
        """
        shape = self.shape_of(record, onto)
        if onto is not None and (why := twice.why_not(onto, "")):
            raise Refused(
                f"{shape.name}: the original is set aside ({why.reason}): nothing is written onto it"
            )
        values = {name: getattr(record, name, None) for name in shape.holes}
        body = shape.write(values, onto, patients)
        before = self.read(onto, patients=patients).records if onto is not None else (type(record)(),)
        _check_derived(record, before, self.read(body, patients=patients).records)
        return body

    def shape_of(self, record: Any, onto: bytes | None = None) -> Shape:
        """The mapping file that writes a record."""
        names = [name for name in self.shapes if name.split("-")[0] == _RECORDS.get(type(record))]
        if not names:
            raise Refused(f"no mapping writes a {type(record).__name__}")
        kind = identity.head(onto).resourceType if onto is not None else None
        fits = [self.shapes[name] for name in names if kind in (None, self.shapes[name].template.kind)]
        table = [s for s in fits if isinstance(record, Finding) and _means(s, record.term)]
        if not (table or fits):
            raise Refused(f"no mapping writes a {type(record).__name__} onto a {kind}")
        return (table or fits)[0]

    def model(self, record: Any) -> Any:
        """A validated fhir.resources R4B model of a record (it rewrites decimals: never send it)."""
        from fhir_msct.mapping import gate

        return gate.model(self.write(record))

    def wanted(self) -> plan.Wanted:
        """What to ask a server for: the types of all shapes, and with scope `codes` their codes."""
        kinds = sorted({s.template.kind for name, s in self.shapes.items() if name not in NOT_READ})
        asked = {kind: self.kinds[kind].codes() for kind in kinds} if self.study.pull.scope == "codes" else {}
        return plan.Wanted(
            types=("Patient", *(kind for kind in kinds if kind != "Patient")),
            cohort=self.study.cohort,
            codes={kind: found for kind, found in asked.items() if found},
            page_size=self.study.pull.page_size,
        )

    def views(self) -> Dict[str, dict[str, Any]]:
        """The SQL-on-FHIR v2 ViewDefinition of every mapping, by its name."""
        from fhir_msct.mapping import views

        found = {}
        for name, shape in sorted(self.shapes.items()):
            transplant = self.kinds[shape.template.kind].transplant if shape.template.scope else None
            found[name] = views.view(shape, transplant.codings() if transplant else ())
        return found

    def patients(self, resources: Any, base: str | None = None) -> Patients:
        """Who is in the study, from all its Patient resources."""
        return Patients(resources, base=base, system=self.study.records.identifier_system)

    def context_for(self, patients: Patients) -> Context:
        return Context(
            accept=self.study.records,
            parameters=self.study.parameters,
            units=self.units,
            patients=patients,
            zone=self.study.zone,
            trusted=self.study.course.trusted,
        )


COMPUTED = ("param", "adtc", "aendtc", "adt", "aendt", "aval", "avalu", "anrlo", "anrhi")
"""Fields that say again what the holes say, in the study's words."""


def _check_derived(record: Any, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    """An edit of a computed field would be lost: it is refused, unless the holes say the same."""
    for old, new in zip(before, after, strict=False):
        for name in COMPUTED if type(old) is type(new) is type(record) else ():
            mine = getattr(record, name, None)
            if mine not in (getattr(old, name, None), getattr(new, name, None)):
                raise Refused(f"{name} is computed from other fields: edit those")


NEEDED = {
    "measurement": frozenset({"status", "paramcd", "subject", "when", "value"}),
    "transplant": frozenset({"status", "subject", "when"}),
    "finding": frozenset({"term", "subject"}),
}
"""Holes without which there is no such record."""

_RECORDS: dict[type, str] = {
    Subject: "subject",
    Measurement: "measurement",
    Transplant: "transplant",
    Finding: "finding",
    DerivedOutcome: "outcome",
}


def _refuse_unknown_files(shipped: Path, own: Path | None) -> None:
    """A misspelt name in a study's own mappings would be a row that nobody reads."""
    known = {path.name for path in shipped.glob("*.csv")} | {"endpoints.toml"}
    for path in sorted(own.iterdir()) if own is not None else ():
        if path.name not in known and path.suffix not in (".json", ".md") and not path.name.startswith("."):
            raise MappingError(f"{path}: no table has this name; there are {', '.join(sorted(known))}")


def _refuse_unknown_parameters(lines: Iterable[rows.Row], study: plan.Plan) -> None:
    for row in lines:
        if row["paramcd"] not in study.parameters:
            raise MappingError(
                f"{row.place}: no parameter {row['paramcd']}; there are {', '.join(study.parameters)}: "
                "add a row to the study's own mappings/parameters.csv"
            )


def _shapes(shipped: Path, own: Path | None, tables: Dict[str, codes.CodeTable]) -> dict[str, Shape]:
    """Every template of both folders, compiled. Raises MappingError with file and key."""
    names = frozenset(tables)
    found: dict[str, Shape] = {}
    for folder in filter(None, (shipped, own)):
        for path in sorted(folder.glob("*.json")):
            document = _document(path)
            if document.get("resourceType") == "CodeSystem":
                continue
            record = path.stem.split("-")[0]
            if path.stem in found:
                raise MappingError(f"{path}: a shipped mapping has this name: choose another")
            if record not in (*BUILDERS, *NOT_READ):
                raise MappingError(f"{path}: the name must begin with {', '.join(BUILDERS)}")
            parsed = template.parse(path.stem, document, names)
            model = found.get(record)
            if missing := NEEDED.get(record, frozenset()) - set(parsed.holes):
                raise MappingError(f"{path}: no hole {{{min(missing)}}}: a {record} needs it")
            found[path.stem] = Shape(parsed, tables, model.generated.names if model else ())
    return found


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise MappingError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise MappingError(f"{path}: wants one JSON object")
    return document


def _means(shape: Shape, term: str) -> bool:
    field = shape.template.scope_field
    return field is not None and shape.tables[field.node.table].preferred(term) is not None  # type: ignore[union-attr]
