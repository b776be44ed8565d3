"""What can be asked for: the types of FHIR R4, and the search parameters this server answers, per type.

https://hl7.org/fhir/R4/searchparameter-registry.html; what is not listed here is not claimed.
"""

from typing import Literal, NamedTuple


class Parameter(NamedTuple):
    """A search parameter: how its values compare, the element it looks at, the one type it may point to."""

    kind: Literal["token", "reference", "date", "uri"]
    path: str
    target: str = ""


def token(path: str) -> Parameter:
    """A code, an identifier, a concept: `code`, `system|code`, `|code`, `system|`."""
    return Parameter("token", path)


def uri(path: str) -> Parameter:
    """An address, as it is written."""
    return Parameter("uri", path)


def date(path: str) -> Parameter:
    """A date, a dateTime, an instant or a Period, under whichever name its choice has."""
    return Parameter("date", path)


def reference(path: str, target: str = "") -> Parameter:
    """A reference; with `target`, one to that type only."""
    return Parameter("reference", path, target)


RESULTS = ("_id", "_lastUpdated", "_tag")
"""Parameters of every type."""

CONTROLS = ("_count", "_sort", "_total", "_summary", "_elements")
"""Parameters that shape the answer."""

DIGITS = 18
"""Of a whole number, at most: what is longer is no count of anything."""

_OWN = {"identifier": token("identifier")}
_STATUS = {**_OWN, "status": token("status")}
_ABOUT = {**_STATUS, "patient": reference("subject", "Patient"), "subject": reference("subject")}
_CODED = {**_ABOUT, "code": token("code")}
_PATIENTS = {**_STATUS, "patient": reference("patient", "Patient")}
_PUBLISHED = {**_STATUS, "url": uri("url"), "date": date("date")}

PARAMETERS: dict[str, dict[str, Parameter]] = {
    "AdverseEvent": {"subject": reference("subject"), "date": date("date"), "event": token("event")},
    "AllergyIntolerance": {
        **_OWN,
        "patient": reference("patient", "Patient"),
        "code": token("code"),
        "clinical-status": token("clinicalStatus"),
    },
    "CarePlan": {**_ABOUT, "date": date("period"), "category": token("category")},
    "CodeSystem": _PUBLISHED,
    "Condition": {
        **{name: what for name, what in _CODED.items() if name != "status"},
        "category": token("category"),
        "clinical-status": token("clinicalStatus"),
        "verification-status": token("verificationStatus"),
        "onset-date": date("onset"),
        "abatement-date": date("abatement"),
        "recorded-date": date("recordedDate"),
    },
    "Device": {**_PATIENTS, "type": token("type")},
    "DiagnosticReport": {**_CODED, "category": token("category"), "date": date("effective")},
    "DocumentReference": {**_ABOUT, "type": token("type"), "date": date("date")},
    "Encounter": {**_ABOUT, "class": token("class"), "date": date("period")},
    "Group": {**_OWN, "code": token("code"), "member": reference("member.entity")},
    "Immunization": {**_PATIENTS, "vaccine-code": token("vaccineCode"), "date": date("occurrence")},
    "Medication": {**_STATUS, "code": token("code")},
    "MedicationAdministration": {
        **_ABOUT,
        "code": token("medication"),
        "effective-time": date("effective"),
    },
    "MedicationRequest": {**_ABOUT, "code": token("medication"), "authoredon": date("authoredOn")},
    "MedicationStatement": {**_ABOUT, "code": token("medication"), "effective": date("effective")},
    "Observation": {**_CODED, "category": token("category"), "date": date("effective")},
    "Organization": _OWN,
    "Patient": {**_OWN, "gender": token("gender"), "birthdate": date("birthDate")},
    "Practitioner": _OWN,
    "Procedure": {**_CODED, "category": token("category"), "date": date("performed")},
    "Provenance": {
        "target": reference("target"),
        "patient": reference("target", "Patient"),
        "recorded": date("recorded"),
    },
    "QuestionnaireResponse": {**_ABOUT, "authored": date("authored")},
    "ResearchStudy": {**_STATUS, "date": date("period")},
    "ResearchSubject": {
        **_STATUS,
        "patient": reference("individual", "Patient"),
        "individual": reference("individual", "Patient"),
        "study": reference("study", "ResearchStudy"),
        "date": date("period"),
    },
    "ServiceRequest": {**_CODED, "category": token("category"), "authored": date("authoredOn")},
    "Specimen": {**_ABOUT, "type": token("type"), "collected": date("collection.collected")},
    "ValueSet": _PUBLISHED,
}

_TYPES = """
Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent
Basic Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam
CatalogEntry ChargeItem ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem
Communication CommunicationRequest CompartmentDefinition Composition ConceptMap Condition Consent
Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device
DeviceDefinition DeviceMetric DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest
DocumentReference EffectEvidenceSynthesis Encounter Endpoint EnrollmentRequest EnrollmentResponse
EpisodeOfCare EventDefinition Evidence EvidenceVariable ExampleScenario ExplanationOfBenefit
FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse HealthcareService ImagingStudy
Immunization ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice
Library Linkage List Location Measure MeasureReport Media Medication MedicationAdministration
MedicationDispense MedicationKnowledge MedicationRequest MedicationStatement MedicinalProduct
MedicinalProductAuthorization MedicinalProductContraindication MedicinalProductIndication
MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured
MedicinalProductPackaged MedicinalProductPharmaceutical MedicinalProductUndesirableEffect
MessageDefinition MessageHeader MolecularSequence NamingSystem NutritionOrder Observation
ObservationDefinition OperationDefinition OperationOutcome Organization OrganizationAffiliation
Parameters Patient PaymentNotice PaymentReconciliation Person PlanDefinition Practitioner
PractitionerRole Procedure Provenance Questionnaire QuestionnaireResponse RelatedPerson RequestGroup
ResearchDefinition ResearchElementDefinition ResearchStudy ResearchSubject RiskAssessment
RiskEvidenceSynthesis Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition
StructureDefinition StructureMap Subscription Substance SubstanceNucleicAcid SubstancePolymer
SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification
SupplyDelivery SupplyRequest Task TerminologyCapabilities TestReport TestScript ValueSet
VerificationResult VisionPrescription
"""

TYPES = frozenset(_TYPES.split())
"""The resource types of R4 (https://hl7.org/fhir/R4/resourcelist.html)."""
