"""The rules in SQL and in Python agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media_files.models import MediaFile
from proxies.models import Proxy, Quarantine
from proxies.outcomes import Outcome
from proxies.queries import needs_proxy, outcome_of, proxy_state_of, reason_conditions, with_outcome
from proxies.rendering.profiles import NOVA
from proxies.rendering.render import Reason, proxy_reasons

FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "HEIF", "BMP", ""]


def around(*values: int) -> st.SearchStrategy[int]:
    """Generate the deciding values, their neighbours, and others."""
    near = [max(1, value + step) for value in values for step in (-1, 0, 1)]
    return st.one_of(st.sampled_from(near), st.integers(1, 65_535))


PROFILES = st.builds(
    replace,
    st.just(NOVA),
    shorter_side=st.one_of(st.none(), around(896, 1)),
    longest_side=around(8000, 896),
    formats=st.frozensets(st.sampled_from(FORMATS)),
    byte_limit=around(18_000_000, 1000),
)
FILES = st.builds(
    MediaFile,
    file_type=st.sampled_from(["image", "image", "image", "video"]),
    width=st.one_of(st.none(), around(896, 8000, 1)),
    height=around(896, 8000, 1),
    bytes=around(18_000_000, 1000),
    format=st.sampled_from(FORMATS),
    orientation=st.integers(1, 8),
    standard_colour=st.booleans(),
    has_location=st.one_of(st.none(), st.booleans()),
    has_metadata=st.one_of(st.none(), st.booleans()),
    fingerprint=st.sampled_from(["a", "b"]),
)
PROXIES = st.one_of(
    st.none(), st.tuples(st.sampled_from(["nova", "rekognition"]), st.booleans(), st.sampled_from("ab"))
)
CASES = st.lists(st.tuples(FILES, PROXIES, st.sampled_from([None, None, "a", "b"])), min_size=1, max_size=12)


def expected_outcome(file, proxy, quarantine, profile, *, force):
    """Return the outcome by the Python rules, written out once more."""
    if file.file_type != "image":
        return Outcome.FAILED
    if quarantine == file.fingerprint:
        return Outcome.QUARANTINED
    if file.facts is not None and not proxy_reasons(file.facts, profile):
        return Outcome.SKIPPED
    stands = proxy is not None and proxy.profile == profile.name
    if stands and proxy.is_current(file, profile) and not force:
        return Outcome.REUSED
    return Outcome.REPLACED if stands else Outcome.CREATED


def assert_reasons(rows, profile):
    """Assert that every query gives the reasons of a file, whatever its outcome."""
    for row in rows:
        is_known = row.file_type == "image" and row.facts is not None
        reasons = proxy_reasons(row.facts, profile) if is_known else []
        expected = ["not_needed"] if row.outcome == "skipped" else reasons
        assert row.settled_reasons == expected, vars(row)


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases=CASES, profile=PROFILES, force=st.booleans())
def test_sql_and_python_agree(db, cases, profile, force):
    MediaFile.objects.all().delete()
    expected = {}
    for number, (file, given_proxy, quarantine) in enumerate(cases):
        file.pk = number + 1
        file.file.name = f"{number}.jpg"
        if file.width is None:
            file.height = None
        MediaFile.objects.bulk_create([file])
        proxy = None
        if given_proxy is not None:
            name, current_recipe, fingerprint = given_proxy
            recipe = profile.recipe if current_recipe else "older"
            proxy = Proxy(
                source=file, profile=name, recipe=recipe, source_fingerprint=fingerprint, bytes=1, image="p"
            )
            proxy.save(force_insert=True)
        if quarantine is not None:
            Quarantine.objects.create(source=file, fingerprint=quarantine, message="")
        expected[file.pk] = (file, proxy, quarantine)

    for pk, outcome in MediaFile.objects.annotate(reported=outcome_of(profile, force=force)).values_list(
        "pk", "reported"
    ):
        file, proxy, quarantine = expected[pk]
        assert outcome == expected_outcome(file, proxy, quarantine, profile, force=force), vars(file)

    known = {pk: file for pk, (file, _, _) in expected.items() if file.width is not None}
    for reason, condition in reason_conditions(profile).items():
        by_sql = set(MediaFile.objects.filter(condition, pk__in=known).values_list("pk", flat=True))
        facts = {pk: file.facts for pk, file in known.items()}
        assert by_sql == {pk for pk, fact in facts.items() if reason in proxy_reasons(fact, profile)}, reason

    assert_reasons(with_outcome(MediaFile.objects.all(), profile, force=force), profile)
    needed = set(MediaFile.objects.filter(needs_proxy(profile)).values_list("pk", flat=True))
    assert needed == {
        pk
        for pk, (file, _, _) in expected.items()
        if file.file_type == "image" and (file.facts is None or proxy_reasons(file.facts, profile))
    }

    current = set(Proxy.objects.current(profile).values_list("pk", flat=True))
    stale = set(Proxy.objects.stale(profile).values_list("pk", flat=True))
    of_profile = {
        p.pk: p.is_current(f, profile) for f, p, _ in expected.values() if p and p.profile == "nova"
    }
    assert current == {pk for pk, is_current in of_profile.items() if is_current}
    assert stale == {pk for pk, is_current in of_profile.items() if not is_current}
    states = dict(MediaFile.objects.annotate(reported=proxy_state_of(profile)).values_list("pk", "reported"))
    for pk, (_, proxy, _) in expected.items():
        stands = proxy is not None and proxy.profile == "nova"
        if proxy is not None and of_profile.get(proxy.pk):
            assert states[pk] == "current"
        elif pk not in needed:
            assert states[pk] == "not_needed"
        else:
            assert states[pk] == ("stale" if stands else "missing")


def test_every_reason_has_its_condition():
    assert list(reason_conditions(NOVA)) == list(Reason)


@pytest.mark.postgres
def test_sql_and_python_agree_on_postgresql(install):
    """Evaluate a table of deciding values on PostgreSQL."""
    printed = install("postgres").shell("""
        from dataclasses import replace
        from itertools import product
        from media_files.models import MediaFile
        from proxies.rendering.render import proxy_reasons
        from proxies.rendering.profiles import NOVA
        from proxies.queries import reason_conditions, with_outcome
        sides = [1, 895, 896, 897, 7999, 8000, 8001]
        MediaFile.objects.bulk_create(
            MediaFile(file="f", fingerprint="f", width=width, height=height, format=format, bytes=size,
                      orientation=orientation, standard_colour=plain, has_location=location,
                      has_metadata=metadata)
            for width, height, (format, size), (orientation, plain, location, metadata) in product(
                sides, sides, [("JPEG", 18_000_000), ("TIFF", 18_000_001), ("", 1)],
                [(1, True, False, False), (6, False, True, True), (1, True, None, None)])
        )
        rows = list(MediaFile.objects.all())
        wrong = []
        for profile in (NOVA, replace(NOVA, shorter_side=None, formats=frozenset())):
            for reason, condition in reason_conditions(profile).items():
                found = set(MediaFile.objects.filter(condition).values_list("pk", flat=True))
                if found != {row.pk for row in rows if reason in proxy_reasons(row.facts, profile)}:
                    wrong.append(reason)
            for row in with_outcome(MediaFile.objects.all(), profile):
                if row.settled_reasons != (proxy_reasons(row.facts, profile) or ["not_needed"]):
                    wrong.append(row.settled_reasons)
        print(len(rows), wrong)
    """)
    assert printed == "441 []\n"
