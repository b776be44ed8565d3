"""Everything that can stop a study, and the exit code each deserves.

    MsctError                      a message for people: what, where, what to do
    ├── UsageError          (3)    the request, a file or a setting is wrong; nothing was changed
    │   ├── ConfigError            study.toml or another file of the study folder: file and key
    │   ├── MappingError           a template, a code or a unit row: file and key
    │   ├── InputError             a CSV that was handed in: file and line
    │   ├── ServerUnfit            the server answers, but is not the FHIR R4 server that was asked for
    │   └── Locked                 another process works in this folder
    ├── Incomplete          (2)    the input was damaged, or the pull could not prove itself complete
    ├── Conflict            (4)    the server holds something that is not ours to overwrite
    ├── Interrupted         (5)    failed half way; running the same command again goes on
    │   ├── Unreachable            no answer
    │   └── ServerFailed           an answer that says no
    └── Refused                    an edit that a mapping cannot make without losing something

No message ever holds a patient's value or a secret; ids, paths and keys say where to look.
"""


class MsctError(Exception):
    """The root of every error that this package raises on purpose."""

    exit_code = 5


class UsageError(MsctError):
    """The request, a file or a setting is wrong; nothing was changed."""

    exit_code = 3


class ConfigError(UsageError):
    """A file of the study folder says something that cannot be meant."""


class MappingError(UsageError):
    """A template, a code table or a unit table cannot be used."""


class InputError(UsageError):
    """A file that was handed in cannot be read as what it claims to be."""


class ServerUnfit(UsageError):
    """The server answers, but is not the FHIR R4 server that was asked for."""


class Locked(UsageError):
    """Another process is working in this study folder."""


class Incomplete(MsctError):
    """The input was damaged, or the pull could not prove itself complete."""

    exit_code = 2


class Conflict(MsctError):
    """The server holds something under our identity that we did not write."""

    exit_code = 4


class Interrupted(MsctError):
    """Failed half way; running the same command again goes on from there."""


class Unreachable(Interrupted):
    """The server gave no answer."""


class ServerFailed(Interrupted):
    """The server gave an answer that says no."""


class Refused(MsctError):
    """An edit that the mapping cannot make without losing something."""

    exit_code = 3


def exit_code(error: BaseException) -> int:
    """The exit code an error deserves; 5 for whatever nobody foresaw."""
    return error.exit_code if isinstance(error, MsctError) else 5
