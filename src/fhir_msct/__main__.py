"""`python -m fhir_msct` is `fhir-msct`."""

from fhir_msct.cli import main

main()
