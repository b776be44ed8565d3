"""Every command can be found: in the README, in its own help with an example, and quickly."""

import re
import subprocess
import sys
import time

import pytest
import typer

from fhir_msct import cli, errors
from promises.pages import README, first_cells

COMMANDS = tuple(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]

HEAVY = (
    *("pandas", "numpy", "scipy", "pyarrow", "altair", "vl_convert", "jinja2"),
    *("httpx", "fhir", "pydantic", "starlette", "uvicorn", "anyio", "sqlite3"),
    *("joserfc", "cryptography"),
)
"""What takes long to import, and no help needs."""

LOADED = "import sys\n{0}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"


def loaded(script: str) -> set[str]:
    """The packages that a fresh Python has loaded when a script is through."""
    ended = subprocess.run(
        [sys.executable, "-c", LOADED.format(script)], capture_output=True, text=True, check=True
    )
    return set(ended.stdout.splitlines()[-1].split())


def test_the_readme_lists_every_command_and_no_other() -> None:
    listed = [cell.removeprefix("fhir-msct ") for cell in first_cells(README, "The commands")]
    assert listed == list(COMMANDS)


def test_the_readme_lists_the_exit_codes_of_the_errors() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {str(kind.exit_code) for kind in kinds if issubclass(kind, errors.MsctError)}
    assert set(first_cells(README, "Exit codes")) == {"0", *codes}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_one_example_of_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.app([name, "--help"], prog_name="fhir-msct")
    assert ended.value.code == 0
    examples = re.findall(r"^ *Example: (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert len(examples) == 1
    assert examples[0].startswith(f"fhir-msct {name}")


@pytest.mark.parametrize("words", [["--help"], ["pull", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    script = (
        f"sys.argv = ['fhir-msct', *{words!r}]\n"
        "from fhir_msct.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    found = loaded(script)
    assert "typer" in found
    assert found.isdisjoint({*HEAVY} - {"pydantic"})  # typer's own choice, to check arguments with


def test_importing_the_package_loads_nothing_heavy() -> None:
    found = loaded("import fhir_msct")
    assert "fhir_msct" in found
    assert found.isdisjoint({*HEAVY, "typer", "msgspec"})


def test_a_study_loads_what_is_heavy_only_when_it_needs_it() -> None:
    found = loaded("import fhir_msct\nfhir_msct.Study, fhir_msct.Mapping")
    assert "msgspec" in found
    assert found.isdisjoint({*HEAVY} - {"httpx", "anyio", "sqlite3"})  # which a pull needs at once


@pytest.mark.slow
def test_help_answers_within_half_a_second() -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fhir_msct", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5
