"""Numbers of tables: which are missing, how they are told, and column lists."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.errors import UsageError
from lab.upstream.table_parts import for_each
from lab.upstream.tables import column_list, contiguous, in_short, missing

NUMBERS = st.frozensets(st.integers(min_value=1, max_value=60))


@given(NUMBERS)
def test_contiguous_is_the_last_before_the_first_hole(numbers: frozenset[int]) -> None:
    last = contiguous(numbers)
    assert not missing(last, numbers)
    assert last + 1 not in numbers


@given(NUMBERS, st.integers(min_value=0, max_value=60))
def test_missing_and_found_make_up_the_whole(numbers: frozenset[int], wanted: int) -> None:
    lacking = missing(wanted, numbers)
    assert sorted({*lacking, *(n for n in numbers if n <= wanted)}) == list(range(1, wanted + 1))
    assert not numbers & set(lacking)


@given(NUMBERS.filter(bool))
def test_numbers_in_short_say_how_many_there_are(numbers: frozenset[int]) -> None:
    text = in_short(numbers)
    listed, _, more = text.partition(" and ")
    shown: list[int] = []
    for part in listed.split(", "):
        first, _, last = part.partition("…")
        shown += range(int(first), int(last or first) + 1)
    rest = int(more.split()[0]) if more else 0
    assert len(shown) + rest == len(numbers)
    assert shown == sorted(numbers)[: len(shown)]


@given(NUMBERS.filter(bool))
def test_a_query_for_psql_names_exactly_the_numbers(numbers: frozenset[int]) -> None:
    (query,) = for_each("DROP TABLE t%s", numbers)
    series = re.search(r"generate_series\((\d+), (\d+)\)", query)
    listed = re.search(r"'\{(.*?)\}'", query)
    if series:
        named = set(range(int(series[1]), int(series[2]) + 1))
    else:
        assert listed is not None
        named = {int(each) for each in listed[1].split(",")}
    assert named == numbers


def test_a_column_list_is_taken_as_it_is_and_a_number_makes_one() -> None:
    assert column_list(" id int, x numeric(8, 2) ") == "id int, x numeric(8, 2)"
    assert column_list("1") == "id int PRIMARY KEY"
    assert column_list("3") == "id int PRIMARY KEY, c2 text, c3 text"
    assert column_list("") == ""


@pytest.mark.parametrize("number", ["0", "-1", "1601"])
def test_a_number_of_columns_that_no_table_has_is_refused(number: str) -> None:
    with pytest.raises(UsageError) as refused:
        column_list(number)
    assert refused.value.code == "upstream.columns"
