"""How an exchange with a server, or the reading of its bytes, can fail; all of them can be tried again later.

ServerFailed
├── Declined     the server answered, and the answer is no: status and OperationOutcome issue codes
│   └── PageGone     404 or 410 on a page of a search: its results have expired
└── Unusable     the answer, or a file, cannot be read as what it claims to be: `reason` says why
"""

from fhir_msct.errors import ServerFailed


class Declined(ServerFailed):
    """The server answered, and the answer is no."""

    def __init__(self, status: int, codes: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes


class PageGone(Declined):
    """A page of a search is no longer there: the search has to be sent again."""


class Unusable(ServerFailed):
    """Bytes that cannot be read as what they claim to be."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
