"""What an archive holds, as one hash: the same current resources give the same text.

The file's own bytes will not do: a push writes its ledger into the same file, and changes no record.
"""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from fhir_msct.archive.failures import spoken

_HELD = """
    select type, key, sha256, same_id, subsetted, coalesce(full_url, '') from resource
    where state = 'current' order by type, key, sha256
"""
_PULL = "select complete, base, server_date from run where kind <> 'load' order by id desc limit 1"


def fingerprint(path: Path) -> str:
    """The hash of an archive's current resources and of how its latest pull ended; empty without a file.

    Raises MsctError where the file cannot be read as an archive.
    """
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    try:
        with closing(sqlite3.connect(path)) as connection:
            for query in (_PULL, _HELD):
                for row in connection.execute(query):
                    digest.update(repr(row).encode())
    except sqlite3.Error as error:
        raise spoken(error, path) from None
    return digest.hexdigest()
