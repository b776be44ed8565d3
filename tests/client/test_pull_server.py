"""A pull from a server: complete, or it says so.

Killed anywhere, it goes on and ends with the same archive.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from fhir_msct import plan as plans
from fhir_msct.archive.store import Account, Archive
from fhir_msct.client.failures import Declined, Shut
from fhir_msct.errors import ConfigError, Locked, MsctError, ServerUnfit, Unreachable, UsageError
from fhir_msct.tasks.pull import PullReport, TypeReport, pull, pull_plan
from lib.fake_fhir import BASE, Answer, Chunks, FakeFhir, bundle, observation, page, patient, reply, status
from lib.virtual_time import VirtualTime

TYPES = ("Patient", "Observation", "Procedure")
PEOPLE = [patient("p1"), patient("p2"), patient("p3")]
VALUES = [observation(f"o{n:02}", f"p{n % 3 + 1}", f"{n}.40") for n in range(25)]
RESOURCES = (
    "select type, key, fhir_id, version, lastupdated, sha256, body, subsetted, deleted, state, same_id "
    "from resource order by 1, 2, 6"
)
TOML = '[server]\nurl = "{base}"\n[cohort]\npatients = ["p1", "p2", "p3"]\n'


class Killed(BaseException):
    """The process ends here."""


class Study:
    """A study folder and how to pull it."""

    def __init__(self, folder: Path, toml: str = TOML, base: str = BASE, **wanted: Any) -> None:
        self.folder, self.time, self.said = folder, VirtualTime(), list[str]()
        folder.mkdir(exist_ok=True)
        (folder / "study.toml").write_text(toml.replace("{base}", base))
        self.plan = plans.load(folder)
        self.wanted = plans.Wanted(**{"types": TYPES, "cohort": self.plan.cohort, "page_size": 10} | wanted)

    def pull(self, server: FakeFhir) -> PullReport:
        return pull(
            self.folder,
            self.plan,
            self.wanted,
            transport=server.transport,
            patience=self.time.patience(),
            say=self.said.append,
        )

    def bodies(self) -> dict[str, bytes]:
        with Archive.open(self.folder) as archive:
            return {f"{t}/{one.id}": one.body for t in archive.types() for one in archive.current(t)}

    def rows(self) -> list[tuple[Any, ...]]:
        """Everything an archive holds of resources, whatever happened on the way."""
        with Archive.open(self.folder) as archive:
            found: list[tuple[Any, ...]] = archive.connection.execute(RESOURCES).fetchall()
            found += archive.connection.execute("select type, patients, state, count_after, why from window")
            return found + [(name, *msgspec.structs.astuple(one)) for name, one in archive.accounts().items()]


@pytest.fixture
def server() -> FakeFhir:
    return FakeFhir([*PEOPLE, *VALUES])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")


def held(server: FakeFhir) -> dict[str, bytes]:
    return {f"{type_}/{id_}": body for (type_, id_), body in server.held.items()}


# --- all of it --------------------------------------------------------------------------------------------


def test_a_pull_brings_every_byte_and_proves_it(study: Study, server: FakeFhir) -> None:
    report = study.pull(server)
    assert report.complete and report.problems == ()
    assert report.types == (
        TypeReport(type="Observation", received=25, counted=25, stored_new=25, unchanged=0, held=25),
        TypeReport(type="Patient", received=3, counted=3, stored_new=3, unchanged=0, held=3),
        TypeReport(type="Procedure", received=0, counted=0, stored_new=0, unchanged=0),
    )
    assert (report.received, report.counted, report.patients) == (28, 28, 3)
    assert (report.base_url, report.software, report.server_date) == (BASE, "fake 1", "2024-06-30")
    assert report.requests == len(server.requests) == 15
    assert study.bodies() == held(server)


def test_a_second_pull_finds_nothing_new(study: Study, server: FakeFhir) -> None:
    study.pull(server)
    before = study.rows()
    report = study.pull(server)
    assert report.complete
    assert [(one.received, one.stored_new, one.unchanged) for one in report.types] == [
        *((25, 0, 25), (3, 0, 3)),
        (0, 0, 0),
    ]
    assert [row for row in study.rows() if row not in before] == []


def test_what_changed_came_and_went_is_noticed(study: Study, server: FakeFhir) -> None:
    study.pull(server)
    server.hold(observation("o00", "p1", "corrected", version=2))
    server.hold(observation("new", "p1"))
    server.drop("Observation", "o01")
    report = study.pull(server)
    assert report.complete
    assert report.types[0] == TypeReport(
        type="Observation", received=25, counted=25, stored_new=2, unchanged=23, gone=1, held=25
    )
    assert study.bodies() == held(server)
    with Archive.open(study.folder) as archive:
        counts = Account(seen=25, superseded=1, deleted=1, lines_read=27)
        assert archive.accounts()["Observation"] == counts


def test_a_pull_that_proves_nothing_deletes_nothing(study: Study, server: FakeFhir) -> None:
    study.pull(server)
    kept = held(server)
    server.drop("Observation", "o01")
    server.no_total = True
    assert not study.pull(server).complete
    assert study.bodies() == kept


def test_the_same_archive_whether_zipped_or_not(tmp_path: Path, server: FakeFhir) -> None:
    plain, zipped = Study(tmp_path / "plain"), Study(tmp_path / "zipped")
    plain.pull(server)
    server.zip = True
    zipped.pull(server)
    assert plain.rows() == zipped.rows()


def test_two_bodies_of_one_id_are_both_kept_and_both_named(study: Study, server: FakeFhir) -> None:
    both = _bytes([patient("p1", x=1), patient("p1", x=2), *PEOPLE[1:]])
    server.bend(r"Patient\?.*_count=10", lambda request: reply(200, bundle(both)))
    assert study.pull(server).complete
    with Archive.open(study.folder) as archive:
        found = [(one.id, one.same_id) for one in archive.current("Patient")]
    assert found == [("p1", True), ("p1", True), ("p2", False), ("p3", False)]


def test_repeated_resources_are_counted_once(study: Study, server: FakeFhir) -> None:
    def twice(request: httpx.Request) -> httpx.Response:
        server.answer(request)
        return reply(
            200, bundle(_bytes([*VALUES[:10], *VALUES[:9]]), f"{BASE}?_getpages=1&_getpagesoffset=10")
        )

    server.bend(r"Observation\?.*_count=10", twice)
    report = study.pull(server)
    assert report.complete
    assert study.bodies() == held(server)


def _bytes(resources: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(one).encode() for one in resources]


def test_includes_are_no_matches_and_not_kept(study: Study, server: FakeFhir) -> None:
    entry = b'{"resource":' + _bytes([patient("z9")])[0] + b',"search":{"mode":"include"}}'
    body = bundle(_bytes(PEOPLE)).removesuffix(b"]}") + b"," + entry + b"]}"
    server.bend(r"Patient\?.*_count=10", lambda request: reply(200, body))
    assert study.pull(server).complete
    assert "Patient/z9" not in study.bodies()


def test_large_windows_are_asked_for_in_as_many_parts_as_they_need(study: Study) -> None:
    many = [observation(f"o{n}", f"p{n % 3 + 1}") for n in range(5400)]
    server = FakeFhir([*PEOPLE, *many])
    study.wanted = plans.Wanted(types=("Patient", "Observation"), cohort=study.plan.cohort, page_size=500)
    report = study.pull(server)
    assert report.complete and report.received == 5403
    assert [line for line in study.said if line.startswith("Observation")] == [
        "Observation of p1: 1800 on the server, all received",
        "Observation of 2 patients (p2 to p3): 3600 on the server, all received",
    ]
    assert sum("_summary=count" in str(one.url) for one in server.requests) < 14


# --- not all of it ----------------------------------------------------------------------------------------


def test_a_server_that_stops_paging_without_a_word_is_found_out(study: Study, server: FakeFhir) -> None:
    def first_page_only(request: httpx.Request) -> httpx.Response:
        return reply(200, server.answer(request).read().replace(b'"relation":"next"', b'"relation":"prev"'))

    server.bend(r"Observation\?.*_count=10", first_page_only, times=99)
    report = study.pull(server)
    assert report.complete, "ten of each patient fit on a page: halving the window proves it"
    assert report.received == 28

    study.wanted = plans.Wanted(types=TYPES, cohort=study.plan.cohort, page_size=5)
    server.bend(r"Observation\?.*_count=5", first_page_only, times=99)
    report = study.pull(server)
    assert not report.complete
    assert report.problems == (
        "Observation of p1 is not proved: the server counts 9, 5 different ones came",
        "Observation of p2 is not proved: the server counts 8, 5 different ones came",
        "Observation of p3 is not proved: the server counts 8, 5 different ones came",
    )
    assert report.server_date is None
    assert study.bodies() == held(server)
    with Archive.open(study.folder) as archive:
        last = archive.last_pull()
    assert last is not None and (last.complete, last.problems) == (False, report.problems)


def test_a_server_that_does_not_count_proves_nothing(study: Study, server: FakeFhir) -> None:
    server.no_total = True
    report = study.pull(server)
    assert not report.complete
    assert len(report.problems) == 3
    assert report.problems[1] == (
        "Observation of 3 patients (p1 to p3) is not proved: the server does not say how many there are"
    )
    assert (report.received, report.counted) == (28, None)
    assert study.bodies() == held(server)
    assert len(server.requests) == 15


def test_a_count_that_changes_while_reading_is_read_again(study: Study, server: FakeFhir) -> None:
    def meanwhile(request: httpx.Request) -> httpx.Response:
        answer = server.answer(request)
        server.hold(observation("o99", "p1"))
        return answer

    server.bend("_getpagesoffset=10", meanwhile)
    report = study.pull(server)
    assert report.complete and report.types[0].received == 26
    assert study.bodies() == held(server)


@pytest.mark.parametrize("code", [404, 410])
def test_a_page_that_expired_restarts_its_window(study: Study, server: FakeFhir, code: int) -> None:
    server.bend("_getpagesoffset=20", status(code))
    assert study.pull(server).complete
    assert study.bodies() == held(server)
    first = [asked for asked in server.asked if asked.startswith("GET /Observation?") and "_count" in asked]
    assert len([asked for asked in first if "_summary" not in asked]) == 2


def test_a_search_whose_pages_fail_since_the_server_died_is_sent_again(
    study: Study, server: FakeFhir
) -> None:
    links = set[str]()

    def dead(request: httpx.Request) -> httpx.Response:
        links.add(request.url.params["_getpages"])
        return status(500)(request)

    server.bend("_getpagesoffset=20", dead, times=3)
    assert study.pull(server).complete
    assert study.bodies() == held(server)
    assert len(links) == 1 and any("_getpagesoffset=20" in asked for asked in server.asked[-9:])


def test_pages_that_always_expire_are_avoided_by_smaller_windows(study: Study, server: FakeFhir) -> None:
    server.bend("_getpagesoffset", status(410), times=99)
    report = study.pull(server)
    assert report.complete, "each patient's own fit on one page"
    assert study.bodies() == held(server)


def test_a_resource_that_the_server_fails_at_keeps_back_its_own_patients_window_alone(
    study: Study, server: FakeFhir
) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        at_fault = "p2" in asked["patient"] and "_summary" not in asked
        return status(500)(request) if at_fault else server.answer(request)

    server.bend(r"/Observation\?", broken, times=999)
    report = study.pull(server)
    assert not report.complete
    assert [(one.received, one.counted) for one in report.types][1:] == [(3, 3), (0, 0)]
    assert all(problem.startswith("Observation of p2 ") for problem in report.problems), report.problems
    rest = {where: body for where, body in held(server).items() if b"Patient/p2" not in body}
    assert study.bodies() == rest


def test_a_server_that_fails_at_everything_ends_the_pull(study: Study, server: FakeFhir) -> None:
    server.bend(r"/Observation\?", status(500), times=999)
    with pytest.raises(Declined):
        study.pull(server)
    server.heal()
    assert study.pull(server).complete


def test_a_next_link_to_itself_leaves_its_window_unproved(study: Study, server: FakeFhir) -> None:
    link = f"{BASE}?page=again"
    circle = bundle(_bytes(VALUES[:10]), link)
    server.bend("page=again", lambda request: reply(200, bundle([], link)), times=99)
    server.bend(r"Observation\?.*_count", lambda request: reply(200, circle), times=99)
    report = study.pull(server)
    assert not report.complete
    assert all("circle" in problem for problem in report.problems)
    assert len(study.bodies()) == 3 + 10


def test_a_next_link_elsewhere_is_not_followed_nor_told_a_secret(tmp_path: Path, server: FakeFhir) -> None:
    secret = tmp_path / "token"
    secret.write_text("canary-token")
    secret.chmod(0o600)
    toml = TOML.replace('"{base}"', f'"{{base}}"\nauth = "bearer"\ntoken_file = "{secret}"')
    study = Study(tmp_path / "study", toml)
    server.bend(
        r"Observation\?.*_count",
        lambda request: reply(200, bundle(_bytes(VALUES[:10]), "https://evil.test/fhir")),
    )
    report = study.pull(server)
    assert [problem.split(":")[0] for problem in report.problems] == [
        "Observation of 3 patients (p1 to p3) is not proved"
    ]
    assert {request.url.host for request in server.requests} == {"127.0.0.1"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer canary-token"}
    assert len(study.bodies()) == 3 + 10
    assert "canary" not in json.dumps([report.problems, report.notes, study.said])
    assert b"canary" not in (study.folder / "archive" / "archive.sqlite").read_bytes()


def test_a_resource_of_somebody_else_is_counted_and_not_kept(study: Study, server: FakeFhir) -> None:
    more = bundle(_bytes([*VALUES, observation("x", "p9")]))
    server.bend(r"Observation\?.*_count", lambda request: reply(200, more))
    server.bend(r"Observation\?.*_summary", lambda request: reply(200, _count(26)), times=2)
    report = study.pull(server)
    assert report.problems == (
        "Observation: 1 came that cannot be kept (outside-cohort): counted and hashed",
    )
    assert study.bodies() == held(server)
    with Archive.open(study.folder) as archive:
        kept = archive.connection.execute("select type, reason, length(sha256) from quarantine").fetchall()
        assert kept == [("Observation", "outside-cohort", 64)]
        assert archive.accounts()["Observation"] == Account(seen=25, lines_read=25)


def test_a_server_that_ignores_who_is_asked_for_is_found_out(study: Study, server: FakeFhir) -> None:
    server.hold(observation("x", "p9"))
    for pattern in ("_summary=count", "_count=10"):
        server.bend(f"Observation.*{pattern}", _without("patient", server), times=99)
    report = study.pull(server)
    assert [problem.partition(" came")[0] for problem in report.problems] == ["Observation: 1"]
    assert "Observation/x" not in study.bodies()


def _without(name: str, server: FakeFhir) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        return server.answer(httpx.Request("GET", request.url.copy_remove_param(name)))

    return answer


def _count(number: int) -> str:
    return json.dumps({"resourceType": "Bundle", "type": "searchset", "total": number})


def test_an_entry_that_is_no_resource_is_counted_and_told(study: Study, server: FakeFhir) -> None:
    odd = [*_bytes(VALUES), b'{"id":"no-type"}']
    server.bend(r"Observation\?.*_count", lambda request: reply(200, bundle(odd)))
    server.bend(r"Observation\?.*_summary", lambda request: reply(200, _count(26)), times=2)
    report = study.pull(server)
    assert report.problems == ("Observation: 1 came that cannot be kept (no-type): counted and hashed",)
    with Archive.open(study.folder) as archive:
        assert archive.accounts()["Observation"] == Account(seen=25, not_fhir=1, lines_read=26)


def test_a_patient_that_the_server_does_not_hold_is_named(study: Study, server: FakeFhir) -> None:
    server.drop("Patient", "p2")
    report = study.pull(server)
    assert report.problems == ("the server holds no Patient p2 of the cohort (1 in all)",)


@pytest.mark.parametrize("code", [400, 403, 404, 422])
def test_a_type_that_is_refused_costs_only_itself(study: Study, server: FakeFhir, code: int) -> None:
    server.bend("Procedure", status(code, "forbidden"), times=99)
    report = study.pull(server)
    assert len(report.problems) == 1
    assert (
        f"Procedure of 3 patients (p1 to p3) is not proved: Procedure?: the server says {code}"
        in report.problems[0]
    )
    assert study.bodies() == held(server)


def test_a_server_that_lets_us_read_nothing_but_its_statement_is_a_matter_of_settings(
    study: Study, server: FakeFhir
) -> None:
    server.bend(r"\?|_search", status(403, "forbidden"), times=999)
    with pytest.raises(Shut) as caught:
        study.pull(server)
    assert caught.value.exit_code == 3


def test_a_type_that_the_server_does_not_hold_is_not_asked_for(study: Study, server: FakeFhir) -> None:
    server.metadata["rest"] = [{"resource": [{"type": "Patient"}, {"type": "Observation"}]}]
    report = study.pull(server)
    assert report.complete
    assert report.notes[0] == "the server does not hold Procedure at all"
    assert not [asked for asked in server.asked if "Procedure" in asked]


def test_only_the_studys_codes_are_asked_for_where_only_they_may_be(tmp_path: Path, server: FakeFhir) -> None:
    ck = "http://loinc.org|2157-6"
    study = Study(tmp_path / "study", codes={"Observation": (ck,)})
    coded = {"coding": [{"system": "http://loinc.org", "code": "2157-6"}]}
    server.hold(observation("ck", "p1", code=coded))
    report = study.pull(server)
    assert report.complete
    assert "only the study's codes were asked for" in report.notes[0]
    assert [key for key in study.bodies() if key.startswith("Observation")] == ["Observation/ck"]


def test_a_refused_long_search_is_asked_in_smaller_ones(tmp_path: Path) -> None:
    people = [f"patient-with-quite-a-long-identifier-of-sixty-characters-{n:03}" for n in range(50)]
    toml = TOML.replace('["p1", "p2", "p3"]', json.dumps(people))
    server = FakeFhir([*map(patient, people), *(observation(f"o{n}", one) for n, one in enumerate(people))])
    server.bend("_search", status(405), times=999)
    codes = {"Observation": tuple(f"urn:x|{n:030}" for n in range(20))}
    study = Study(tmp_path / "study", toml, codes=codes)
    for one in server.held.copy():
        if one[0] == "Observation":
            tree = json.loads(server.held[one])
            server.hold(tree | {"code": {"coding": [{"system": "urn:x", "code": f"{3:030}"}]}})
    report = study.pull(server)
    assert report.complete
    assert report.received == 100
    assert [request.method for request in server.requests].count("POST") > 0


# --- faults that pass, and faults that stay ---------------------------------------------------------------


R5 = '{"resourceType":"CapabilityStatement","fhirVersion":"5.0.0"}'


def _half(request: httpx.Request) -> httpx.Response:
    whole = bundle(_bytes(VALUES[:10]))
    return httpx.Response(200, headers={"Content-Type": "application/fhir+json"}, stream=Chunks(whole[:500]))


@pytest.mark.parametrize(
    ("answer", "waits"),
    [(status(429, Retry_After="7"), [7]), (status(500), [0.5]), (status(503), [0.5]), (_half, [0.5])],
)
def test_a_fault_that_passes_is_survived(
    study: Study, server: FakeFhir, answer: Answer, waits: list[float]
) -> None:
    server.bend("_getpagesoffset=10", answer)
    assert study.pull(server).complete
    assert study.time.waits == waits
    assert study.bodies() == held(server)


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (status(401, "login"), Declined, 5),
        (status(503), Declined, 5),
        (page(), ServerUnfit, 3),
        (page(502, "bad gateway"), Declined, 5),
    ],
)
def test_a_fault_that_stays_stops_the_pull_and_the_next_one_goes_on(
    study: Study, server: FakeFhir, answer: Answer, error: type[MsctError], code: int
) -> None:
    server.bend("_getpagesoffset=10", answer, times=6)
    with pytest.raises(error) as caught:
        study.pull(server)
    assert caught.value.exit_code == code
    with Archive.open(study.folder) as archive:
        last = archive.last_pull()
    assert last is not None and not last.complete
    server.heal()
    server.requests.clear()
    assert study.pull(server).complete
    assert not [asked for asked in server.asked if asked.startswith("GET /Patient?")]
    assert study.said.count("going on with the pull that was interrupted") == 1
    assert study.bodies() == held(server)


@pytest.mark.parametrize(
    ("bend", "error"),
    [
        (("metadata", page()), ServerUnfit),
        (("metadata", page(404)), ServerUnfit),
        (("metadata", status(401)), Declined),
        (("metadata", lambda request: reply(200, R5)), ServerUnfit),
    ],
)
def test_a_server_that_will_not_do_leaves_no_archive_behind(
    study: Study, server: FakeFhir, bend: tuple[str, Answer], error: type[MsctError]
) -> None:
    server.bend(*bend, times=99)
    with pytest.raises(error):
        study.pull(server)
    assert [path.name for path in study.folder.iterdir()] == ["study.toml"]


def test_a_server_that_is_not_there_leaves_no_archive_behind(study: Study, server: FakeFhir) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    server.bend("metadata", nobody, times=99)
    with pytest.raises(Unreachable):
        study.pull(server)
    assert [path.name for path in study.folder.iterdir()] == ["study.toml"]


# --- killed -----------------------------------------------------------------------------------------------


def _kill(request: httpx.Request) -> httpx.Response:
    raise Killed


@pytest.mark.parametrize("number", range(12))
def test_killed_at_any_request_it_goes_on_to_the_same_archive(
    tmp_path: Path, server: FakeFhir, number: int
) -> None:
    whole, killed = Study(tmp_path / "whole"), Study(tmp_path / "killed")
    report = whole.pull(FakeFhir([*PEOPLE, *VALUES]))
    server.bend("", _kill, after=number)
    with pytest.raises(Killed):
        killed.pull(server)
    resumed = killed.pull(server)
    assert resumed.complete
    assert resumed.types == report.types
    assert killed.rows() == whole.rows()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_killed_again_and_again_it_ends_with_the_same_archive(
    tmp_path: Path, server: FakeFhir, number: int
) -> None:
    whole, killed = Study(tmp_path / "whole"), Study(tmp_path / "killed")
    whole.pull(FakeFhir([*PEOPLE, *VALUES]))
    server.bend("Observation|_getpages", _kill, after=number, times=1)
    server.bend("Observation|_getpages", _kill, after=number + 1, times=1)
    server.bend("Observation|_getpages", _kill, after=number + 2, times=1)
    for _ in range(3):
        with pytest.raises(Killed):
            killed.pull(server)
    assert killed.pull(server).complete
    assert killed.rows() == whole.rows()


def test_a_window_that_was_interrupted_goes_on_at_its_cursor(study: Study, server: FakeFhir) -> None:
    server.bend("_getpagesoffset=20", _kill)
    with pytest.raises(Killed):
        study.pull(server)
    server.requests.clear()
    assert study.pull(server).complete
    assert server.asked[:3] == [
        "GET /metadata",
        "GET ?_getpages=1&_getpagesoffset=20",
        "GET /Observation?patient=p1%2Cp2%2Cp3&_summary=count",
    ]


def test_a_cursor_that_expired_while_the_process_was_dead_restarts_the_window(
    study: Study, server: FakeFhir
) -> None:
    server.bend("_getpagesoffset=20", _kill)
    with pytest.raises(Killed):
        study.pull(server)
    server.bend("_getpagesoffset=20", status(410))
    assert study.pull(server).complete
    assert study.bodies() == held(server)


@pytest.mark.parametrize("number", [3, 6, 9])
def test_a_process_that_is_really_killed_goes_on_to_the_same_archive(
    tmp_path: Path, server: FakeFhir, number: int
) -> None:
    whole, killed = Study(tmp_path / "whole"), Study(tmp_path / "killed")
    whole.pull(FakeFhir([*PEOPLE, *VALUES]))
    child = subprocess.run(
        [sys.executable, __file__, str(killed.folder), str(number)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    server.bend("_getpages", status(410))  # the dead server's links lead nowhere
    assert killed.pull(server).complete
    assert killed.rows() == whole.rows()


# --- what may not be meant --------------------------------------------------------------------------------


def test_a_second_process_is_locked_out(study: Study, server: FakeFhir) -> None:
    study.pull(server)
    with Archive.open(study.folder), pytest.raises(Locked):
        study.pull(server)


def test_a_study_is_pulled_from_one_server_only(tmp_path: Path, study: Study, server: FakeFhir) -> None:
    study.pull(server)
    other = FakeFhir([*PEOPLE, *VALUES], base="http://127.0.0.1:8100/fhir")
    moved = Study(study.folder, base=other.base)
    with pytest.raises(UsageError, match="another study folder"):
        moved.pull(other)
    assert other.requests == []


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('[cohort]\npatients = ["p1"]\n', "url"),
        ('[server]\nurl = "{base}"\n', "exactly one of"),
        ('[server]\nurl = "{base}"\n[cohort]\npatients = ["p1"]\ngroup = "g"\n', "exactly one of"),
        ('[server]\nurl = "https://fhir.example.org/r4"\n[cohort]\npatients = ["p1"]\n', "basis"),
        ('[server]\nurl = "http://fhir.example.org/r4"\n[cohort]\npatients = ["p1"]\n', "https"),
        ('[server]\nurl = "{base}"\nauth = "bearer"\n[cohort]\npatients = ["p1"]\n', "token_file"),
    ],
)
def test_a_plan_that_does_not_say_enough_is_refused_before_anything_is_sent(
    tmp_path: Path, server: FakeFhir, toml: str, words: str
) -> None:
    study = Study(tmp_path / "study", toml)
    with pytest.raises(ConfigError, match=words):
        study.pull(server)
    assert server.requests == []
    assert [path.name for path in study.folder.iterdir()] == ["study.toml"]


def test_a_cohort_of_a_group_is_found_and_the_group_not_kept(tmp_path: Path, server: FakeFhir) -> None:
    members = [{"entity": {"reference": f"Patient/{id_}"}} for id_ in ("p1", "p2", "p3")]
    server.hold({"resourceType": "Group", "id": "g", "member": members})
    study = Study(tmp_path / "study", TOML.replace('patients = ["p1", "p2", "p3"]', 'group = "g"'))
    report = study.pull(server)
    assert report.complete and report.patients == 3
    assert "Group/g" not in study.bodies()


def test_a_cohort_in_doubt_is_a_pull_in_doubt(tmp_path: Path, server: FakeFhir) -> None:
    members = [{"entity": {"reference": "Patient/p1"}}, {"entity": {"reference": "Device/d"}}]
    server.hold({"resourceType": "Group", "id": "g", "member": members})
    study = Study(tmp_path / "study", TOML.replace('patients = ["p1", "p2", "p3"]', 'group = "g"'))
    report = study.pull(server)
    assert report.problems == ("1 members of Group/g are not Patients of this server",)


def test_a_plan_says_what_would_be_sent_and_sends_nothing(study: Study, tmp_path: Path) -> None:
    assert pull_plan(study.plan, study.wanted) == (
        f"GET {BASE}/metadata",
        f"GET {BASE}/Patient?_id=p1,p2,p3&_count=10  (and its pages; counted before and after)",
        f"GET {BASE}/Observation?patient=p1,p2,p3&_count=10  (and its pages; counted before and after)",
        "    and counted a few times in other orders, and by the patients' addresses",
        f"GET {BASE}/Procedure?patient=p1,p2,p3&_count=10  (and its pages; counted before and after)",
        "    and counted a few times in other orders, and by the patients' addresses",
        "scopes: system/Patient.rs system/Observation.rs system/Procedure.rs",
    )
    group = Study(tmp_path / "group", TOML.replace('patients = ["p1", "p2", "p3"]', 'group = "g"'))
    lines = pull_plan(group.plan, group.wanted)
    assert lines[1] == f"GET {BASE}/Group/g"
    assert "patient=[each patient of the cohort]" in lines[3]
    assert lines[-1].startswith("scopes: system/Group.rs system/Patient.rs")


def _killed_child(folder: Path, number: int) -> None:
    """Pulls into a folder, and dies at a request as if the machine had pulled the plug."""

    def die(request: httpx.Request) -> httpx.Response:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    server = FakeFhir([*PEOPLE, *VALUES])
    server.bend("", die, after=number)
    Study(folder).pull(server)


if __name__ == "__main__":
    _killed_child(Path(sys.argv[1]), int(sys.argv[2]))
