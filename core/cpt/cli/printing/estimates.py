"""What `--dry-run` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from cpt.cli.printing.output import echo, print_json

if TYPE_CHECKING:
    from cpt.asking.money.estimates import Estimate


def print_estimates(
    estimates: Mapping[str, Estimate], as_json: bool, uncounted: Sequence[str] = ()
) -> None:
    """Print one line for each responder that would be asked, the sum, and what is not in it."""
    from cpt.asking.money.estimates import Estimate

    if as_json:
        print_json(plain_estimates(estimates, uncounted))
        return
    total = sum(estimates.values(), Estimate())
    for responder, estimate in estimates.items():
        echo(f"{responder}  {_line(estimate)}")
    echo(f"in all  {_line(total)}")
    if uncounted:
        echo(f"not counted  {', '.join(uncounted)}: known only when it measures")


def plain_estimates(
    estimates: Mapping[str, Estimate], uncounted: Sequence[str] = ()
) -> dict[str, Any]:
    """The same as plain data."""
    from cpt.asking.money.estimates import Estimate

    plain = {responder: attrs.asdict(estimate) for responder, estimate in estimates.items()}
    total = attrs.asdict(sum(estimates.values(), Estimate()))
    return {"estimates": plain, "total": total, "not_counted": list(uncounted)}


def _line(estimate: Estimate) -> str:
    known = f" ({estimate.known:,} more are in the journal)" if estimate.known else ""
    about = "" if estimate.counted else "about "
    tokens = f"{about}{estimate.input_tokens:,} tokens in, likely {estimate.output_tokens:,} out"
    return f"{estimate.requests:,} requests{known}: {tokens}; {_price(estimate)}"


def _price(estimate: Estimate) -> str:
    if estimate.dollars is None:
        return "price unknown (a table of yours goes into --prices)"
    most = estimate.most_dollars
    bound = "" if most is None else f", at most {_dollars(most)}"
    return f"likely {_dollars(estimate.dollars)}{bound}"


def _dollars(dollars: float) -> str:
    """Cents are too coarse for a few requests: what costs something must not look free."""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.6f}".rstrip("0")
