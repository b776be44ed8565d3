"""An export loses a file while another resource vanishes: their counts must not cancel out."""

from pathlib import Path

from faults.bulk import Exports


def test_what_an_export_lost_is_not_hidden_by_what_has_just_gone(tmp_path: Path) -> None:
    for number, since in enumerate((False, True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        schedule = Exports(3, folder)
        hospital, chaos, server = schedule.hospital, schedule.chaos, schedule.server
        server.say_able(hospital.types, since=True, history=True)
        server.minds_updated, server.counts, server.looks, server.longest = True, False, "begin", 0
        server.since_rule, server.tells_deleted, server.lines = "gt", False, 1
        who = {"subject": {"reference": f"Patient/{min(hospital.named)}"}}
        server.wait(86_400)
        if since:
            schedule.settled()
        for name in ("a-lost", "b-gone"):
            server.write({"resourceType": "Observation", "id": name, **who})
        hospital.remember()
        server.wait(86_400)
        lost = server.held["Observation", "a-lost"]

        def meanwhile(schedule: Exports = schedule, lost: bytes = lost) -> None:
            """Once the files are listed, without one of them, another resource is deleted."""
            server = schedule.server
            for job in server.jobs.values():
                if job.listed is None and job.files:
                    job.listed = [file for file in job.all if file.lines != (lost,)]
                elif job.listed is not None and ("Observation", "b-gone") in server.held:
                    server.erase(("Observation", "b-gone"))
                    schedule.hospital.remember()

        chaos.meanwhile = meanwhile
        report = schedule.pull()
        assert report is not None and report.complete
        assert schedule.current.get(("Observation", "a-lost")) == lost
        assert ("Observation", "b-gone") not in server.held, "the story took place"
