"""`make hapi` for real: in the long runs, as it starts a server of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fhir_msct import Study
from hapi import building
from hapi.test_starting import free_port


@pytest.mark.soak
def test_make_hapi_serves_the_trial_says_what_to_try_and_leaves_nothing_behind(tmp_path: Path) -> None:
    building.check()
    port = free_port()
    command = [sys.executable, "-m", "hapi"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "HAPI_PORT": port, "HAPI_PAGE": "7"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = ""
        while "_summary=count" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        url = f"http://127.0.0.1:{port}/fhir"
        assert f"HAPI FHIR at {url} with the synthetic trial (1245 resources)" in said
        page = httpx.get(f"{url}/Observation", trust_env=False).json()
        assert len(page["entry"]) == 7
        report = Study(tmp_path / "hapi-study").pull()
        assert (report.complete, report.patients) == (True, 11)
        process.send_signal(signal.SIGINT)
        assert (process.wait(60), process.stderr.read().strip()) == (0, "stopped")
    finally:
        process.kill()
        process.communicate()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
