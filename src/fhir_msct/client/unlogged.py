"""Nothing of our own requests gets into a log, whichever level somebody turns on.

httpx writes each whole address at INFO (logger `httpx`), and httpcore each answer's headers at DEBUG, on a
logger for each of its modules: the ids of patients, queries, and addresses that are secrets. A notebook with
`logging.basicConfig(level=logging.DEBUG)` would print all of it. So what these loggers are given while this
thread talks to a server of ours is dropped; what anybody else in this process asks is logged as ever.

A filter is asked only by the logger that it hangs on, and not for what comes up from its children: hence the
list. https://www.python-httpx.org/logging/
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOGGERS = (
    "httpx",
    *("httpcore", "httpcore.connection", "httpcore.http11", "httpcore.http2"),
    *("httpcore.proxy", "httpcore.socks"),
)
"""Every logger of httpx 0.28 and httpcore 1.0."""

_ours: ContextVar[bool] = ContextVar("a request of ours", default=False)
"""Of this thread, or of this task: each has a context of its own."""


@contextmanager
def unlogged() -> Iterator[None]:
    """What is sent, read or closed inside is in no log."""
    before = _ours.get()
    _ours.set(True)
    try:
        yield
    finally:
        _ours.set(before)


def _is_of_others(record: logging.LogRecord) -> bool:
    return not _ours.get()


for _name in LOGGERS:
    logging.getLogger(_name).addFilter(_is_of_others)
