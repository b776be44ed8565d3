"""Redirects by hand: where a server sends a question on to, and whether we go there.

A GET goes on inside the place that its first address may be in, a few times, and never in a circle; so what
goes along with it goes nowhere else. What is posted or written is never sent on.
https://www.rfc-editor.org/rfc/rfc9110#name-redirection-3xx
"""

from collections.abc import Callable

import httpx

from fhir_msct.client.origin import shown
from fhir_msct.errors import ServerUnfit

MOST = 3
"""Redirects of one request."""

_FOLLOWED = frozenset({301, 302, 303, 307, 308})


class Trail:
    """The addresses of one request: the first, and those that it was sent on to."""

    def __init__(
        self, method: str, url: str, *, route: str, named: str, key: str, admits: Callable[[str], bool]
    ) -> None:
        """`named` is the server, `key` what leads there in study.toml; `admits`: what may be asked."""
        self.url, self._method, self._admits = url, method, admits
        self._said, self._key = f"{route}: {named} sends us on", key
        self._met = {url}

    @staticmethod
    def leads_on(status: int) -> bool:
        """Whether an answer names another address instead."""
        return 300 <= status < 400 and status != 304

    def go_on(self, status: int, location: str) -> None:
        """Goes to the next address; raises ServerUnfit where we do not go."""
        place = self._resolved(location)
        if not place:
            raise ServerUnfit(f"{self._said} without an address ({status}): {self._advice}")
        if self._method != "GET" or status not in _FOLLOWED:
            raise ServerUnfit(
                f"{self._said} to {self._shown(place)}, and a {self._method} with {status} is not sent on: "
                f"{self._advice}"
            )
        if not self._admits(place):
            raise ServerUnfit(f"{self._said} to {self._shown(place)}, where nothing was sent: {self._advice}")
        if place in self._met or len(self._met) > MOST:
            raise ServerUnfit(f"{self._said} again and again: {self._advice}")
        self._met.add(place)
        self.url = place

    @property
    def _advice(self) -> str:
        return f"write the final address as {self._key}"

    def _shown(self, place: str) -> str:
        here = shown(self.url)
        return f"another port or path of {here}" if shown(place) == here else shown(place)

    def _resolved(self, location: str) -> str:
        """A Location is relative to the address that was asked, and not to the base."""
        try:
            return str(httpx.URL(self.url).join(location).copy_with(fragment=None)) if location else ""
        except (httpx.InvalidURL, ValueError):
            return ""
