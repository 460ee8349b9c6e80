"""Which plans there are, and which flags belong to each."""

from __future__ import annotations

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.session.opening import BATCH, LATENCY, PLANS, MeasureOptions

_FLAGS = {
    LATENCY: {
        "statements": "--statements",
        "samples": "--samples",
        "mode": "--mode",
        "budget_s": "--budget",
    },
    BATCH: {
        "sizes": "--sizes",
        "repetitions": "--repetitions",
        "sweep": "--upstream-sweep",
        "grow": "--grow",
    },
}
"""The flags that belong to one plan alone, by the option that each sets."""

_CHOICE = {
    LATENCY: "times kinds of statement by themselves",
    BATCH: "times transactions of several statements that make tables of the upstream's",
}


def require_sense(options: MeasureOptions) -> None:
    """Refuse a plan that there is none of, and flags that belong to another plan.

    Raises
    ------
    UsageError
        The nearest plan, or the plan that the flag belongs to, is named.
    """
    plan = options.plan or LATENCY
    if plan not in PLANS:
        raise UsageError(
            f"There is no plan `{plan}`.",
            code="measure.plan",
            why=f"Known: {', '.join(PLANS)}.",
            remedy=did_you_mean(plan, PLANS, "Choose from these."),
        )
    for owner, flags in _FLAGS.items():
        given = [flag for option, flag in flags.items() if getattr(options, option) is not None]
        if owner != plan and given:
            several = len(given) > 1
            raise UsageError(
                f"{', '.join(given)} {'are' if several else 'is'} of plan {owner}.",
                code="measure.flag-of-other-plan",
                why=f"The plan asked for is {plan}, which {_CHOICE[plan]}.",
                remedy=f"Leave {'them' if several else 'it'} out, or give --plan {owner}.",
            )
