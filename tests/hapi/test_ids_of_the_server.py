"""Conditional create on a real HAPI, as on a server that chooses the ids of new resources."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from push.small_trial import Trial, resources
from push.wires import Wire


class Choosing(Wire):
    """HAPI as it would be without update-as-create: it says so, and no PUT makes a new resource."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = super().handle_request(request)
        if not request.url.path.endswith("/metadata"):
            return response
        tree = json.loads(response.read())
        for one in tree["rest"][0]["resource"]:
            one |= {"updateCreate": False, "conditionalCreate": True}
        headers = [(k, v) for k, v in response.headers.raw if k.lower() != b"content-length"]
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(json.dumps(tree).encode()))


@pytest.fixture
def trial(tmp_path: Path, hapi: str) -> Trial:
    """The small trial under ids of its own, pulled and computed."""
    prefix = f"c{uuid4().hex[:8]}"

    def own(text: str) -> str:
        return text.replace("anna", f"{prefix}-anna").replace("bert", f"{prefix}-bert")

    server: Any = SimpleNamespace(url=hapi)
    found = Trial(tmp_path / "study", server)
    plan = found.folder / "study.toml"
    plan.write_text(own(plan.read_text("utf-8")).replace('id = "small"', f'id = "{prefix}"'), "utf-8")
    for tree in resources():
        found.put(json.loads(own(json.dumps(tree))))
    found.pull()
    found.compute()
    return found


def pushed(trial: Trial) -> tuple[Any, list[Any]]:
    """What a push did, and the requests of its transactions."""
    with Choosing() as wire:
        report = trial.push(transport=wire)
    return report, [entry["request"] for entries in wire.transactions for entry in entries]


def test_each_result_is_there_once_under_an_id_of_hapi(trial: Trial, hapi: str) -> None:
    first, requests = pushed(trial)
    assert first.read_back_equal, first.differing
    assert {request["method"] for request in requests} == {"POST"}
    assert all(request["ifNoneExist"] for request in requests)
    assert len(first.ids) == len(requests) > len(trial.answers())
    system = f"urn:fhir-msct:{trial.plan.study.id}"
    there = httpx.get(f"{hapi}/Observation", params={"identifier": f"{system}|", "_count": "100"}).json()
    held = [entry["resource"] for entry in there["entry"]]
    assert len(held) == len(trial.answers())
    assert not any(tree["id"].startswith("msct-") for tree in held)
    devices = {tree["device"]["reference"] for tree in held}
    assert devices == {place for place in first.ids if place.startswith("Device/")}
    first_table = (trial.folder / "outcomes" / "by_subject.csv").read_bytes()
    trial.pull()
    assert trial.compute() == first_table
    again, requests = pushed(trial)
    assert (again.written, again.plan, requests) == (0, (), [])
