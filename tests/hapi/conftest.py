"""One HAPI for the session: started in the background once its tests are known, theirs come last.

Every test writes under an id prefix and a tag of its own, so that all of them share the server, whichever
process runs them. Its cache of searches is HAPI's own, 60 s: what is stale on a real server is stale here.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_msct.sandbox.server import Sandbox
from hapi.building import TARGET, Broken, Unavailable, tail
from hapi.ground import Ground
from hapi.keeper import Shared

HERE = Path(__file__).parent
SHARED = pytest.StashKey[Shared]()
LOGGED = pytest.StashKey[int]()


def session_of(config: pytest.Config) -> str:
    """What the processes of one test session have in common."""
    workers: dict[str, str] = getattr(config, "workerinput", {})
    return workers.get("testrunuid", str(os.getpid()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of this folder come last: the server starts while the others run. Of them, the slow first."""
    items.sort(key=lambda item: (HERE in item.path.parents, item.get_closest_marker("slow") is None))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the server, or joins the one that another process of this session started."""
    wanted = any({"hapi", "either"} & set(getattr(item, "fixturenames", ())) for item in session.items)
    if wanted and not session.config.option.collectonly:
        name = session_of(session.config)
        session.config.stash[SHARED] = Shared(name, TARGET / "log" / f"{name}.log")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Lets the server go; it ends with its last user. Its log stays, and the four before it."""
    if SHARED not in config.stash:
        return
    config.stash[SHARED].leave()
    logs = sorted((TARGET / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
    for old in logs[:-5]:
        old.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test that fails shows what the server wrote meanwhile, if it wrote anything."""
    report = yield
    log = TARGET / "log" / f"{session_of(item.config)}.log"
    if call.when == "setup":
        item.stash[LOGGED] = len(tail(log, 10_000))
    elif report.failed and (said := tail(log, 10_000)[item.stash.get(LOGGED, 0) :].strip()):
        report.sections.append((f"HAPI's log, {log}", said[-4000:]))
    return report


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Shared:
    """What the processes of this session have in common."""
    return request.config.stash[SHARED]


@pytest.fixture(scope="session")
def hapi(shared: Shared) -> str:
    """The address of the server, once it answers."""
    try:
        return shared.url()
    except Unavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the tests against HAPI must run here: {error}", pytrace=False)
        pytest.skip(str(error))
    except Broken as error:
        pytest.fail(f"{error}\n{tail(shared.log)}", pytrace=False)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[str]:
    """The address of the embedded sandbox."""
    with Sandbox() as server:
        yield server.url


@pytest.fixture
def ground(hapi: str) -> Iterator[Ground]:
    """A test's own ground on HAPI."""
    with Ground(hapi) as ground:
        yield ground


@pytest.fixture(params=["sandbox", "hapi"])
def either(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A test's own ground on the sandbox, and on HAPI."""
    with Ground(request.getfixturevalue(request.param)) as ground:
        yield ground
