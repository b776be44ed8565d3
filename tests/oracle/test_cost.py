"""Statistics cost nothing until they are asked for, and then no second."""

import subprocess
import sys

EVERYTHING = """
import sys
from fractions import Fraction
from fhir_msct.outcomes import statistics
assert "scipy" not in sys.modules, "scipy came in with the module"
pairs = [(Fraction(n + 1), Fraction(n * n + 1)) for n in range(10)]
statistics.paired_t([after - before for before, after in pairs])
statistics.geometric_mean_ratio(pairs, 0.95)
statistics.clopper_pearson(3, 10, 0.95)
statistics.signed_rank([after - before for before, after in pairs], exact_pairs=2)
assert "scipy.special" in sys.modules
assert "scipy.stats" not in sys.modules, "scipy.stats takes a second to import"
"""


def test_scipy_is_imported_late_and_only_its_quick_part() -> None:
    done = subprocess.run([sys.executable, "-c", EVERYTHING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
