"""What a pull would send, and what it has to be allowed: known before anything is sent."""

from collections.abc import Iterator, Sequence

from fhir_msct.client import cohort
from fhir_msct.client.bulk import kick_off_of
from fhir_msct.client.origin import Origin
from fhir_msct.client.scopes import Access
from fhir_msct.client.windows import windows
from fhir_msct.errors import ConfigError
from fhir_msct.plan import Plan, Wanted
from fhir_msct.tasks.export_level import filters, thinkable, why_not


def pull_plan(plan: Plan, wanted: Wanted) -> tuple[str, ...]:
    """What a pull would send, line by line, and the scopes it needs; nothing is sent.

    What depends on the server is said with its condition. Raises ConfigError where the plan does not say all
    that a pull must know.
    """
    base = checked(plan)
    scopes = " ".join(access(wanted).scopes(v2=True))
    return (
        *_openings(plan, base),
        *_cohort(base, wanted),
        *_export(plan, base, wanted),
        *_searches(base, wanted),
        f"scopes: {scopes}",
    )


def access(wanted: Wanted) -> Access:
    """What a pull has to be allowed: to read the types that are wanted, and those that name the cohort."""
    naming = [type_.partition("/")[0] for type_, _ in cohort.requests(wanted.cohort)]
    types = sorted(wanted.types, key=lambda type_: type_ != "Patient")
    return Access(read=tuple(dict.fromkeys([*naming, *types])))


def checked(plan: Plan) -> str:
    """The base address to pull from; raises ConfigError where the plan does not say all that it must."""
    if not plan.server.url:
        raise ConfigError("study.toml: [server] url is not set: say where to pull from, or use --from FOLDER")
    origin = Origin(plan.server.url, allow_http=plan.server.allow_http)
    cohort.checked(plan.cohort, origin)
    return origin.base


def _openings(plan: Plan, base: str) -> Iterator[str]:
    if plan.server.auth == "smart":
        yield f"GET {base}/.well-known/smart-configuration"
        yield "POST a token (and again before it expires)"
    yield f"GET {base}/metadata"


def _cohort(base: str, wanted: Wanted) -> Iterator[str]:
    for type_, params in cohort.requests(wanted.cohort):
        yield f"GET {base}/{type_}" + (f"?{_shown(params)}" if params else "")


def _export(plan: Plan, base: str, wanted: Wanted) -> Iterator[str]:
    """The export, and what becomes of the searches that follow."""
    asked = thinkable(plan)
    for level, where in asked.items():
        url, params = kick_off_of(base, level, wanted.types, filters=filters(wanted))
        yield f"GET {url}?{_shown(params)}  ({where}; by POST where it refuses that)"
    if asked:
        yield "    and _since=[shortly before the last complete pull began], where there was one"
        yield "GET [the export's status address]  (until it is done; and its further parts)"
        yield "GET [each file of the export]"
        yield "DELETE [the export's status address]  (when it is over)"
        yield (
            "what follows is counted before and after an export, and searched for where none is taken, "
            "where it stalls, and as far as it lacks something:"
        )
    elif why := why_not(plan):
        yield f"no export: {why}"


def _searches(base: str, wanted: Wanted) -> Iterator[str]:
    named = cohort.patients_named(wanted.cohort)
    for window in windows(wanted, named or ("[each patient of the cohort]",)):
        params = window.params(wanted.page_size)
        yield f"GET {base}/{window.type}?{_shown(params)}  (and its pages; counted before and after)"
        if window.type != "Patient":
            yield "    and counted a few times in other orders, and by the patients' addresses"


def _shown(params: Sequence[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in params)
