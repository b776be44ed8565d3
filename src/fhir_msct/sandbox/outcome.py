"""What goes wrong, said the FHIR way: a status, an issue code and a sentence, as an OperationOutcome.

https://hl7.org/fhir/R4/operationoutcome.html
"""

import json

CODES = {
    401: "login",
    403: "forbidden",
    405: "not-supported",
    406: "not-supported",
    413: "too-long",
    414: "too-long",
    415: "not-supported",
    429: "throttled",
    500: "exception",
    503: "transient",
}
"""The issue code of a status; of all others `processing`, as on HAPI.

https://hl7.org/fhir/R4/valueset-issue-type.html
"""


class Rejected(Exception):
    """A request the server says no to; `status` and the text become the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    @property
    def body(self) -> bytes:
        """The answer's OperationOutcome."""
        return operation_outcome(self.status, self.text)


def operation_outcome(status: int, text: str, *, severity: str = "error") -> bytes:
    """An OperationOutcome with one issue."""
    code = CODES.get(status, "processing") if severity == "error" else "informational"
    issue = {"severity": severity, "code": code, "diagnostics": text}
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}, separators=(",", ":")).encode()
