"""Mark-ups: versions that stay, what customers see of them, and that no tick ever holds one."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from config.core.models import AuditEntry, Fact
from quotes.errors import InvalidInstrument, ReasonMissing
from quotes.models import Instrument, MarkUp, Tick, Watermark
from quotes.rules import Quote, displayed
from quotes.selectors import displayed_quote, instrument_by_symbol, mark_ups
from quotes.services.markups import set_mark_up
from tests.cast import browser_for, olga  # noqa: F401
from tests.quotes.market import Clock, at, instrument, write

# ruff: noqa: F811


def mark_up(made: Instrument, actor: Any, amount: str, spread: str = "0", group: str = "standard") -> MarkUp:
    return set_mark_up(
        instrument=made,
        group=group,
        amount=Decimal(amount),
        min_spread=Decimal(spread),
        actor=actor,
        reason="wider",
    )


# --- the rule -----------------------------------------------------------------------------------------
decimals = st.integers(0, 8)
# Prices finer than the grid, as sources give them.
mills = st.integers(10_000, 10_000_000)


@given(decimals, mills, st.integers(0, 5_000), st.integers(0, 4_000_000), st.integers(0, 4_000_000))
def test_what_a_group_sees_is_on_the_grid_outside_the_quote_and_wide_enough(
    places: int, bid_mills: int, spread_mills: int, amount_mills: int, least_mills: int
) -> None:
    unit = Decimal(1).scaleb(-places)
    mill = unit / 1000
    quote = Quote(bid_mills * mill * 1000, (bid_mills + spread_mills) * mill * 1000 + 7 * mill)
    amount, least = amount_mills * mill, least_mills * mill
    bid, ask = displayed(quote, unit, amount, least)
    assert bid % unit == ask % unit == 0
    assert bid >= unit
    assert bid <= ask
    assert ask >= quote.ask + amount
    if bid > unit:
        assert bid <= quote.bid - amount
        assert ask - bid >= least
        plain = displayed(quote, unit, amount, Decimal(0))
        left, right = plain.bid - bid, ask - plain.ask
        # To both sides alike; of an odd number of units the ask takes one more.
        assert right - left in (0, unit)
        # And no wider than was asked for.
        assert left == right == 0 or ask - bid < least + unit


def test_exact_values_of_what_is_shown() -> None:
    unit, quote = Decimal("0.00001"), Quote(Decimal("1.084996"), Decimal("1.085013"))
    assert displayed(quote, unit, Decimal(0), Decimal(0)) == (Decimal("1.08499"), Decimal("1.08502"))
    shown = displayed(quote, unit, Decimal("0.00005"), Decimal(0))
    assert shown == (Decimal("1.08494"), Decimal("1.08507"))
    # 13 units are missing 7: three to the bid, four to the ask.
    assert displayed(quote, unit, Decimal("0.00005"), Decimal("0.0002")) == (
        Decimal("1.08491"),
        Decimal("1.08511"),
    )
    # A least spread between two units is rounded up.
    assert displayed(quote, unit, Decimal(0), Decimal("0.000031")) == (Decimal("1.08499"), Decimal("1.08503"))


# --- the service --------------------------------------------------------------------------------------


def test_a_mark_up_is_a_version_an_entry_and_a_fact(eurusd: Instrument, olga: Any, noon: Clock) -> None:
    first = mark_up(eurusd, olga, "0.00005")
    noon.move(60)
    second = mark_up(eurusd, olga, "0.00007", "0.0002")
    assert (first.version, second.version, second.created_at) == (1, 2, at(60))
    assert (second.created_by_id, second.reason) == (olga.pk, "wider")
    entry = AuditEntry.objects.filter(action="mark_up.set").latest("id")
    assert entry.before == {"group": "standard", "version": 1, "amount": "0.00005", "min_spread": "0"}
    assert entry.after == {"group": "standard", "version": 2, "amount": "0.00007", "min_spread": "0.0002"}
    assert (entry.object_type, entry.object_id, entry.reason) == ("instrument", str(eurusd.pk), "wider")
    assert Fact.objects.filter(name="instrument.changed").count() == 3


def test_the_same_again_is_no_version(eurusd: Instrument, olga: Any) -> None:
    first = mark_up(eurusd, olga, "0.00005")
    assert mark_up(eurusd, olga, "0.000050") == first
    assert (MarkUp.objects.count(), AuditEntry.objects.filter(action="mark_up.set").count()) == (1, 1)


def test_the_newest_version_of_each_instrument_and_group_is_in_force(
    eurusd: Instrument, olga: Any, django_assert_num_queries: Any
) -> None:
    other = instrument("GBPUSD")
    mark_up(eurusd, olga, "0.00005")
    mark_up(eurusd, olga, "0.00001", group="vip")
    mark_up(other, olga, "0.0003")
    mark_up(eurusd, olga, "0", "0")
    with django_assert_num_queries(1):
        found = mark_ups()
    assert found == {
        ("EURUSD", "standard"): (Decimal(0), Decimal(0)),
        ("EURUSD", "vip"): (Decimal("0.00001"), Decimal(0)),
        ("GBPUSD", "standard"): (Decimal("0.0003"), Decimal(0)),
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": Decimal("-0.00001")},
        {"min_spread": Decimal("-1")},
        {"amount": Decimal("0.000000001")},
        {"amount": Decimal("NaN")},
        {"amount": Decimal("1e12")},
        {"group": ""},
        {"group": "two words"},
        {"group": "VIP"},
        {"group": "g" * 21},
        # The price is 1.085: no bid would be left.
        {"amount": Decimal("1.085")},
        {"amount": Decimal("0.5"), "min_spread": Decimal("1.2")},
    ],
)
def test_an_impossible_mark_up_is_refused_and_nothing_is_written(
    eurusd: Instrument, epoch: int, olga: Any, wrong: dict[str, Any]
) -> None:
    write(epoch, eurusd, [(0, "1.085")])
    values = {"group": "standard", "amount": Decimal(0), "min_spread": Decimal(0), **wrong}
    with pytest.raises(InvalidInstrument):
        set_mark_up(instrument=eurusd, actor=olga, reason="wider", **values)
    assert (MarkUp.objects.count(), AuditEntry.objects.filter(action="mark_up.set").count()) == (0, 0)


def test_a_mark_up_asks_for_a_reason(eurusd: Instrument, olga: Any) -> None:
    with pytest.raises(ReasonMissing):
        set_mark_up(
            instrument=eurusd,
            group="standard",
            amount=Decimal(1),
            min_spread=Decimal(0),
            actor=olga,
            reason=" ",
        )
    assert MarkUp.objects.count() == 0


def test_no_mark_up_touches_a_tick(eurusd: Instrument, epoch: int, olga: Any) -> None:
    mark_up(eurusd, olga, "0.001", "0.01")
    write(epoch, eurusd, [(0, "1.08500")])
    assert Tick.objects.get().price == Watermark.objects.get().last_price == Decimal("1.08500")
    state = instrument_by_symbol("EURUSD")
    assert state.last is not None
    assert state.last.price == Decimal("1.08500")
    seen = displayed_quote(state, "nobody-has-one")
    assert seen == (Decimal("1.08000"), Decimal("1.09000"))


@pytest.mark.django_db(transaction=True)
def test_operators_at_once_make_versions_without_a_gap(noon: Clock) -> None:
    from tests.market import person

    made = instrument()
    actor = person("olga@example.com", is_staff=True)

    def one(number: int) -> int:
        try:
            return mark_up(made, actor, f"0.0000{number}").version
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(one, range(1, 9))) == [1, 2, 3, 4, 5, 6, 7, 8]
    rows = MarkUp.objects.order_by("version").values_list("version", "amount")
    assert [version for version, _ in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {amount for _, amount in rows} == {Decimal(f"0.0000{number}") for number in range(1, 9)}


# --- the console --------------------------------------------------------------------------------------


def test_an_operator_sets_a_mark_up_and_sees_what_a_group_sees(
    eurusd: Instrument, epoch: int, olga: Any
) -> None:
    write(epoch, eurusd, [(0, "1.08500")])
    console = browser_for(olga, verified=True)
    url = reverse("admin:quotes_instrument_set_mark_up", args=[eurusd.pk])
    asked = console.get(url).content.decode()
    assert "what decides an order, stay as they are" in asked
    answers = {"_reasoned": "1", "group": "vip", "amount": "0.0001", "min_spread": "0", "reason": "campaign"}
    done = console.post(url, answers, follow=True).content.decode()
    assert "EURUSD for vip: version 1 is in force." in done
    assert "1.08490 / 1.08510" in done
    console.post(url, {**answers, "amount": "0.0002"})
    listed = console.get(reverse("admin:quotes_markup_changelist")).content.decode()
    assert listed.count("olga@example.com") >= 2
    assert [row.version for row in MarkUp.objects.order_by("-id")] == [2, 1]
