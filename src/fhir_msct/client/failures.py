"""How an exchange with a server, or the reading of its bytes, can fail; all of them can be tried again later.

ServerFailed
├── Declined     the server answered, and the answer is no: status and OperationOutcome issue codes
│   ├── PageGone     404 or 410 on a page of a search, or it fails each time: its results are gone
│   └── Shut         401 or 403 before the server has let us in at all: a matter of settings, exit code 3
└── Unusable     the answer, or a file, cannot be read as what it claims to be: `reason` says why

Unreachable
├── TooSlow      no answer in time
└── NoUse        no answer, and no hope that the next try brings one
"""

import ssl

import httpx

from fhir_msct.errors import ServerFailed, Unreachable

CONFLICT = "conflict"
"""The issue code of an edit conflict."""


class Declined(ServerFailed):
    """The server answered, and the answer is no."""

    def __init__(self, status: int, codes: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes

    @property
    def is_conflict(self) -> bool:
        """Whether what was to be changed is not as it was read: to be read again, and decided again.

        Most servers say 409, others 412; some find it out so late that only the issue code tells.
        https://hl7.org/fhir/R4/valueset-issue-type.html
        """
        return self.status in (409, 412) or CONFLICT in self.codes


class PageGone(Declined):
    """A page of a search is no longer there: the search has to be sent again."""


class Shut(Declined):
    """The server has not let us in yet: trying again without another setting brings the same answer."""

    exit_code = 3


class Unusable(ServerFailed):
    """Bytes that cannot be read as what they claim to be."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TooSlow(Unreachable):
    """No answer in time."""


class NoUse(Unreachable):
    """No answer, and no hope that the next try brings one."""


def no_answer(error: BaseException, named: str) -> Unreachable:
    """The error that no answer deserves, by its cause; `named` is who gave none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return NoUse(f"{named}: the secure connection was refused: {cause.reason or 'TLS'}")
        cause = cause.__cause__ or cause.__context__
    kind = TooSlow if isinstance(error, httpx.TimeoutException) else Unreachable
    return kind(f"{named} gives no answer ({type(error).__name__}): run this again later")
