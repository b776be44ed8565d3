"""What `import fhir_msct` offers is what the documentation lists, and each of it can be imported."""

import pytest

import fhir_msct
from promises.pages import DOCS, first_cells


def test_the_public_names_are_those_of_the_python_page() -> None:
    listed = first_cells(DOCS / "python.md", "Public names")
    assert sorted(listed) == fhir_msct.__all__
    assert dir(fhir_msct) == fhir_msct.__all__


@pytest.mark.parametrize("name", fhir_msct.__all__)
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    thing = getattr(fhir_msct, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_any_other_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'utils'"):
        fhir_msct.__getattr__("utils")
