"""A short fuzzing run: the same files every time."""

from __future__ import annotations

from functools import cache
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxies.tests.fuzzing import findings, problem_with, seeds

# Damaged metadata makes Pillow warn, as expected here.
pytestmark = pytest.mark.filterwarnings("ignore")

files = cache(seeds)


@pytest.mark.parametrize("number", range(len(seeds())))
def test_unmodified_files(number):
    assert problem_with(files()[number]) is None


@pytest.mark.parametrize("seed", range(8))
def test_mutations_end_in_a_proxy_or_a_named_error(seed):
    problems = [found.problem for found in islice(findings(seed, files()), 120) if found]
    assert problems == []


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400), kind=st.sampled_from(range(len(seeds()))), keep=st.integers(2, 64))
def test_random_bytes_after_a_valid_beginning(data, kind, keep):
    assert problem_with(files()[kind][:keep] + data) is None
