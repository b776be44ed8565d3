"""A small FHIR R4 server for the demo and the tests, with faults that can be switched on."""

from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.server import Sandbox, serve
from fhir_msct.sandbox.smart import Registration, Smart

__all__ = ["Faults", "Registration", "Sandbox", "Smart", "serve"]
