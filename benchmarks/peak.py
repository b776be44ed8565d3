"""The peak memory of this very process."""

import re
from pathlib import Path


def peak_mb() -> float:
    """MB. Not `ru_maxrss`, which begins with what the process had that started this one."""
    said = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert said is not None
    return int(said[1]) / 1024
