from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lab.vcs.trailers import role_of, session_of, sign

IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


@given(message=st.text(), session=IDS, role=st.sampled_from(["", "log", "prompt"]))
@example(message="", session="s", role="log")
def test_what_is_signed_can_be_read_back(message: str, session: str, role: str) -> None:
    signed = sign(message, session, role)
    assert session_of(signed) == session
    assert role_of(signed) == role
    assert sign(signed, session, role) == signed


def test_trailers_stand_in_a_paragraph_of_their_own() -> None:
    assert sign("Title\n\nBody.", "s1", "log") == (
        "Title\n\nBody.\n\nLab-Session: s1\nLab-Role: log\n"
    )


def test_trailers_join_those_that_are_there() -> None:
    assert sign("Title\n\nReviewed-by: A <a@b>\n", "s1") == (
        "Title\n\nReviewed-by: A <a@b>\nLab-Session: s1\n"
    )


def test_a_title_that_looks_like_a_trailer_is_still_a_title() -> None:
    assert sign("fix: a thing", "s1") == "fix: a thing\n\nLab-Session: s1\n"


def test_what_others_append_does_not_hide_the_session() -> None:
    assert session_of("Title\n\nLab-Session: s1\n\nChange-Id: I123\n") == "s1"
    assert session_of("Title\n\nNot-Lab-Session: s1\n") == ""
