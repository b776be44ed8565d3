"""A token that is no longer good amid an export: the pull stops, and the next goes on with the same job."""

import re
from pathlib import Path

import httpx
import pytest

from bulk.test_lost_polls_and_secrets import BASE, HELD, Exporter, with_token
from client.test_pull_server import Study
from fhir_msct.archive.store import Archive
from fhir_msct.client.failures import Declined, Shut
from lib.fake_fhir import Answer, reply, status


class Hospital(Exporter):
    """Exports to whom it gave a token, which is over at the request `until`, when `after` such came."""

    def __init__(self, until: str = "never", after: int = 0) -> None:
        super().__init__()
        self.good, self.until, self.after, self.jobs = "canary-token", until, after, 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if re.search(self.until, f"{request.method} {request.url}"):
            self.after -= 1
            if self.after == -1:
                self.good = "new-token"
        wanted = f"Bearer {self.good}"
        if request.headers.get("authorization") != wanted and not request.url.path.endswith("/metadata"):
            return status(401, "login")(request)
        answer = super().answer(request)
        self.jobs += "content-location" in answer.headers
        return answer

    def times(self, pattern: str) -> int:
        """How often such a request was sent."""
        return sum(bool(re.search(pattern, one)) for one in self.asked)


def renewed(study: Study) -> None:
    (study.folder.parent / "token").write_text("new-token")


def job(study: Study) -> tuple[str, str, str]:
    """State, status address and what is known of the latest export."""
    with Archive.open(study.folder) as archive:
        rows = "select state, status_url, why from bulk_job order by id desc limit 1"
        found: tuple[str, str, str] = archive.connection.execute(rows).fetchone()
        return found


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return with_token(tmp_path / "study")


@pytest.mark.parametrize(
    ("until", "after", "left"),
    [
        (r"GET .*\$export\?", 0, ("intent", "", "")),
        (r"POST .*\$export", 0, ("intent", "", "")),
        ("GET .*/job", 0, ("accepted", f"{BASE}/job", "")),
        ("GET .*/job", 2, ("accepted", f"{BASE}/job", "")),
        (r"Patient\.f", 0, ("listed", f"{BASE}/job", "")),
        (r"Observation\.f", 0, ("listed", f"{BASE}/job", "")),
        ("DELETE .*/job", 0, ("listed", f"{BASE}/job", "")),
    ],
)
def test_the_pull_stops_and_with_a_good_token_the_same_job_goes_on(
    study: Study, until: str, after: int, left: tuple[str, str, str]
) -> None:
    server = Hospital(until, after)
    if "POST" in until:
        server.bend(r"GET .*\$export", status(405), times=99)
    with pytest.raises(Declined, match=r"missing, wrong or expired: see \[server\] token_file") as no:
        study.pull(server)
    assert (no.value.status, no.value.exit_code) == (401, 5)
    assert job(study) == left
    if "DELETE" not in until:
        assert server.times("DELETE") == 0
        assert server.times(until) == after + 2, "once more, and no oftener"
    renewed(study)
    kept = len(server.seen)
    report = study.pull(server)
    assert report.complete, report.problems
    assert [note for note in report.notes if "searched for" in note] == [
        "no file of Procedure came: it was searched for"
    ]
    assert server.jobs == 1 and server.times("DELETE") >= 1
    assert {one.url.path for one in server.seen[:kept]}.isdisjoint(one.url.path for one in server.seen[kept:])
    assert study.bodies().keys() == {f"{one['resourceType']}/{one['id']}" for one in HELD}


def test_with_a_token_that_is_still_bad_the_job_goes_on_waiting(study: Study) -> None:
    server = Hospital("GET .*/job", 1)
    with pytest.raises(Declined):
        study.pull(server)
    with pytest.raises(Shut, match="token_file"):
        study.pull(server)
    assert job(study) == ("accepted", f"{BASE}/job", "")
    renewed(study)
    assert study.pull(server).complete
    assert server.jobs == 1


@pytest.mark.parametrize("what", [r"\$export\?", "GET .*/job", r"(Patient|Observation)\.f"])
def test_a_401_to_an_export_alone_is_no_more_than_a_no(study: Study, what: str) -> None:
    server = Hospital()
    server.bend(what, status(401, "login"), times=99)
    report = study.pull(server)
    assert report.complete, report.problems
    assert "401" in " ".join(report.notes)


def test_a_kick_off_whose_answer_was_lost_is_told_of_when_it_was_sent_again(study: Study) -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        server.answer(request)
        raise httpx.ReadError("reset", request=request)

    server = Hospital("GET .*/job", 1)
    server.bend(r"\$export", lost)
    for _ in range(2):
        with pytest.raises(Exception, match=r"gives no answer|401"):
            study.pull(server)
    renewed(study)
    report = study.pull(server)
    assert report.complete, report.problems
    assert server.jobs == 2
    assert sum(note.count("a kick-off whose answer was lost was sent again") for note in report.notes) == 1


@pytest.mark.parametrize("answer", [status(503), status(400), lambda request: reply(202, "")])
def test_a_kick_off_that_was_answered_left_no_job(study: Study, answer: Answer) -> None:
    server = Hospital()
    server.bend(r"\$export", answer)
    assert "lost" not in " ".join(study.pull(server).notes)
