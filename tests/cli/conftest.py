"""The real command, called with its arguments as a shell would; and servers that are none, on loopback."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from fhir_msct.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]
Serve = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("pull", folder)` is `fhir-msct pull folder` in this process."""

    def run(*words: object) -> Ended:
        capsys.readouterr()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["fhir-msct", *map(str, words)])
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, said.out, said.err)

    return run


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(status, content_type, body)` is the address of a server that gives one answer to everything."""
    with ExitStack() as closing:

        def start(status: int, content_type: str, body: bytes, **headers: str) -> str:
            server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(status, content_type, body, headers))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            closing.callback(server.server_close)
            closing.callback(thread.join)
            closing.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/fhir"

        yield start


def _handler(
    status: int, content_type: str, body: bytes, headers: dict[str, str]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            said = {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}
            for name, value in said.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """`study(toml, **{"mappings/codes.csv": text})` is a study folder with these files."""

    def make(toml: str, files: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "trial"
        for name, text in {"study.toml": toml, **(files or {})}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return make
