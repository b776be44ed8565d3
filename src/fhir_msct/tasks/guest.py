"""The demo on a server that others use: looked at first, then written to under a run's own ids and tag.

Whatever happens, `tasks/clearing.py` takes all of it away again.
"""

import base64
import json
import math
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from fhir_msct import data
from fhir_msct import plan as protocol
from fhir_msct.archive.guest_book import GuestBook, uncleaned
from fhir_msct.client import capability as capabilities
from fhir_msct.client.connect import read_token, user_agent
from fhir_msct.client.failures import Declined
from fhir_msct.client.many import LARGEST, Many, One
from fhir_msct.client.marking import RUNS
from fhir_msct.client.network import GUEST_CONNECTIONS, GUEST_REQUESTS
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import Patience
from fhir_msct.errors import Conflict, MsctError, ServerUnfit
from fhir_msct.plan import Plan
from fhir_msct.tasks import demo, report
from fhir_msct.tasks.as_guest import marked
from fhir_msct.tasks.loading import Loader, bundles
from fhir_msct.tasks.pull import PullReport
from fhir_msct.tasks.push import WRITTEN
from fhir_msct.tasks.trial_copy import Key, Original, originals

if TYPE_CHECKING:
    import httpx

PACE = f"at most {GUEST_REQUESTS:g} a second and {GUEST_CONNECTIONS} at once"
"""What a server that is not this machine is asked to bear."""

IDENTIFIERS = "https://example.org/fhir/sid/synthetic-mrn"
"""What the invented patients are called by, whatever ids they have on a server."""

GONE = (404, 410)
"""What a server says of an id that it does not hold, or no longer."""

NO_SUCH_ID = (400, 422, *GONE)
"""What it may say of one that it never holds: some give numbers only, and take no other for an id."""

Say = Callable[[str], None]
Confirm = Callable[[str], None]
"""Returns when somebody means this host; raises UsageError."""


class Told(Struct, frozen=True, kw_only=True):
    """How a demo on a server ended."""

    screen: str
    complete: bool
    """Whether the pull could prove itself complete; nothing is written back where it could not."""


def guest_demo(
    folder: Path,
    url: str,
    *,
    run: str | None = None,
    bodies: Iterable[bytes] | None = None,
    command: str = "fhir-msct",
    confirm: Confirm,
    token_file: Path | None = None,
    transport: "httpx.BaseTransport | None" = None,
    patience: Patience | None = None,
    say: Say,
) -> Told:
    """The synthetic trial (or other `bodies`) put on this server, computed from it and written back to it.

    `token_file` holds the bearer token of a server that wants one.

    Raises ConfigError and UsageError for address, token and folder, ServerUnfit and Conflict for a server
    where nothing was written, and where it stopped half way what stopped it: the guest book in the folder
    knows what is on the server then.
    """
    protocol.check_host(url, "--server")
    origin = Origin(url)
    demo.check_free(folder, command)
    trial = originals(bodies or demo.resources(data.fixtures() / "resources"))
    run = run or _named()
    say(_announced(origin, trial, run))
    if not origin.is_loopback:
        confirm(origin.host)
    with guest_client(origin.base, run, transport, patience, token_file) as client:
        choose = _arrive(client, run, trial)
    demo.prepare(folder, command)
    cleaning = f"{command} demo {folder} --clean"
    if token_file:
        cleaning += f" --token-file {quote(str(token_file))}"
    try:
        ids = _load(folder, origin, run, trial, choose, token_file, transport, patience, say)
        then = _next(folder, command, cleaning, origin)
        return _story(folder, trial, ids, then, transport, patience, say)
    except BaseException:
        if uncleaned(folder):
            say(f"what the demo wrote is still on {origin.host}: `{cleaning}` removes it")
        raise


def guest_client(
    base: str,
    run: str,
    transport: "httpx.BaseTransport | None",
    patience: Patience | None,
    token_file: Path | None = None,
) -> Client:
    """A client that says which run it is, with the token of a file where there is one; raises ConfigError."""
    token = read_token(token_file.expanduser(), "--token-file") if token_file else None
    return Client(base, transport=transport, user_agent=user_agent(run), patience=patience, token=token)


def takes_batches(capability: dict[str, Any]) -> bool:
    """Whether a server may take batches: what it does not say is tried."""
    verbs = _verbs(capability)
    return not verbs or "batch" in verbs


def _named() -> str:
    return f"demo-{base64.b32encode(secrets.token_bytes(5)).decode().lower()}"


def _announced(origin: Origin, trial: Sequence[Original], run: str) -> str:
    number, sent = len({one.key for one in trial}), len([*bundles(trial)])
    types = {one.type for one in trial} | set(WRITTEN)
    asked = 1 + len(types) + math.ceil(number / LARGEST)
    return (
        f"the synthetic trial goes to {origin}: {number} resources, each with the tag {RUNS}|{run}; "
        f"{asked} requests to look first, {sent} transactions of at most {LARGEST}, 40 to 100 requests "
        f"to pull it and 10 to write back, {PACE}"
    )


# --- before anything is written ------------------------------------------------------------------------


def _arrive(client: Client, run: str, trial: Sequence[Original]) -> bool:
    """Looks whether the server is one for a guest; whether it may take ids of our choice.

    Raises ServerUnfit where what was written could not be found by its tag, or not be written whole;
    Conflict where something is there under an id of ours.
    """
    capability = client.metadata()
    verbs = _verbs(capability)
    if verbs and "transaction" not in verbs:
        raise ServerUnfit(f"{client.origin} takes no transactions: nothing was written")
    for type_ in sorted({one.type for one in trial} | _written(capability)):
        _check_tags(client, run, type_)
    many = Many(client, batches=takes_batches(capability))
    keys = sorted({(one.type, f"{run}-{one.id}") for one in trial})
    there = [one for one, answer in read(many, keys, absent=NO_SUCH_ID).items() if answer is not None]
    if there:
        raise Conflict(
            f"{client.origin} holds {len(there)} resources under ids that this demo would use "
            f"({there[0][0]}/{there[0][1]}), and they are not its own: nothing was written"
        )
    types = [one for rest in capability.get("rest") or () for one in rest.get("resource") or ()]
    return not any(one.get("updateCreate") is False for one in types if one.get("type") == "Patient")


def _written(capability: dict[str, Any]) -> set[str]:
    """What results are written as, of what a server says it holds; all of it where that says nothing."""
    held = capabilities.capability(capability).types
    return {type_ for type_ in WRITTEN if type_ in held or not held}


def _check_tags(client: Client, run: str, type_: str) -> None:
    """Asks for a tag that nothing has: a server that then shows something does not mind `_tag` at all."""
    why = f"{client.origin} {{}}: what a demo wrote there could not be found again, so nothing was written"
    try:
        page = next(client.search(type_, {"_tag": f"{RUNS}|{run}", "_count": str(LARGEST)}))
    except Declined as error:
        if error.status in (401, 403) or error.status >= 500:
            raise
        raise ServerUnfit(why.format(f"refuses to search {type_} by _tag ({error.status})")) from None
    if page.resources or page.total:
        raise ServerUnfit(why.format(f"ignores _tag in a search of {type_}"))


def read(many: Many, keys: Sequence[Key], *, absent: Collection[int] = GONE) -> dict[Key, bytes | None]:
    """What the server holds of each resource now; None where it answers with a status of what is `absent`.

    Raises MsctError where it says anything else.
    """
    found: dict[Key, bytes | None] = {}
    for start in range(0, len(keys), LARGEST):
        part = keys[start : start + LARGEST]
        for key, answer in zip(part, many.read([One(*key) for key in part]), strict=True):
            if answer.status != 200 and answer.status not in absent:
                raise MsctError(
                    f"{key[0]}/{key[1]}: the server says {answer.status} to a read: run this again"
                )
            found[key] = answer.body if answer.status == 200 else None
    return found


def _verbs(capability: dict[str, Any]) -> set[Any]:
    rests = capability.get("rest") or ()
    return {one.get("code") for rest in rests for one in rest.get("interaction") or ()}


# --- the story -----------------------------------------------------------------------------------------


def _load(
    folder: Path,
    origin: Origin,
    run: str,
    trial: Sequence[Original],
    choose: bool,
    token_file: Path | None,
    transport: "httpx.BaseTransport | None",
    patience: Patience | None,
    say: Say,
) -> dict[Key, str]:
    """Puts the trial on the server and writes the study that pulls it; the id of each original there."""
    with GuestBook.create(folder, origin.base, run) as book:
        wire = marked(book, transport)
        with guest_client(origin.base, run, wire, patience, token_file) as client:
            loader = Loader(client, wire, book, choose=choose)
            loader.load(trial)
    say(f"the synthetic trial is on {origin}, every resource with the tag {RUNS}|{run}")
    if not loader.choose:
        say("the server lets nobody choose an id: they are its own, and the guest book has them")
    patients = sorted(id_ for (type_, _), id_ in loader.ids.items() if type_ == "Patient")
    demo.write(folder / "study.toml", _plan_text(origin.base, run, patients, token_file))
    return loader.ids


def _plan_text(url: str, run: str, patients: Sequence[str], token_file: Path | None) -> str:
    """The study of the run: its own patients and nobody else's."""
    named = ", ".join(f'"{id_}"' for id_ in patients)
    cohort = f'patients = [{named}]\nbasis = "synthetic data: these patients were invented"'
    text = demo.filled(demo.fixture_plan(), url)
    if token_file:
        shown = json.dumps(str(token_file.expanduser().resolve()), ensure_ascii=False)
        text = text.replace("[server]\n", f'[server]\nauth = "bearer"\ntoken_file = {shown}\n')
    text = f'{text}\n[records]\nidentifier_system = "{IDENTIFIERS}"\n'
    return text.replace('id = "msct-demo"', f'id = "{run}"').replace('group = "msct-trial"', cohort)


def _story(
    folder: Path,
    trial: Sequence[Original],
    ids: dict[Key, str],
    then: list[str],
    transport: "httpx.BaseTransport | None",
    patience: Patience | None,
    say: Say,
) -> Told:
    plan = protocol.load(folder)
    pulled = demo.compute(folder, plan, transport=transport, patience=patience, say=say)
    lines = [*demo.pull_lines(pulled), *_not_shown(pulled, trial)]
    told = ["nothing was written back: the pull could not prove itself complete"]
    if pulled.complete:
        told = _pushed(folder, plan, ids, transport, say)
    screen = report.first_screen(folder, plan, pull=lines, push=told, then=then)
    return Told(screen=screen, complete=pulled.complete)


def _not_shown(pulled: PullReport, trial: Sequence[Original]) -> list[str]:
    """Some servers take a while until a search shows what was written."""
    types = {one.type for one in pulled.types}
    written = len({one.key for one in trial if one.type in types})
    late = f"{written} were written: this server's searches lag behind; clean, and try again"
    return [late] if pulled.received < written else []


def _pushed(
    folder: Path, plan: Plan, ids: dict[Key, str], transport: "httpx.BaseTransport | None", say: Say
) -> list[str]:
    """Writes the outcomes back; says so where a server that gives all ids does not take them."""
    chosen = all(id_ == f"{plan.study.id}-{key[1]}" for key, id_ in ids.items())
    try:
        told = demo.push_twice(folder, plan, transport=transport, say=say)
    except (ServerUnfit, Declined) as error:
        if chosen:
            raise
        return [f"not here: {error}"]
    return [*told, demo.read_back(folder, plan, transport=transport)] if chosen else told


def _next(folder: Path, command: str, cleaning: str, origin: Origin) -> list[str]:
    """What to type next."""
    return demo.in_columns(
        {
            cleaning: f"takes all of it off {origin.host} again, and proves it",
            f"{folder / report.NAME}": "the whole report: open it in a browser",
            f"{command} push {folder} --apply": "writes the outcomes again: nothing to write",
        }
    )
