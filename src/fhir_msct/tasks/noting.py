"""What a pull or a push sends: noted as it is sent, and in the archive's request log however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fhir_msct.archive.request_log import Sent, log
from fhir_msct.archive.store import Archive
from fhir_msct.client import exchange
from fhir_msct.errors import MsctError


class Noted:
    """The requests of one command that are in no log yet; what it commits on its way may log them."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.run: int | None = None
        """The pull that they belong to, once it has begun."""

    def __call__(self, one: exchange.Sent) -> None:
        """Takes a request down; any thread may."""
        self.sent.append((one.method, one.route, one.status, one.bytes, one.id))

    @contextmanager
    def kept_in(self, archive: Archive) -> Iterator[None]:
        """Logs at the end what is left, also where that is an error, which is then the one that is told."""
        try:
            yield
        except (Exception, KeyboardInterrupt):
            with suppress(MsctError):  # the disk's, and most likely it has just been told
                self._write(archive)
            raise
        self._write(archive)

    def _write(self, archive: Archive) -> None:
        if self.sent:
            with archive.transaction() as connection:
                log(connection, self.sent, self.run)
