"""The commands: parse, call, print, exit code. Everything else is in the rooms.

What a command found goes to stdout, how it is getting on to stderr; with `--json` stdout holds one JSON
object and nothing else. Exit codes: 0 complete, 2 incomplete or damaged input, 3 usage, configuration
or lock, 4 conflict, 5 failed but resumable.
"""

from fhir_msct.cli.entry import app, main

__all__ = ["app", "main"]
