"""An export from a server that loses polls, cuts its manifest short, or would have our secrets elsewhere."""

import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.test_pull_server import Study
from fhir_msct.client.retry import Patience
from lib.fake_fhir import Answer, FakeFhir, observation, patient, reply, status

BASE = "https://fhir.hospital.example/fhir"
FILES = "https://files.hospital.example"
GROUP = {"resourceType": "Group", "id": "g", "member": [{"entity": {"reference": "Patient/p1"}}]}
HELD = [patient("p1"), observation("o1", "p1", "5.40")]
TOML = """
[server]
url = "{base}"
[cohort]
group = "g"
basis = "consent"
[pull]
how = "export"
"""


class Exporter(FakeFhir):
    """Exports what it holds: three polls that say how far it is, then a manifest in so many parts."""

    def __init__(self, *parts: dict[str, Any]) -> None:
        super().__init__([*HELD, GROUP], base=BASE)
        self.parts, self.polled = parts or (part(f"{BASE}/Patient.f", f"{BASE}/Observation.f"),), 0
        self.seen: list[httpx.Request] = []
        """The requests for files."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = super().__call__(request)
        if str(request.url).startswith(BASE):
            answer.headers["Set-Cookie"] = "SESSION=canary; Path=/; Domain=hospital.example; Secure"
        return answer

    def answer(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, request.url.query.decode()
        if path.endswith("$export"):
            return reply(202, "", Content_Location=f"{BASE}/job")
        if path.endswith("/job"):
            return self._job(request, query)
        if path.endswith(".f"):
            self.seen.append(request)
            type_ = path.rpartition("/")[2].removesuffix(".f")
            lines = "".join(f"{json.dumps(one)}\n" for one in HELD if one["resourceType"] == type_)
            return reply(200, lines, "application/fhir+ndjson")
        return super().answer(request)

    def _job(self, request: httpx.Request, query: str) -> httpx.Response:
        if request.method == "DELETE":
            return reply(202, "")
        self.polled += 1
        if self.polled <= 3:
            return reply(202, "", X_Progress=f"{self.polled} of 3")
        return reply(200, json.dumps(self.parts[int(query.removeprefix("part=") or 0)]), "application/json")


def part(*urls: str, token: bool = True, following: int = 0) -> dict[str, Any]:
    """One part of a manifest."""
    listed = [{"type": url.rpartition("/")[2].removesuffix(".f"), "url": url} for url in urls]
    links = [{"relation": "next", "url": f"{BASE}/job?part={following}"}] if following else []
    told = {"transactionTime": "2024-06-30T08:00:00Z", "requiresAccessToken": token}
    return {**told, "output": listed, "error": [], "link": links}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study", TOML, BASE)


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


def late(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("late", request=request)


def cut(request: httpx.Request) -> httpx.Response:
    whole = gzip.compress(json.dumps(part(f"{BASE}/Patient.f")).encode())
    return reply(200, whole[:40], "application/json", Content_Encoding="gzip")


def half(request: httpx.Request) -> httpx.Response:
    return reply(200, json.dumps(part(f"{BASE}/Patient.f"))[:60], "application/json")


@pytest.mark.parametrize("after", [2, 3])
@pytest.mark.parametrize("bend", [lost, late, cut, half])
def test_a_poll_that_is_lost_or_damaged_is_sent_again(study: Study, bend: Answer, after: int) -> None:
    server = Exporter()
    server.bend("GET .*/job", bend, times=2, after=after)
    report = study.pull(server)
    assert report.complete, report.problems
    assert len(server.seen) == 2, "the files were taken from the export"


def test_a_manifest_that_stays_damaged_is_given_up_after_some_tries(study: Study) -> None:
    server = Exporter()
    server.bend("GET .*/job", half, times=99, after=3)
    assert study.pull(server).complete
    polls = [one for one in server.requests if one.url.path.endswith("/job") and one.method == "GET"]
    assert len(polls) == 3 + Patience().tries
    assert server.seen == []


def with_token(study_folder: Path, more: str = "") -> Study:
    place = study_folder.parent / "token"
    place.write_text("canary-token")
    place.chmod(0o600)
    auth = f'url = "{{base}}"\nauth = "bearer"\ntoken_file = "{place}"'
    return Study(study_folder, TOML.replace('url = "{base}"', auth) + more, BASE)


def test_a_file_that_is_refused_is_asked_for_once_more_and_no_oftener(tmp_path: Path) -> None:
    server = Exporter()
    server.bend(r"Observation\.f", status(401, "login"), times=99)
    report = with_token(tmp_path / "study").pull(server)
    assert report.complete and "Observation was searched for" in " ".join(report.notes)
    asked = [one for one in server.requests if one.url.path.endswith("Observation.f")]
    assert [one.headers.get("authorization") for one in asked] == ["Bearer canary-token"] * 2


def test_where_the_parts_of_a_manifest_differ_no_file_gets_the_token(tmp_path: Path) -> None:
    elsewhere = part(f"{FILES}/Observation.f", token=False)
    server = Exporter(part(f"{BASE}/Patient.f", following=1), elsewhere)
    with_token(tmp_path / "study", f'file_origins = ["{FILES}"]\n').pull(server)
    assert [one.headers.get("authorization") for one in server.seen] == [None, None]


def test_a_cookie_goes_back_to_the_server_that_set_it_and_nowhere_else(study: Study) -> None:
    port = "https://fhir.hospital.example:8443"
    server = Exporter(part(f"{FILES}/Patient.f", f"{port}/Observation.f", token=False))
    assert study.pull(server).complete
    assert len(server.seen) == 2
    for request in server.requests[1:]:
        ours = str(request.url).startswith(BASE)
        assert request.headers.get("cookie") == ("SESSION=canary" if ours else None)
