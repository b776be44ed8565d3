"""The request log: each request to a server by its route, never its address, which may name a patient."""

import sqlite3

Sent = tuple[str, str, int, int, str]
"""A request: method, route, status (0: no answer came), bytes of the answer, its id."""


def log(connection: sqlite3.Connection, sent: list[Sent], run: int | None = None) -> None:
    """Writes requests down and takes them off the list; to be called inside a transaction.

    They are part of the run that is named, which has not ended yet. Those of a push belong to none, and
    neither do those of a pull that failed before its run began: no count and no seal of a pull has them.
    """
    rows = [(run, *sent.pop(0)) for _ in range(len(sent))]
    connection.executemany(
        "insert into event (run, method, route, status, bytes, request_id) values (?, ?, ?, ?, ?, ?)", rows
    )
