"""What `pip install .` installs: a wheel with mappings and synthetic trial inside, and a demo that runs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from promises.pages import ROOT

pytestmark = pytest.mark.slow

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    """A command that must end well."""
    ended = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert ended.returncode == 0, ended.stderr
    return ended  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this checkout builds."""
    place = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", place)
    (found,) = place.glob("*.whl")
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, but for what Python leaves behind."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.mark.parametrize("name", ["mappings", "fixtures"])
def test_the_data_folders_are_in_the_wheel_file_by_file(wheel: Path, name: str) -> None:
    start = f"fhir_msct/{name}/"
    with zipfile.ZipFile(wheel) as archive:
        held = {
            entry.removeprefix(start): archive.read(entry)
            for entry in archive.namelist()
            if entry.startswith(start)
        }
    assert held == files_of(ROOT / name)
    assert len(held) > 10


def test_the_code_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    code = {
        name.removeprefix("fhir_msct/")
        for name in names
        if not name.startswith(("fhir_msct/mappings/", "fhir_msct/fixtures/")) and ".dist-info/" not in name
    }
    assert code == set(files_of(ROOT / "src" / "fhir_msct"))


def test_the_installed_wheel_runs_the_demo_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site, cwd = tmp_path / "site", tmp_path / "elsewhere"
    cwd.mkdir()
    run(*PIP, "install", "--no-deps", "--target", site, wheel)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = run(
        *(sys.executable, "-c", "import fhir_msct.data as d; print(d.__file__, d.mappings(), d.fixtures())"),
        cwd=cwd,
        env=environment,
    )
    assert where.stdout.count(str(site)) == 3, "the wheel is what runs, with its own data"
    told = run(sys.executable, "-m", "fhir_msct", "demo", cwd=cwd, env=environment)
    assert told.stdout.startswith("SYNTHETIC DATA")
    assert str(Path("demo-study") / "report.html") in told.stdout
    assert (cwd / "demo-study" / "report.html").stat().st_size > 10_000


def test_the_installed_command_is_the_one_of_the_readme(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "fhir-msct = fhir_msct.cli:main" in archive.read(points).decode()
