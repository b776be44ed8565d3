"""The protocol's own words as types: sections of study.toml, visits, endpoints, parameters, the plan."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct, field

AtLeastOne = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Days = Annotated[int, Meta(ge=0, le=36_525)]
"""At most a century: what is longer has no date to end on."""
Minutes = Annotated[int, Meta(ge=0, le=525_600)]
"""At most a year."""
StudyDay = Annotated[int, Meta(ge=-36_525, le=36_525)]
Rate = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, lt=1)]


class Section(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class StudyKeys(Section, frozen=True, kw_only=True):
    id: str
    title: str = ""
    timezone: str | None = None
    data_cut: str | None = None
    """An ISO date, "none", or nothing: then the server's clock at the last complete pull decides."""


class Way(Section, frozen=True, kw_only=True):
    """The way to one server: who we are there, and what lies between. Secrets by path only."""

    url: str | None = None
    token_file: str | None = None
    basic_file: str | None = None
    client_id: str | None = None
    key_file: str | None = None
    token_origin: str | None = None
    """Where tokens may be asked for, if not at the server's own origin."""
    ca_file: str | None = None
    client_cert_file: str | None = None
    proxy: str | None = None
    allow_http: bool = False


class Server(Way, frozen=True, kw_only=True):
    kind: Literal["hospital", "research"] = "hospital"
    auth: Literal["none", "bearer", "basic", "smart"] = "none"
    scopes_policy: Literal["stop", "partial"] = "stop"
    """What to do where the server grants less than was asked for."""


class Push(Way, frozen=True, kw_only=True):
    same_as_source: bool = False
    auth: Literal["none", "bearer", "basic", "smart"] | None = None
    """Nothing: as [server] where the address is that server's, else none."""


class Cohort(Section, frozen=True, kw_only=True):
    patients: tuple[str, ...] = ()
    group: str | None = None
    research_study: str | None = None
    diagnosis: tuple[str, ...] = ()
    basis: str | None = None


class Pull(Section, frozen=True, kw_only=True):
    scope: Literal["types", "codes"] = "types"
    page_size: AtLeastOne = 500
    how: Literal["search", "export", "auto"] = "search"
    catch_up_minutes: Minutes = 10
    """Longer than the longest transaction of the server: it stamps a resource before it shows it."""
    connections: AtLeastOne = 4
    requests_per_second: Rate = 5.0
    """To a server that is not this machine."""
    stall_minutes: int = 360
    """How long an export may show no progress before the pull goes on by search."""
    file_origins: tuple[str, ...] = ()
    """Other origins that exported files may be fetched from with the token."""


class Accept(Section, frozen=True, kw_only=True):
    accept_status: tuple[str, ...] = ("final", "amended", "corrected")
    accept_event_status: tuple[str, ...] = ("completed",)
    accept_verification: tuple[str, ...] = ("confirmed",)
    identifier_system: str | None = None


class Course(Section, frozen=True, kw_only=True):
    repeat_within_days: Days
    trusted: tuple[str, ...]


class Visit(Section, frozen=True, kw_only=True):
    """A scheduled visit: days of the course (no day 0) from which a value is taken, and its target."""

    name: str
    start: StudyDay = field(name="from")
    stop: StudyDay = field(name="to")
    target: StudyDay


class Statistics(Section, frozen=True, kw_only=True):
    exact_pairs: Count
    conf: Share
    min_ci_n: Count


class Recurrence(Section, frozen=True, kw_only=True):
    terms: tuple[str, ...]
    states: tuple[str, ...]
    laboratory: bool = False
    enzymes: tuple[str, ...]
    enzyme_times_nadir: int = 2
    strengths: tuple[str, ...]
    strength_below_best: int = 20


class Safety(Section, frozen=True, kw_only=True):
    sources: tuple[str, ...] = ()


class Endpoint(Section, frozen=True, kw_only=True):
    """One family of endpoints; `paramcds` expands it to `<id>_<paramcd>` when there are several."""

    id: str
    rule: Literal[
        "ever_better", "response", "change", "normal", "finding_improved",
        "recurrence", "retreated", "death", "event",
    ]  # fmt: skip
    course: int
    populations: tuple[Literal["INFUSED", "EVALUABLE", "ABN"], ...]
    words: str
    source: str
    paramcds: tuple[str, ...] = ()
    avisit: str = ""
    threshold: int | None = None
    finding: str = ""
    judgement: str = ""
    event: str = ""

    def name(self, paramcd: str) -> str:
        """The endpoint's code for one parameter: `RESP20_CK`; `CKNORM` names its parameter itself."""
        return f"{self.id}_{paramcd}" if len(self.paramcds) > 1 else self.id


class Parameter(Struct, frozen=True, kw_only=True):
    """What is measured under one `paramcd`, in which unit, and which direction is better."""

    paramcd: str
    param: str
    study_unit: str
    direction: Literal["lower", "higher", ""]
    low: int | None
    high: int | None
    scale: str
    enzyme: bool
    sided: bool
    """Scored on one side of the body, so that values of two sides are never compared (rule D12)."""
    baseline_from: int
    baseline_to: int


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is decided before the first number is read."""

    study: StudyKeys
    server: Server
    push: Push
    cohort: Cohort
    pull: Pull
    records: Accept
    course: Course
    visits: tuple[Visit, ...]
    statistics: Statistics
    recurrence: Recurrence
    safety: Safety
    endpoints: tuple[Endpoint, ...]
    parameters: dict[str, Parameter]

    @property
    def zone(self) -> ZoneInfo | None:
        """The study's time zone (rule D1), if it has one."""
        return ZoneInfo(self.study.timezone) if self.study.timezone else None


class Wanted(Struct, frozen=True, kw_only=True):
    """What to ask a source for: types, and how the cohort is found. Knows nothing of the trial."""

    types: tuple[str, ...]
    cohort: Cohort
    codes: dict[str, tuple[str, ...]] = {}
    """Per type, `system|code` to ask for when only the study's codes may be pulled; else empty."""
    page_size: int = 500
