"""What an order must pass to be accepted: twelve rules in a fixed order; the first that fails refuses."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from config.core import clock, money
from config.core.errors import Invalid
from payments.ledger.errors import insufficient_funds
from quotes import rules as market
from quotes.errors import UnknownInstrument
from quotes.selectors import read_schedule
from trading import errors
from trading.rules import KINDS, slipped
from trading.services.drafts import Draft
from trading.services.pricing import has_its_shape, priced_rate, read_levels

STOPS_ORDERS = {"stop_orders", "stop_all", "event"}


def customer_may_trade(draft: Draft) -> None:
    """1. The customer may sign in and trade, and his country allows it."""
    if draft.found.is_restricted:
        raise errors.CustomerRestricted(
            "Trading is restricted on your account. Ask support why and until when."
        )
    if draft.found.account_id is not None and not draft.found.jurisdiction_allows:
        raise errors.JurisdictionRefused("Trading with this account is not offered in your country.")


def account_trades_instrument(draft: Draft) -> None:
    """2. The account is his, and its book trades this instrument now."""
    found = draft.found
    if found.account_id is None:
        raise errors.NoSuchAccount(f"You have no account {draft.asked.account}.", account=draft.asked.account)
    if found.instrument_id is None or not found.is_listed:
        raise UnknownInstrument(f"There is no instrument {draft.asked.symbol}.", symbol=draft.asked.symbol)
    if not found.book_is_open:
        raise errors.BookClosed("This account is not open for trading at this time.")
    if found.book_closes_at is not None and draft.expires_at > found.book_closes_at:
        closes_at, expires_at = clock.iso(found.book_closes_at), clock.iso(draft.expires_at)
        raise errors.BookClosed(
            f"This account closes at {closes_at}, and this order would expire at {expires_at}.",
            closes_at=closes_at,
            expires_at=expires_at,
        )
    if not found.book_trades:
        raise errors.InstrumentNotInBook(f"This account does not trade {draft.asked.symbol}.")


def instrument_is_offered(draft: Draft) -> None:
    """3. The instrument is not suspended and offers this contract."""
    found, asked = draft.found, draft.asked
    if found.is_suspended:
        raise errors.InstrumentSuspended(f"{asked.symbol} is suspended. Open orders are not affected.")
    kind = KINDS.get(asked.contract)
    if kind is None or found.terms_id is None or asked.contract not in found.contracts:
        raise errors.ContractNotOffered(
            f"{asked.symbol} does not offer this contract.",
            contract=asked.contract,
            contracts=found.contracts or [],
        )
    if kind.needs_uniform_digits and not found.is_simulated:
        raise errors.ContractNotOffered(
            "Digits are offered on simulated instruments only.", contract=asked.contract
        )
    if asked.side not in kind.sides:
        said = " or ".join(kind.sides)
        raise Invalid(f"The side of {asked.contract} is {said}.", errors={"side": [f"{said}."]})
    orders_are_taken(draft)
    has_its_shape(asked, kind)
    read_levels(draft)


def orders_are_taken(draft: Draft) -> None:
    """Raise TradingStopped where a curb holds new orders of this kind back."""
    symbol, contract = draft.asked.symbol, draft.asked.contract
    for curb in draft.found.curbs or ():
        if curb.effect not in STOPS_ORDERS or not curb.covers(contract):
            continue
        until = f" until {clock.iso(curb.ends_at)}" if curb.ends_at else ""
        said = f"New orders on {symbol} are not taken now{until}. Open orders are not affected."
        if curb.effect == "event":
            said = f"Around an economic event {symbol} offers rise/fall alone{until}."
        elif curb.contract:
            said = f"This contract is not sold on {symbol} now{until}. Others are."
        raise errors.TradingStopped(
            said, symbol=symbol, contract=contract, ends_at=clock.iso(curb.ends_at) if curb.ends_at else None
        )


def market_is_open(draft: Draft) -> None:
    """4. The session is open now and until the expiry, and a clock expiry is not too near."""
    found, asked = draft.found, draft.asked
    schedule = read_schedule(found.calendar_zone, found.calendar_weeks, found.calendar_overrides)
    closes_at = market.open_until(schedule, draft.accepted_at)
    if closes_at is None:
        opens_at = market.next_open(schedule, draft.accepted_at)
        raise errors.MarketClosed(
            f"{asked.symbol} is closed" + (f" until {clock.iso(opens_at)}." if opens_at else "."),
            opens_at=clock.iso(opens_at) if opens_at else None,
        )
    if draft.expires_at >= closes_at:
        raise errors.MarketClosed(
            f"{asked.symbol} closes at {clock.iso(closes_at)}, before this order would expire.",
            closes_at=clock.iso(closes_at),
        )
    if asked.expires_at is not None:
        deadline = asked.expires_at - timedelta(seconds=found.cutoff_seconds)
        if draft.accepted_at > deadline:
            raise errors.ExpiryCutoff(
                f"Orders for this expiry were taken until {clock.iso(deadline)}. Choose a later one.",
                deadline=clock.iso(deadline),
            )


def duration_is_offered(draft: Draft) -> None:
    """5. The time to expiry lies within the terms."""
    found, ticks = draft.found, draft.asked.duration_ticks
    if ticks is not None:
        if not found.min_duration_ticks <= ticks <= found.max_duration_ticks:
            offered = f"{found.min_duration_ticks} to {found.max_duration_ticks} ticks are offered"
            raise errors.DurationOutOfRange(
                f"The duration is {ticks} ticks; "
                + (f"{offered}." if found.max_duration_ticks else "ticks are not counted here."),
                duration_ticks=ticks,
                min_duration_ticks=found.min_duration_ticks,
                max_duration_ticks=found.max_duration_ticks,
            )
        return
    seconds = (draft.expires_at - (draft.entry_after or draft.accepted_at)).total_seconds()
    if not found.min_duration_seconds <= seconds <= found.max_duration_seconds:
        raise errors.DurationOutOfRange(
            f"The duration is {seconds:g} s; it must be {found.min_duration_seconds} to "
            f"{found.max_duration_seconds} s.",
            duration_seconds=seconds,
            min_duration_seconds=found.min_duration_seconds,
            max_duration_seconds=found.max_duration_seconds,
        )


def stake_is_allowed(draft: Draft) -> None:
    """6. The stake has the currency's decimals and lies within the terms."""
    found = draft.found
    try:
        draft.stake = money.parse(draft.asked.stake, found.scale)
    except Invalid as refused:
        raise Invalid(refused.detail, errors={"stake": [refused.detail]}, **refused.details) from None
    if not found.min_stake <= draft.stake <= found.max_stake:
        low, high = (f"{bound:.{found.scale}f}" for bound in (found.min_stake, found.max_stake))
        raise errors.StakeOutOfRange(
            f"The stake is {draft.stake} {found.currency}; it must be {low} to {high}.",
            stake=str(draft.stake),
            min_stake=low,
            max_stake=high,
        )


def price_is_fresh(draft: Draft) -> None:
    """7. The latest tick, the feed's heartbeat and the source's lag are young enough."""
    found, symbol = draft.found, draft.asked.symbol
    limit = timedelta(milliseconds=found.max_quote_age_ms)
    now = draft.accepted_at
    if found.last_at is None or found.watermark_at is None:
        raise errors.PriceStale(f"{symbol} has no price yet. Try again in a moment.")
    if now - found.last_at > limit or now - found.watermark_at > limit:
        age_ms = int((now - min(found.last_at, found.watermark_at)) / timedelta(milliseconds=1))
        raise errors.PriceStale(
            f"The latest price of {symbol} is {age_ms} ms old; at most {found.max_quote_age_ms} ms are "
            "allowed. Try again when it moves.",
            age_ms=age_ms,
            max_quote_age_ms=found.max_quote_age_ms,
        )
    if found.source_lag_ms is not None and found.source_lag_ms > found.max_source_lag_ms:
        raise errors.PriceStale(
            f"The source of {symbol} lags {found.source_lag_ms} ms behind; at most "
            f"{found.max_source_lag_ms} ms are allowed.",
            source_lag_ms=found.source_lag_ms,
            max_source_lag_ms=found.max_source_lag_ms,
        )


def price_is_as_seen(draft: Draft) -> None:
    """8. The price has not moved against the customer by more than he accepts."""
    found, asked = draft.found, draft.asked
    if asked.price is None or asked.max_slippage is None:
        return
    price = _decimal("price", asked.price)
    # With a barrier no side is simply better off with a lower price: every move counts.
    side = "" if KINDS[asked.contract].takes else asked.side
    if slipped(side, price, found.last_price, _decimal("max_slippage", asked.max_slippage)):
        now = f"{found.last_price:.{found.price_decimals}f}"
        raise errors.PriceMoved(
            f"You saw {asked.price}; the price is now {now}.",
            seen_price=asked.price,
            price=now,
            max_slippage=asked.max_slippage,
        )


def payout_is_as_seen(draft: Draft) -> None:
    """9. There is a payout, and its rate is not below the one the customer asks for."""
    found, asked = draft.found, draft.asked
    if asked.contract != "rise_fall":
        draft.payout_rate = priced_rate(draft)
    elif found.payout_rate is not None:
        draft.payout_rate = found.payout_rate
    else:
        raise errors.PayoutUnavailable(f"{asked.symbol} has no payout rate yet. Try again in a moment.")
    draft.profit = money.profit(draft.stake, draft.payout_rate, found.scale)
    if asked.min_payout_rate is None:
        return
    if draft.payout_rate < _decimal("min_payout_rate", asked.min_payout_rate):
        rate = f"{draft.payout_rate.normalize():f}"
        raise errors.PayoutChanged(
            f"You asked for at least {asked.min_payout_rate}; the payout rate is now {rate}.",
            min_payout_rate=asked.min_payout_rate,
            payout_rate=rate,
        )


def customer_limits_allow(draft: Draft) -> None:
    """10. What may be open on the account, and what the customer allows himself; asked again under lock."""
    found = draft.found
    if found.open_orders >= open_orders_allowed(draft):
        raise too_many_open(found.open_orders, open_orders_allowed(draft))
    open_payout = found.open_payout or money.ZERO
    if found.max_open_payout is not None and open_payout + draft.payout > found.max_open_payout:
        raise too_much_payout(draft, open_payout)
    if found.max_own_stake is not None and draft.stake > found.max_own_stake:
        raise errors.OwnLimitReached(
            f"Your own limit is {found.max_own_stake:.{found.scale}f} {found.currency} an order; this one is "
            f"{draft.stake}.",
            limit="max_stake",
            max_stake=f"{found.max_own_stake:.{found.scale}f}",
            stake=str(draft.stake),
        )


def open_orders_allowed(draft: Draft) -> int:
    """Return how many orders may be open on the account: by the terms, or fewer by his own wish."""
    own = draft.found.max_own_open_orders
    return draft.found.max_open_orders if own is None else min(own, draft.found.max_open_orders)


def too_much_loss(draft: Draft, at_risk: Decimal) -> errors.OwnLimitReached:
    """Build the refusal of the customer's own daily limit with both numbers."""
    found = draft.found
    limit, risked = (f"{value:.{found.scale}f}" for value in (found.max_own_loss or money.ZERO, at_risk))
    return errors.OwnLimitReached(
        f"Your own limit is to lose at most {limit} {found.currency} a day; today's losses and open stakes "
        f"are {risked}, and this order would add {draft.stake}.",
        limit="max_daily_loss",
        max_daily_loss=limit,
        at_risk=risked,
        stake=str(draft.stake),
    )


def too_many_open(open_orders: int, limit: int) -> errors.TooManyOpenOrders:
    """Build the refusal with both numbers."""
    return errors.TooManyOpenOrders(
        f"{open_orders} orders are open on this account, and {limit} may be. Wait until one has closed.",
        open_orders=open_orders,
        max_open_orders=limit,
    )


def too_much_payout(draft: Draft, open_payout: Decimal) -> errors.OpenPayoutLimit:
    """Build the refusal with all three numbers, and the largest stake that would still be taken."""
    found, most = draft.found, draft.found.max_open_payout or money.ZERO
    largest = _largest_stake(draft, most - open_payout)
    fits = largest >= found.min_stake
    if open_payout == 0:
        said = f"Stake at most {largest}." if fits else "Choose one that pays less."
    else:
        said = f"Stake at most {largest}, or wait" if fits else "Wait"
        said += " until an order has closed."
    limit, opened = (f"{amount:.{found.scale}f}" for amount in (most, open_payout))
    return errors.OpenPayoutLimit(
        f"All open orders of this account may pay out {limit} {found.currency} together. Those that are open "
        f"could pay {opened} and this one {draft.payout}. {said}",
        open_payout=opened,
        payout=str(draft.payout),
        max_open_payout=limit,
        largest_stake=str(largest) if fits else None,
    )


def _largest_stake(draft: Draft, room: Decimal) -> Decimal:
    """Return the largest stake that pays out no more than the room."""
    rate, scale = draft.payout_rate, draft.found.scale
    stake = money.floor(max(room, money.ZERO) / (1 + rate), scale)
    # Its profit is rounded down too, so one unit more may fit.
    above = stake + money.unit(scale)
    return above if above + money.profit(above, rate, scale) <= room else stake


def exposure_allows(draft: Draft) -> None:
    """11. The house's limits allow it: one side's exactly, asked again under lock; sums as last seen."""
    for limit in draft.found.limits or ():
        if limit.used + draft.profit > limit.most:
            raise too_exposed(draft, limit.most - limit.used)
        if limit.is_exact:
            draft.most_profit = (
                limit.most if draft.most_profit is None else min(limit.most, draft.most_profit)
            )


def too_exposed(draft: Draft, room: Decimal) -> errors.ExposureLimit:
    """Build the refusal: the largest stake that would still be taken, and the one asked for."""
    found = draft.found
    largest = money.floor(max(room, money.ZERO) / draft.payout_rate, found.scale)
    said = f"at most {largest} {found.currency} now" if largest >= found.min_stake else "nothing more now"
    return errors.ExposureLimit(
        f"On {draft.asked.side} of {draft.asked.symbol} we take {said}; you asked for {draft.stake}.",
        stake=str(draft.stake),
        largest_stake=str(largest) if largest >= found.min_stake else None,
        retry_after_seconds=None,
    )


def funds_suffice(draft: Draft) -> None:
    """12. The account holds the stake; the ledger asks again under lock."""
    found = draft.found
    if found.balance < draft.stake:
        raise insufficient_funds(balance=found.balance, amount=draft.stake, scale=found.scale)


RULES: tuple[Callable[[Draft], None], ...] = (
    customer_may_trade,
    account_trades_instrument,
    instrument_is_offered,
    market_is_open,
    duration_is_offered,
    stake_is_allowed,
    price_is_fresh,
    price_is_as_seen,
    payout_is_as_seen,
    customer_limits_allow,
    exposure_allows,
    funds_suffice,
)


def _decimal(name: str, value: str) -> Decimal:
    try:
        return money.parse(value, 8)
    except Invalid as refused:
        raise Invalid(refused.detail, errors={name: [refused.detail]}) from None
