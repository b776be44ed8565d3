"""The report in a real browser, where this machine has one: nothing hangs out of the page, however narrow."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fhir_msct.plan import Plan
from fhir_msct.report.page import page
from fhir_msct.report.study_files import read

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MEASURE = "<script>document.title = `${innerWidth} ${document.documentElement.scrollWidth}`</script>"
"""Ours to measure with, the page itself has no script. 500 is the narrowest window that Chromium opens."""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_is_no_wider_than_its_window(study: Path, plan: Plan, tmp_path: Path, width: int) -> None:
    copy = tmp_path / "page.html"
    copy.write_text(page(read(study, plan)).replace("</body>", f"{MEASURE}</body>"), "utf-8")
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    words += [f"--window-size={width},844", "--dump-dom", copy.as_uri()]
    done = subprocess.run([str(BROWSER), *words], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or "<title>" not in done.stdout:
        pytest.skip(f"the browser of this machine does not start (exit code {done.returncode})")
    inner, scrolled = done.stdout.partition("<title>")[2].partition("</title>")[0].split()
    assert int(scrolled) <= int(inner)
