"""Every command that README and docs show runs, in its order, and says what they say it says.

In a page: `sh` is run line by line, `sh background` is started and left running, a `toml`, `csv` or `json`
block with a path is written there, `text` must be in what was said since the last one, `python` is executed.
"""

import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fhir_msct import cli, data
from promises.pages import DOCS, PAGES, README, ROOT, Block, blocks, first_cells, inline

PORT = "8080"
"""The port that the pages show."""

MY_TRIAL = next(block.text for block in blocks(README) if block.info == "my-trial/study.toml")


class Reader:
    """Somebody who types what a page shows, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said, self.running = folder, "", list[subprocess.Popen[bytes]]()
        (folder / "fixtures").symlink_to(data.fixtures())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])

    def follow(self, block: Block) -> None:
        """Does what a block says."""
        text = block.text.replace(PORT, self.port)
        if block.language in ("sh", "text", "python"):
            {"sh": self.type, "text": self.compare, "python": self.execute}[block.language](text, block.info)
        elif "/" in block.info:
            path = self.folder / block.info
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def type(self, text: str, info: str) -> None:
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if info == "background":
                self.start(*words[1:])
            elif words and info != "make":
                assert words[0] == "fhir-msct", line
                self.run(*words[1:])

    def run(self, *words: str) -> None:
        ended = subprocess.run(command(*words), cwd=self.folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"fhir-msct {' '.join(words)}: {ended.stderr}"
        self.said += ended.stdout

    def start(self, *words: str) -> None:
        process = subprocess.Popen(command(*words), cwd=self.folder, stderr=subprocess.PIPE)
        self.running.append(process)
        assert process.stderr is not None
        ready = process.stderr.readline().decode()  # a server says where it is once it listens
        assert f":{self.port}/" in ready, ready

    def compare(self, text: str, info: str) -> None:
        if info == "layout":
            return
        if info == "demo":
            self.said = ""
            self.run("demo", "demo-study")
            assert (self.folder / "demo-study" / "report.html").is_file()
        said = re.sub(r"\s+", " ", self.said)
        assert [line for line in text.splitlines() if line.strip() not in said] == []
        self.said = ""

    def execute(self, text: str, info: str) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", text], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr

    def close(self) -> None:
        for process in self.running:
            process.terminate()
            process.communicate(timeout=30)


def command(*words: str) -> list[str]:
    """The installed command, without depending on the path of its script."""
    return [sys.executable, "-m", "fhir_msct", *words]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    somebody = Reader(tmp_path)
    yield somebody
    somebody.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, DOCS / "mapping.md"], ids=["README", "mapping"])
def test_what_a_page_shows_runs_in_its_order_and_says_what_it_shows(reader: Reader, page: Path) -> None:
    followed = 0
    for block in blocks(page):
        if block.info != "server":
            reader.follow(block)
            followed += 1
    assert followed > 5


@pytest.mark.slow
def test_what_the_page_on_push_shows_runs_on_the_trial_of_the_readme(reader: Reader) -> None:
    reader.follow(Block("toml", "my-trial/study.toml", MY_TRIAL))
    reader.start("sandbox", "--port", reader.port, "--trial")
    reader.run("run", "my-trial", "--from", "fixtures/resources")
    for block in blocks(DOCS / "push.md"):
        reader.follow(block)
    assert "ILDRESP" in (reader.folder / "my-trial/records/findings.csv").read_text("utf-8")
    assert "retract" not in reader.said.replace("0 retracted", "")


def test_no_other_page_shows_commands() -> None:
    ran = {README, DOCS / "mapping.md", DOCS / "push.md"}
    others = [page for page in PAGES if page not in ran]
    assert [page.name for page in others for block in blocks(page) if block.language == "sh"] == []


def test_the_settings_shown_for_a_server_are_ones_that_pull_understands(reader: Reader) -> None:
    (text,) = [block.text for block in blocks(README) if block.info == "server"]
    reader.follow(Block("toml", "my-trial/study.toml", text))
    reader.run("pull", "my-trial", "--plan")
    assert "GET https://fhir.example.org/r4/metadata" in reader.said
    assert "Group/msct-trial" in reader.said


def test_the_starter_file_says_every_setting_that_the_readme_shows(reader: Reader) -> None:
    reader.run("init", "my-trial")
    starter = (reader.folder / "my-trial" / "study.toml").read_text("utf-8")
    for text in [block.text for block in blocks(README) if block.language == "toml"]:
        for section, keys in tomllib.loads(text).items():
            after = starter.partition(f"[{section}]")[2]
            assert [key for key in keys if not re.search(rf"^(# )?{key} =", after, re.MULTILINE)] == []


def test_the_readme_opens_with_the_two_commands_and_the_machine_calls_one_of_them() -> None:
    first = blocks(README)[0]
    assert [line.split("#")[0].split() for line in first.text.splitlines()] == [
        ["make", "demo"],
        ["make", "test"],
    ]
    assert README.read_text("utf-8").index("make demo") < 50
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^demo:.*\n\t.*fhir-msct demo demo-study$", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)
    assert (ROOT / ".ci" / "run").read_text("utf-8").rstrip().endswith("make test")


def test_commands_named_in_a_sentence_exist_with_their_options() -> None:
    known = {
        name: {option for param in verb.params for option in param.opts}
        for name, verb in typer.main.get_command(cli.app).commands.items()  # type: ignore[attr-defined]
    }
    shown = [shlex.split(code) for page in PAGES for code in inline(page) if code.startswith("fhir-msct ")]
    assert len(shown) > 10
    for _, verb, *words in shown:
        options = [word for word in words if word.startswith("--")]
        assert set(options) <= known[verb] | {"--help"}, (verb, options)


def test_every_folder_that_the_readme_names_is_there() -> None:
    places = [place for place in first_cells(README, "Where things live") if "/" in place]
    assert len(places) > 8
    assert [place for place in places if not (ROOT / place).exists()] == []
