"""The word that was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.nearest import did_you_mean, nearest

KNOWN = ("create-table", "create-view", "drop-table")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("create-tabel", "create-table"), ("view", "create-view"), ("xyz", ""), ("", "")],
)
def test_the_nearest_is_named(word, meant):
    assert nearest(word, KNOWN) == meant
    remedy = did_you_mean(word, KNOWN, "Choose from these.")
    assert remedy == (f"Did you mean `{meant}`?" if meant else "Choose from these.")


@given(st.lists(st.text(min_size=1), unique=True))
def test_a_known_word_is_nearest_to_itself(known):
    for word in known:
        assert nearest(word, known) == word
