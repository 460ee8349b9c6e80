"""What a command warns of where transactions of a batch benchmark count for nothing."""

from made_batches import batch, failed, run_of

from lab.measure.analysis import analyse
from lab.session.measuring import lost_transactions, next_after


def warnings_of(*batches):
    return lost_transactions([analyse(run_of(*batches), None)])


def test_where_all_count_nothing_is_warned_of():
    assert warnings_of(batch(3), batch(3, index=2)) == ()


def test_void_transactions_are_warned_of_with_why():
    gone = {"void": "the upstream was lost, or restarted"}
    assert warnings_of(batch(3), batch(3, index=2, **gone)) == (
        "1 of 2 transactions is void and counts for nothing: 1 × the upstream was lost, or"
        " restarted",
    )
    several = warnings_of(
        batch(3),
        batch(3, index=2, **gone),
        batch(3, index=3, **gone),
        batch(3, index=4, void="x"),
        failed(3, 2, index=5),
        batch(3, index=6, swept=True, void="y"),
    )
    assert several == (
        "1 of 5 transactions failed and counts for nothing; the first: 42P07 it is there",
        "3 of 5 transactions are void and count for nothing: 2 × the upstream was lost, or"
        " restarted; 1 × x",
    )


def test_what_has_to_go_before_latency_is_measured_is_named_after_batches_alone():
    assert next_after([], "go on") == "go on"
    hint = next_after([analyse(run_of(batch(3)), None)], "go on")
    assert hint.startswith("go on; `invoke upstream.clean`")
