"""The shipped synthetic trial, pushed: transactions of a size that servers take, and nothing twice."""

import json
from pathlib import Path

import pytest

from fhir_msct import data
from fhir_msct import plan as protocol
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.outgoing import DERIVED
from fhir_msct.results import Outcome
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tables import read_csv
from fhir_msct.tasks.demo import filled, resources
from fhir_msct.tasks.outcomes import outcomes
from fhir_msct.tasks.pull import pull
from fhir_msct.tasks.push import push
from fhir_msct.tasks.records import records
from push.small_trial import quiet
from push.wires import Wire

STAGES = ("analysis", "by_subject", "by_visit", "endpoints")


@pytest.mark.slow
def test_the_loop_law_holds_for_the_whole_trial(tmp_path: Path) -> None:
    with Sandbox() as server:
        server.load(resources(data.fixtures() / "resources"))
        text = (data.fixtures() / "study.toml").read_text("utf-8")
        (tmp_path / "study.toml").write_text(filled(text, server.url), "utf-8")
        plan = protocol.load(tmp_path)

        def computed() -> list[bytes]:
            pull(tmp_path, plan, Mapping.load(tmp_path, plan).wanted(), say=quiet)
            records(tmp_path, plan, say=quiet)
            outcomes(tmp_path, plan, say=quiet)
            return [(tmp_path / "outcomes" / f"{name}.csv").read_bytes() for name in STAGES]

        first = computed()
        with Wire() as wire:
            report = push(tmp_path, plan, apply=True, transport=wire, say=quiet)
        assert report.read_back_equal
        assert report.written > 100
        assert len(wire.sent) <= 12, [f"{one.method} {one.url.path}" for one in wire.sent]
        assert max(len(entries) for entries in wire.transactions) <= 100
        places = [e["request"]["url"] for entries in wire.transactions for e in entries]
        assert len(places) == len(set(places)) == len(report.ids)
        assert limits_on(server) == limits_of(tmp_path / "outcomes" / "by_subject.csv")
        assert limits_on(server)
        after = server.versions
        assert computed() == first
        with Wire() as wire:
            again = push(tmp_path, plan, apply=True, transport=wire, say=quiet)
        assert len(wire.sent) <= 5, [f"{one.method} {one.url.path}" for one in wire.sent]
        assert (again.written, again.retracted, server.versions) == (0, 0, after)
        subjects = {json.loads(body)["subject"]["reference"] for body in server.dump("Observation")}
        assert all(subject.startswith("Patient/") for subject in subjects if subject)


def limits_on(server: Sandbox) -> list[str]:
    """The comparators of every quantity of every answer that the server holds."""
    answers = [json.loads(body) for body in server.dump("Observation")]
    derived = [one for one in answers if any(tag["code"] == DERIVED for tag in one["meta"].get("tag", ()))]
    quantities = [
        part.get("valueQuantity", {}) for one in derived for part in (one, *one.get("component", ()))
    ]
    return sorted(found["comparator"] for found in quantities if "comparator" in found)


def limits_of(by_subject: Path) -> list[str]:
    """The comparators of every answer that is pushed."""
    rows = [row for row in read_csv(by_subject, Outcome) if row.status != "not evaluable"]
    return sorted(c for row in rows for c in (row.base_comparator, row.comparator, row.value_comparator) if c)
