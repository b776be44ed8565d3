"""An export on disk: every file, line and entry becomes a resource or a damage that says where it is."""

import gzip
import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.client.body import Limits
from fhir_msct.client.damage import Damage
from fhir_msct.client.folder import pour, read_file, read_folder, read_lines, sources
from fhir_msct.errors import UsageError
from fhir_msct.records import Resource
from lib.fake_fhir import bundle, observation, patient

seeded = settings(derandomize=True, deadline=None)

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
GOOD = json.dumps(observation("o1", "p1", "5.40")).encode()


def written(folder: Path, **files: bytes | str) -> Path:
    """A folder with these files; `__` in a name is a slash, `_` a dot."""
    for name, body in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)
    return folder


def split(found: Iterable[Resource | Damage]) -> tuple[list[Resource], list[Damage]]:
    items = list(found)
    return (
        [item for item in items if isinstance(item, Resource)],
        [item for item in items if isinstance(item, Damage)],
    )


def reasons(folder: Path, limits: Limits | None = None) -> list[tuple[str, bool]]:
    return [(damage.reason, damage.lost) for damage in split(read_folder(folder, limits))[1]]


# --- what is read -----------------------------------------------------------------------------------------


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    one = json.dumps(patient("x"))
    written(tmp_path, b_json=one, a__z_json=one, a__b_ndjson=one, Z_json=one)
    assert [source.name for source in sources(tmp_path)] == ["Z.json", "a/b.ndjson", "a/z.json", "b.json"]


def test_a_resource_keeps_its_bytes_and_says_where_it_was(tmp_path: Path) -> None:
    body = b'{ "resourceType":"Patient",\n "id" : "p1", "x": 1.10 }'
    written(tmp_path, a_json=b"\n  " + body + b"\n\n")
    found, damages = split(read_folder(tmp_path))
    assert [(one.type, one.id, one.body, one.where) for one in found] == [("Patient", "p1", body, "a.json:3")]
    assert damages == []


@pytest.mark.parametrize(
    "kind", ["collection", "transaction", "searchset", "document", "batch", "history", "message"]
)
def test_a_bundle_of_any_type_is_cut(tmp_path: Path, kind: str) -> None:
    odd = b'{"resourceType" : "Observation",\n"id":"o2"}'
    written(tmp_path, a_json=bundle([GOOD, odd], kind=kind))
    found, damages = split(read_folder(tmp_path))
    assert [one.body for one in found] == [GOOD, odd]
    whole = (tmp_path / "a.json").read_bytes()
    assert [whole[int(one.where.partition(":")[2]) :][: len(one.body)] for one in found] == [GOOD, odd]
    assert damages == []


def test_bundles_inside_bundles_are_cut_too(tmp_path: Path) -> None:
    inner = bundle([GOOD], kind="searchset")
    written(tmp_path, a_json=bundle([inner, json.dumps(patient("p1")).encode()], kind="batch-response"))
    found, _ = split(read_folder(tmp_path))
    assert [(one.type, one.id) for one in found] == [("Observation", "o1"), ("Patient", "p1")]


def test_bundles_without_end_are_a_damage(tmp_path: Path) -> None:
    deep = GOOD
    for _ in range(12):
        deep = bundle([deep])
    written(tmp_path, a_json=deep)
    assert reasons(tmp_path) == [("too-deep", True)]


def test_a_delete_entry_is_a_deletion(tmp_path: Path) -> None:
    entries = [
        {"request": {"method": "DELETE", "url": "Observation/o1"}},
        {"request": {"method": "DELETE", "url": "https://x.test/fhir/Patient/p1"}, "resource": patient("p1")},
        {
            "request": {"method": "DELETE", "url": "Observation/o2"},
            "response": {"etag": 'W/"4"', "lastModified": "2024-02-01T00:00:00Z"},
        },
    ]
    written(tmp_path, a_json=json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    found, damages = split(read_folder(tmp_path))
    assert [(one.type, one.id, one.deleted, one.body) for one in found] == [
        ("Observation", "o1", True, b""),
        ("Patient", "p1", True, b""),
        ("Observation", "o2", True, b""),
    ]
    assert (found[2].version, found[2].lastupdated) == ("4", "2024-02-01T00:00:00Z")
    assert len({one.where for one in found}) == 3
    assert damages == []


def test_a_full_url_comes_along(tmp_path: Path) -> None:
    entry = {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient"}}
    written(tmp_path, a_json=json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}))
    (only,) = split(read_folder(tmp_path))[0]
    assert (only.id, only.full_url) == (None, "urn:uuid:1")


@pytest.mark.parametrize("where", ["bundle", "resource"])
def test_a_subset_is_flagged(tmp_path: Path, where: str) -> None:
    tag = {"meta": {"tag": [{"code": "SUBSETTED"}]}}
    one = patient("p1") | (tag if where == "resource" else {})
    whole = {"resourceType": "Bundle", "entry": [{"resource": one}]} | (tag if where == "bundle" else {})
    written(tmp_path, a_json=json.dumps(whole))
    assert [found.subsetted for found in split(read_folder(tmp_path))[0]] == [True]


def test_ndjson_with_blank_lines_windows_ends_a_mark_and_no_last_feed(tmp_path: Path) -> None:
    body = b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n   \n" + GOOD.replace(b"o1", b"o2")
    written(tmp_path, a_ndjson=body, b_ndjson_gz=gzip.compress(body, mtime=0), c_json=body)
    found, damages = split(read_folder(tmp_path))
    assert [one.id for one in found] == ["o1", "o2"] * 3
    assert found[0].where == "a.ndjson:3"
    assert {one.body for one in found} == {GOOD, GOOD.replace(b"o1", b"o2")}
    assert damages == []


def test_a_line_may_be_a_bundle(tmp_path: Path) -> None:
    deletion = {"request": {"method": "DELETE", "url": "Observation/o1"}}
    line = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [deletion]}).encode()
    written(tmp_path, a_ndjson=GOOD + b"\n" + line + b"\n" + bundle([GOOD]) + b"\n")
    found, damages = split(read_folder(tmp_path))
    assert [(one.id, one.deleted) for one in found] == [("o1", False), ("o1", True), ("o1", False)]
    whole = (tmp_path / "a.ndjson").read_bytes()
    assert whole[int(found[2].where.partition(":")[2]) :].startswith(GOOD)
    assert damages == []


def test_one_file_may_be_named_instead_of_a_folder(tmp_path: Path) -> None:
    written(tmp_path, a_ndjson=GOOD, b_ndjson=GOOD)
    assert len(split(read_folder(tmp_path / "a.ndjson"))[0]) == 1


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        list(read_folder(tmp_path / "absent"))


# --- what is no resource ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body", "reason", "lost"),
    [
        ("log_ndjson", b'{"exportId": "1", "eventId": "kickoff"}', "no-type", False),
        ("manifest_json", b'{"transactionTime": "2024", "output": []}', "no-type", False),
        ("list_json", b"[1, 2]", "not-an-object", False),
        ("array_json", b'[{"resourceType":"Patient","id":"p1"}]', "shape", True),
        ("outcome_ndjson", b'{"resourceType":"OperationOutcome","issue":[]}', "message", False),
        ("notes_txt", b"hello", "file-type", False),
        ("empty_json", b"", "not-json", True),
        ("cut_json", GOOD[:-5], "not-json", True),
        ("cut_ndjson", GOOD[:-5], "not-json", True),
        ("latin_json", GOOD.replace(b"5.40", b"M\xfcller"), "not-utf8", True),
        ("nan_ndjson", b'{"resourceType":"Observation","value":NaN}', "not-json", True),
        ("huge_ndjson", b'{"resourceType":"Observation","meta":{"x":1e400}}', "shape", True),
        ("surrogate_ndjson", b'{"resourceType":"Observation","id":"\\ud800"}', "not-json", True),
        (
            "deep_ndjson",
            b'{"resourceType":"Observation","x":' + b"[" * 9999 + b"]" * 9999 + b"}",
            "too-deep",
            True,
        ),
        ("entries_json", b'{"resourceType":"Bundle","entry":{}}', "shape", True),
        ("half_ndjson_gz", gzip.compress(b"", mtime=0)[:-4], "gzip-cut", True),
        ("bad_json_gz", b"no gzip at all", "gzip-bad", True),
    ],
)
def test_each_damage_has_its_reason(tmp_path: Path, name: str, body: bytes, reason: str, lost: bool) -> None:
    written(tmp_path, **{name: body})
    found, (damage,) = split(read_folder(tmp_path))
    assert found == []
    assert (damage.reason, damage.lost, damage.where) == (reason, lost, f"{name.replace('_', '.')}:0")
    assert (damage.length, damage.sha256) == (len(body), sha256(body).hexdigest())


@pytest.mark.parametrize(
    ("entry", "reason", "lost"),
    [
        ({"resource": {"id": "x"}}, "no-type", True),
        ({"resource": 5}, "not-an-object", True),
        ({"fullUrl": "urn:uuid:1"}, "no-resource", False),
        ({"resource": None}, "no-resource", False),
        ({"response": {"status": "201"}}, "no-resource", False),
        ({"request": {"method": "PATCH", "url": "Patient/1"}, "resource": patient("1")}, "patch", True),
        ({"request": {"method": "DELETE", "url": "Patient?name=x"}}, "delete-unclear", True),
        ({"search": {"mode": "outcome"}, "resource": patient("1")}, "message", False),
    ],
)
def test_each_entry_that_is_no_resource_has_its_reason(
    tmp_path: Path, entry: dict[str, Any], reason: str, lost: bool
) -> None:
    whole = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": patient("p1")}, entry]}
    written(tmp_path, a_json=json.dumps(whole))
    assert [one.id for one in split(read_folder(tmp_path))[0]] == ["p1"]
    assert reasons(tmp_path) == [(reason, lost)]


def test_a_line_that_is_too_long_costs_only_itself(tmp_path: Path) -> None:
    long = json.dumps(patient("long", x="y" * 500))
    written(tmp_path, a_ndjson=GOOD + b"\n" + long.encode() + b"\n" + GOOD)
    found, (damage,) = split(read_folder(tmp_path, Limits(line=400)))
    assert len(found) == 2
    assert (damage.reason, damage.offset, damage.length) == ("line-too-long", len(GOOD) + 1, len(long))
    assert damage.sha256 == sha256(long.encode()).hexdigest()


def test_a_file_that_is_too_big_is_a_damage(tmp_path: Path) -> None:
    written(tmp_path, a_json=GOOD)
    assert reasons(tmp_path, Limits(body=10)) == [("too-big", True)]


def test_gzip_that_is_cut_keeps_its_whole_lines_and_says_that_the_rest_is_missing(tmp_path: Path) -> None:
    many = b"".join(
        json.dumps(observation(f"o{n}", "p1", sha256(b"%d" % n).hexdigest())).encode() + b"\n"
        for n in range(400)
    )
    packed = gzip.compress(many, mtime=0)
    written(tmp_path, a_ndjson_gz=packed[: len(packed) // 2])
    found, damages = split(read_folder(tmp_path))
    assert 0 < len(found) < 400
    assert [one.body + b"\n" for one in found] == many.splitlines(keepends=True)[: len(found)]
    assert damages[-1].reason == "gzip-cut"
    assert all(damage.lost for damage in damages)


def test_links_to_folders_are_not_followed_and_not_forgotten(tmp_path: Path) -> None:
    outside = written(tmp_path / "outside", a_json=GOOD)
    inside = written(tmp_path / "inside", b_json=GOOD)
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "broken.json").symlink_to(inside / "absent")
    found, damages = split(read_folder(inside))
    assert len(found) == 1
    assert [(damage.file, damage.reason, damage.lost) for damage in damages] == [
        ("broken.json", "unreadable", True),
        ("link", "unreadable", True),
        ("loop", "unreadable", True),
    ]


def test_pouring_gives_the_unpacked_bytes_and_the_damage_at_their_end(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD * 50, mtime=0)
    written(tmp_path, a_ndjson_gz=packed, b_ndjson_gz=packed[:-3], c_ndjson=GOOD)
    whole, cut, plain = sources(tmp_path)
    for source, body, reason in ((whole, GOOD * 50, None), (cut, GOOD * 50, "gzip-cut"), (plain, GOOD, None)):
        out = bytearray()
        damage = pour(source, out.extend)
        assert bytes(out) == body
        assert (damage.reason if damage else None) == reason


PIECES = {
    "good": GOOD,
    "cut": GOOD[:-5],
    "latin": GOOD.replace(b"5.40", b"\xe4"),
    "nan": b'{"resourceType":"Observation","v":NaN}',
    "log": b'{"eventId":"kickoff"}',
    "blank": b" ",
    "number": b"12",
}


@seeded
@given(st.lists(st.sampled_from(list(PIECES)), max_size=12), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
def test_every_line_is_accounted_for_at_its_own_place(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], ended: bool, end: bytes
) -> None:
    folder = tmp_path_factory.mktemp("export")
    body = end.join(PIECES[name] for name in names) + (end if ended else b"")
    written(folder, a_ndjson=body)
    found, damages = split(read_lines("a.ndjson", folder / "a.ndjson"))
    assert len(found) == names.count("good")
    assert len(found) + len(damages) == len([name for name in names if name != "blank"])
    for one in found:
        assert body[int(one.where.partition(":")[2]) :].startswith(GOOD)
    for damage in damages:
        there = body[damage.offset : damage.offset + damage.length]
        assert there in PIECES.values()
        assert sha256(there).hexdigest() == damage.sha256
    assert split(read_folder(folder)) == (found, damages)


@seeded
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_as_it_is_or_reported(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    body = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    folder = written(tmp_path_factory.mktemp("export"), a_ndjson=body + b"\n" + GOOD)
    found, damages = split(read_folder(folder))
    assert GOOD in [one.body for one in found]
    assert all(one.body in body + b"\n" + GOOD for one in found)
    assert len(found) + len(damages) >= 2 or body.strip() == GOOD.strip()


# --- the real ones ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not on this machine")
@pytest.mark.parametrize(
    ("folder", "resources", "asides"),
    [
        ("au-core", 11, []),
        ("bulk-export", 0, ["no-type"]),
        ("cda-converter", 6, []),
        ("cibmtr", 3, []),
        ("everything-pages", 174, []),
        ("german-polar", 24, []),
        ("mii-testdata", 4, []),
        ("ndjson", 21, ["no-type"] * 4),
        ("r4-examples", 11, ["message"]),
        ("search-pages", 25, ["message"] * 4),
        ("smart-stu3", 94, []),
    ],
)
def test_every_line_and_entry_of_real_exports_is_accounted_for(
    folder: str, resources: int, asides: list[str]
) -> None:
    found, damages = split(read_folder(SAMPLES / folder))
    assert len(found) == resources
    assert [damage.reason for damage in damages] == asides
    assert not any(damage.lost for damage in damages)
    assert len(found) + len(damages) == sum(_pieces(path) for path in (SAMPLES / folder).rglob("*.*json"))


def _pieces(path: Path) -> int:
    """Lines or entries of a file, counted by another reader."""
    if path.suffix == ".ndjson":
        return sum(bool(line.strip()) for line in path.read_bytes().split(b"\n"))
    tree = json.loads(path.read_bytes())
    return len(tree["entry"]) if tree.get("resourceType") == "Bundle" else 1


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not on this machine")
def test_the_openmrs_page_is_flagged_as_a_subset() -> None:
    (source,) = [one for one in sources(SAMPLES) if one.name.endswith("openmrs-subsetted.json")]
    assert [one.subsetted for one in split(read_file(source))[0]] == [True]
