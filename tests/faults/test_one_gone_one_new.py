"""One resource vanishes before a pull, another appears while it runs: their counts must not cancel out."""

import random
from pathlib import Path

from faults.searching import Schedule

REQUESTS = 40


def test_what_is_gone_is_not_hidden_by_what_has_just_come(tmp_path: Path) -> None:
    for at in range(1, REQUESTS):
        folder = tmp_path / str(at)
        folder.mkdir()
        schedule = Schedule(11, folder)
        hospital, chaos, server = schedule.hospital, schedule.chaos, schedule.server
        server.say_able(hospital.types, since=True, history=True)
        server.minds_updated, schedule.chance = True, random.Random(at)
        who = {"subject": {"reference": f"Patient/{min(hospital.named)}"}}
        for name in ("old", "kept"):
            server.write({"resourceType": "Observation", "id": name, **who})
        hospital.remember()
        server.wait(900)
        schedule.settled()
        server.erase(("Observation", "old"))
        hospital.remember()

        def appears(at: int = at, schedule: Schedule = schedule, who: dict[str, object] = who) -> None:
            if schedule.chaos.sent == at:
                schedule.server.write({"resourceType": "Observation", "id": "new", **who})
                schedule.hospital.remember()

        chaos.meanwhile = appears
        schedule.pull()
        if chaos.sent < at:
            break
    else:
        raise AssertionError(f"a pull of more than {REQUESTS} requests")
    assert at > 10
