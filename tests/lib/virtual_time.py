"""Time that passes only when somebody sleeps, and chance that is always the same."""

from fhir_msct.client.retry import Patience


class VirtualTime:
    """A clock, and every wait that was asked of it."""

    def __init__(self, chance: float = 1.0) -> None:
        self.now, self.waits, self.chance = 1000.0, list[float](), chance

    def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now += seconds

    def patience(self, tries: int = 6) -> Patience:
        return Patience(tries=tries, clock=lambda: self.now, sleep=self.sleep, chance=lambda: self.chance)
