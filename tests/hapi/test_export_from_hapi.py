"""The synthetic trial, exported by HAPI's `$export` of its Group: the same tables as by search."""

from pathlib import Path
from uuid import uuid4

from fhir_msct import data
from fhir_msct.mapping.library import Mapping
from fhir_msct.tasks.pull import pull
from hapi.copies import Copy, tables, without
from push.wires import Wire


def test_an_export_of_the_group_gives_the_records_and_outcomes_of_the_files(
    hapi: str, tmp_path: Path
) -> None:
    copy = Copy(tmp_path, hapi, f"e{uuid4().hex[:10]}", '[pull]\nhow = "export"\n')
    copy.load()
    plan = copy.study.plan
    with Wire() as wire:
        report = pull(
            tmp_path, plan, Mapping.load(tmp_path, plan).wanted(), transport=wire, say=lambda line: None
        )
    assert report.complete, report.problems
    assert report.received == report.counted
    files = [request for request in wire.sent if "/Binary/" in request.url.path]
    assert len(files) >= 5  # it was the export that brought them, not a search
    assert [one for one in report.notes if "search" in one] == []
    copy.compute()
    found, golden = copy.tables(), tables(data.fixtures())
    assert set(found) == set(golden)
    for name in golden:
        assert without("lastupdated", found[name]) == without("lastupdated", golden[name]), name
