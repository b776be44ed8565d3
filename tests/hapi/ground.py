"""A test's own ground on a server that others use too: its ids begin alike, and all it writes is tagged."""

import json
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import httpx

from fhir_msct.client.rest import Client
from lib.loopback import TLS

TAGS = "urn:fhir-msct:hapi-tests"
FHIR = {"Content-Type": "application/fhir+json"}
FRESH = {"Cache-Control": "no-cache"}

Tree = dict[str, Any]


class Ground:
    """Ids, resources and plain HTTP; a context manager."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"t{uuid4().hex[:12]}"
        self.http = httpx.Client(verify=TLS, trust_env=False, timeout=120)
        self.client = Client(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.__exit__(None, None, None)
        self.http.close()

    def id(self, name: object) -> str:
        """An id that no other test has."""
        return f"{self.prefix}-{name}"

    @property
    def tag(self) -> Tree:
        """The tag of everything here."""
        return {"system": TAGS, "code": self.prefix}

    @property
    def tagged(self) -> dict[str, str]:
        """A search for everything here."""
        return {"_tag": f"{TAGS}|{self.prefix}"}

    def patient(self, name: object = "p", **more: Any) -> Tree:
        """A Patient."""
        return {"resourceType": "Patient", "id": self.id(name), "meta": {"tag": [self.tag]}, **more}

    def observation(self, name: object, value: str = "5.40", *, of: object = "p", **more: Any) -> Tree:
        """A creatine kinase result; `value` goes out with the digits it is written with."""
        return {
            "resourceType": "Observation",
            "id": self.id(name),
            "meta": {"tag": [self.tag]},
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "2157-6"}]},
            "subject": {"reference": f"Patient/{self.id(of)}"},
            "effectiveDateTime": "2024-02-28T08:00:00+08:00",
            "valueQuantity": {
                "value": Exact(value),
                "unit": "U/L",
                "system": "http://unitsofmeasure.org",
                "code": "U/L",
            },
            **more,
        }

    def put(self, *trees: Tree) -> None:
        """Writes resources, each of which must be taken; many at once go in one transaction."""
        if len(trees) == 1:
            assert self.send(trees[0]).is_success
        else:
            answer = self.bundle("transaction", *(put(tree) for tree in trees))
            assert answer.status_code == 200, answer.text

    def send(self, tree: Tree, **headers: str) -> httpx.Response:
        """A PUT, whatever comes of it."""
        return self.http.put(f"{self.url}/{place(tree)}", content=text(tree), headers={**FHIR, **headers})

    def bundle(self, kind: str, *entries: Tree) -> httpx.Response:
        """A Bundle to the base address, whatever comes of it."""
        tree = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
        return self.http.post(self.url, content=text(tree), headers=FHIR)

    def get(self, path: str, params: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """A GET, whatever comes of it."""
        return self.http.get(f"{self.url}/{path}", params=params, headers=headers)

    def delete(self, tree: Tree) -> httpx.Response:
        """A DELETE, whatever comes of it."""
        return self.http.delete(f"{self.url}/{place(tree)}")

    def version(self, tree: Tree) -> str | None:
        """The version that the server holds now; None where it holds none."""
        found = self.client.read(tree["resourceType"], tree["id"])
        return found.version if found else None


class Exact(NamedTuple):
    """A number as it is typed."""

    digits: str


def text(tree: Tree) -> bytes:
    """JSON with every `Exact` number as it was typed."""
    typed: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Exact):
            typed.append(value.digits)
            return f"\x00{len(typed) - 1}\x00"
        if isinstance(value, dict):
            return {key: marked(part) for key, part in value.items()}
        return [marked(part) for part in value] if isinstance(value, list) else value

    written = json.dumps(marked(tree))
    for number, digits in enumerate(typed):
        written = written.replace(f'"\\u0000{number}\\u0000"', digits)
    return written.encode()


def exact(body: bytes) -> Any:
    """JSON with its numbers as text."""
    return json.loads(body, parse_float=str, parse_int=str)


def place(tree: Tree) -> str:
    """`Type/id`."""
    return f"{tree['resourceType']}/{tree['id']}"


def put(tree: Tree, **more: str) -> Tree:
    """A Bundle entry that puts a resource under its id."""
    return {"resource": tree, "request": {"method": "PUT", "url": place(tree), **more}}


def delete(tree: Tree) -> Tree:
    """A Bundle entry that deletes a resource."""
    return {"request": {"method": "DELETE", "url": place(tree)}}


def identified(ground: Ground, **more: Any) -> Tree:
    """A Patient with an identifier, and an id only where one is given."""
    tree = ground.patient(identifier=[{"system": "urn:x", "value": ground.id("i")}])
    del tree["id"]
    return {**tree, **more}
