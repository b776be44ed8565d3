"""What an export brought, against what the server counts before and after it.

Equal counts after an export would not show a file that is missing where as many resources have vanished
meanwhile. So nothing may have changed between the two counts either; else the ids are compared.
"""

from typing import Any

import msgspec

from fhir_msct.archive import proofs
from fhir_msct.archive.proofs import IN_DOUBT, Proof
from fhir_msct.archive.runs import Run
from fhir_msct.client.failures import Declined
from fhir_msct.client.rest import Client
from fhir_msct.client.windows import since_supported, windows
from fhir_msct.plan import Wanted
from fhir_msct.tasks.proving import STOPS


class Counts:
    """The counts of one run's export."""

    def __init__(self, client: Client, run: Run, wanted: Wanted, capability: dict[str, Any]) -> None:
        self._client, self._run, self._wanted, self._capability = client, run, wanted, capability

    def before(self) -> None:
        """Writes down what the server counts before it is asked for an export."""
        for proof in proofs.proofs(self._run):
            proofs.prove(self._run, msgspec.structs.replace(proof, counted=self._count(proof)))

    def require_token(self, error: Exception) -> None:
        """Returns unless this is a 401 that a search gets as well; else raises what the search raises.

        A server may refuse its export, or one file, in the words for a token that is no longer good.
        """
        if isinstance(error, Declined) and error.status == STOPS:
            for one in windows(self._wanted, self._run.patients)[:1]:
                self._counted(one.type, one.params(self._wanted.page_size))

    def how(self, proof: Proof) -> str:
        """How a type is known once its export is here: by that, or in doubt."""
        lo, hi = self._bounds(proof)
        came = proofs.number_held(self._run, msgspec.structs.replace(proof, since=""), since=lo, before=hi)
        known = proof.counted is None or proof.counted == self._count(proof) == came
        return "export" if known else IN_DOUBT

    def _count(self, proof: Proof) -> int | None:
        """How many the server counts of what an export has to bring of a type, but for the last minutes."""
        lo, hi = self._bounds(proof)
        if lo and hi and lo >= hi:
            return 0
        asked = windows(msgspec.structs.replace(self._wanted, types=(proof.type,)), self._run.patients)
        total = 0
        for one in asked:
            within = msgspec.structs.replace(one, lo=lo, hi=hi)
            counted = self._counted(within.type, within.params(self._wanted.page_size))
            if counted is None:
                return None
            total += counted
        return total

    def _counted(self, type_: str, params: tuple[tuple[str, str], ...]) -> int | None:
        try:
            return self._client.count(type_, params)
        except Declined as error:
            if error.status == STOPS or error.status >= 500:
                raise
            return None

    def _bounds(self, proof: Proof) -> tuple[str, str]:
        """Between which instants nothing can be new any more: what is stamped so can only become less."""
        known = since_supported(self._capability, proof.type)
        return proof.since, (proofs.watermark(self._run) or "") if known else ""
