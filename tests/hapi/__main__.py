"""`make hapi`: a real HAPI FHIR server on this machine with the synthetic trial on it, until Ctrl+C.

Settings, as variables of the environment: HAPI_PORT (8080), HAPI_DB (a file to keep the data in; else they
are in memory), HAPI_REUSE_MS (60000: how long the hits of a search answer the next one like it),
HAPI_EXPIRE_MS (3600000: the life of a link to a next page), HAPI_PAGE (20), HAPI_PAGE_MAX (no limit),
HAPI_BATCH_MS (200: how often an export moves on), HAPI_RETRY_CONFLICTS (false).
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from fhir_msct import data
from fhir_msct.client.rest import Client
from fhir_msct.errors import MsctError
from fhir_msct.tasks.demo import filled
from hapi import trial
from hapi.building import TARGET, Broken, Unavailable
from hapi.running import KNOWN, Hapi

STUDY = Path("hapi-study")
MARKER = "# Written by `make hapi`, which replaces this file when it runs again.\n"


def main() -> int:
    """The exit code: 0 after Ctrl+C, 3 where there is no server to be had."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
        signal.signal(stop, signal.default_int_handler)
    server = None
    try:
        own = {name: text for name, text in os.environ.items() if name in KNOWN}
        server = Hapi(log=TARGET / "hapi.log", port=_port(), settings=own)
        say("building and starting HAPI FHIR: a minute or two the first time, then about 30 s")
        server.start()
        with Client(server.url) as client:
            number = trial.load(client, trial.lines())
        say(_welcome(server.url, number))
        server.wait()
        raise Broken(f"HAPI ended by itself: {server.log} may say why")
    except KeyboardInterrupt:
        say("\nstopped")
        return 0
    except (Unavailable, Broken, MsctError, OSError) as error:
        say(f"make hapi: {error}")
        return 3
    finally:
        if server:
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl+C ends the waiting, and the server
                server.stop()


def say(text: str) -> None:
    """For people."""
    print(text, file=sys.stderr, flush=True)


def _port() -> int:
    text = os.environ.get("HAPI_PORT", "8080")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Unavailable(f"HAPI_PORT is {text!r}: wants a port number")
    return int(text)


def _welcome(url: str, number: int) -> str:
    study = _study(url)
    command = Path(sys.executable).with_name("fhir-msct")
    tool = os.path.relpath(command) if command.is_file() else "fhir-msct"
    return (
        f"HAPI FHIR at {url} with the synthetic trial ({number} resources); stop it with Ctrl+C\n"
        "to try in another terminal:\n"
        f"  {tool} run {study} --push\n"
        f"  {tool} push {study} --apply          # again: nothing to write\n"
        f"  curl -s '{url}/Observation?_tag=urn:fhir-msct:tags%7Cderived&_summary=count'"
    )


def _study(url: str) -> Path:
    """A study folder for the server, as the demo has one."""
    path = STUDY / "study.toml"
    if path.is_file() and not path.read_bytes().startswith(MARKER.encode()):
        raise Unavailable(f"{path} was not written by `make hapi`: move it away, it is not replaced")
    STUDY.mkdir(exist_ok=True)
    text = (data.fixtures() / "study.toml").read_text("utf-8")
    path.write_text(MARKER + filled(text, url), "utf-8")
    return STUDY


if __name__ == "__main__":
    sys.exit(main())
