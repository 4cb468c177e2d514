"""Placing an order: one read, the rules in their fixed order, one write."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
import psycopg
from django.db import DatabaseError

from config.core import clock, facts, money
from config.core.errors import Invalid, Unauthenticated
from config.core.ids import derived_id
from config.core.outbox import customer_topic
from config.core.sql import prepared
from payments.ledger.errors import refusal_of
from payments.ledger.facts import AccountChanged
from quotes.errors import UnknownInstrument
from trading import errors
from trading.facts import OrderOpened, OrderView
from trading.models import SHARDS, Order
from trading.rules import KINDS, Price, Reach, reach_of
from trading.selectors import OrderRow, order_of, order_view
from trading.services.acceptance import (
    RULES,
    open_orders_allowed,
    too_exposed,
    too_many_open,
    too_much_loss,
    too_much_payout,
)
from trading.services.drafts import Draft, Found, PlaceOrder
from trading.services.refusals import counted

# After a longer wait for its locks an order would open at a price the customer no longer sees.
LONGEST_PLACEMENT = timedelta(seconds=2)
_READ = "SELECT trading_read_placement($1, $2, $3, $4, $5, $6, $7)"
_PLACE = f"SELECT * FROM trading_place({', '.join(f'${number}' for number in range(1, 43))})"  # noqa: S608
# Where an account or an instrument is missing, so are its columns; the rules look at the id first.
_columns: list[Any] = [(each.name, each.type | None) for each in msgspec.structs.fields(Found)]
_found: Any = msgspec.json.Decoder(msgspec.defstruct("Found", _columns, array_like=True))
LARGEST_ID = 2**63 - 1
# Raised by `trading_place`, so that all of it is undone.
TOO_EXPOSED = "TH101"
LONGEST_SECONDS = 10**9
LONGEST_TICKS = 10**6


@dataclass(frozen=True, slots=True)
class Placed:
    """The accepted order, and whether it was accepted by an earlier call with the same client_id."""

    order: OrderView
    is_replayed: bool


def place_order(*, customer_id: int, command: PlaceOrder, sign_in: UUID | None = None) -> Placed:
    """Accept an order or refuse it with the first rule that fails; a repeated `client_id` answers as before.

    Debit, order, transfer and facts are one statement, and outside a transaction one commit. `sign_in` is the
    token family that must still live, for callers whose authentication left that to this one read. Raises the
    refusals of `trading.errors`, InsufficientFunds, Invalid, and Unavailable when the locks do not come.
    """
    with counted(command=command, symbol=command.symbol, contract=command.contract):
        return _place(customer_id, command, sign_in)


def _place(customer_id: int, command: PlaceOrder, sign_in: UUID | None) -> Placed:
    require_well_formed(command)
    sha = _fingerprint(command)
    started = clock.now()
    found = read_placement(customer_id, sign_in, command, started)
    if found is None or not found.is_signed_in:
        raise Unauthenticated("Your sign-in has ended. Sign in again.")
    if found.repeated_id is not None:
        return _repeated(customer_id, found.repeated_id, sha)
    draft = draft_of(command, found, started)
    for rule in RULES:
        rule(draft)
    answer, open_orders, found_amount = _write_placement(draft, customer_id, sha, started)
    if answer == "repeated":
        existing = Order.objects.only("id").get(account_id=command.account, client_id=command.client_id)
        return _repeated(customer_id, existing.pk, sha)
    if answer == "too_many_open":
        raise too_many_open(open_orders, open_orders_allowed(draft))
    if answer == "open_payout":
        raise too_much_payout(draft, found_amount)
    if answer == "daily_loss":
        raise too_much_loss(draft, found_amount)
    if answer == "exposure":
        raise too_exposed(draft, (draft.most_profit or money.ZERO) - found_amount)
    if answer == "busy":
        raise errors.OrderBusy(
            "The price moved on while this account was busy. Place the order again.", retry_after_seconds=1
        )
    return Placed(draft.view, is_replayed=False)


# --- what was asked, and what is so -------------------------------------------------------------------


def require_well_formed(command: PlaceOrder) -> None:
    """Raise Invalid for what no rule can look at."""
    if not 1 <= len(command.client_id) <= 64:
        raise Invalid("client_id takes 1 to 64 characters.", errors={"client_id": ["1 to 64 characters."]})
    lasting = (command.duration_seconds, command.duration_ticks, command.expires_at)
    if sum(length is not None for length in lasting) != 1:
        raise Invalid(
            "Send one of duration_seconds, duration_ticks and expires_at.",
            errors={"duration_seconds": ["Send this, duration_ticks or expires_at: one of them."]},
        )
    if command.expires_at is not None and command.expires_at.tzinfo is None:
        raise Invalid("expires_at needs a time zone.", errors={"expires_at": ["Needs a time zone, e.g. Z."]})
    if (command.price is None) != (command.max_slippage is None):
        raise Invalid(
            "price and max_slippage go together.", errors={"price": ["Goes together with max_slippage."]}
        )
    _within_reach(command)


def _within_reach(command: PlaceOrder) -> None:
    """Refuse what no column or calendar can hold, before anything is computed with it."""
    if not 0 < command.account <= LARGEST_ID:
        raise errors.NoSuchAccount(f"You have no account {command.account}.")
    if "\x00" in command.symbol:
        raise UnknownInstrument("There is no such instrument.")
    if "\x00" in command.side:
        raise Invalid("There is no such side.", errors={"side": ["No contract has it."]})
    if command.duration_seconds is not None and abs(command.duration_seconds) > LONGEST_SECONDS:
        said = [f"At most {LONGEST_SECONDS} s."]
        raise Invalid("duration_seconds is out of any range.", errors={"duration_seconds": said})
    if command.duration_ticks is not None and not 0 < command.duration_ticks <= LONGEST_TICKS:
        said = [f"1 to {LONGEST_TICKS}."]
        raise Invalid("duration_ticks is out of any range.", errors={"duration_ticks": said})
    if command.expires_at is not None and not 1970 < command.expires_at.year < 9999:
        raise Invalid("expires_at is out of any range.", errors={"expires_at": ["No order can wait for it."]})


def _fingerprint(command: PlaceOrder) -> bytes:
    return hashlib.sha256(msgspec.json.encode(command)).digest()


def _repeated(customer_id: int, order_id: UUID, sha: bytes) -> Placed:
    if bytes(Order.objects.values_list("request_sha256", flat=True).get(pk=order_id)) != sha:
        raise errors.IdempotencyMismatch(
            "An order with this client_id exists and asked for something else. Use a new client_id.",
            order=str(order_id),
        )
    return Placed(order_of(customer_id, order_id), is_replayed=True)


def read_placement(
    customer_id: int, sign_in: UUID | None, command: PlaceOrder, instant: datetime
) -> Found | None:
    """Read all that the rules look at in one statement: see `trading_read_placement`."""
    values = (customer_id, sign_in, command.account, command.client_id, command.symbol, command.side, instant)
    row = prepared(_READ, values)
    return None if row is None or row[0] is None else cast(Found, _found.decode(row[0]))


def draft_of(command: PlaceOrder, found: Found, started: datetime) -> Draft:
    """Return what is asked, with its acceptance and expiry if it were accepted at this instant."""
    accepted_at = max(started, found.last_at) if found.last_at else started
    draft = Draft(command, found, accepted_at)
    opens_at = accepted_at
    if found.entry_policy == "delayed":
        opens_at = draft.entry_after = accepted_at + timedelta(milliseconds=found.entry_delay_ms)
    seconds = command.duration_seconds or 0
    if command.duration_ticks is not None:
        opens_at, seconds = accepted_at, found.max_tick_wait_seconds if found.terms_id is not None else 0
    draft.expires_at = command.expires_at or opens_at + timedelta(seconds=seconds)
    return draft


# --- one write -----------------------------------------------------------------------------------------


def _write_placement(
    draft: Draft, customer_id: int, sha: bytes, started: datetime
) -> tuple[str, int, Decimal]:
    """Lock the account, then write the order, its stake and its facts: see `trading_place`.

    One call instead of six statements: 0.35 ms less per order, and the plan stays cached under any pooler.
    Being one statement, it needs no BEGIN and COMMIT around it: two round trips and 0.2 ms less.
    """
    values = _placement_values(draft, customer_id, sha, started)
    try:
        answer, open_orders, amount = prepared(_PLACE, values) or ("", 0, None)
    except DatabaseError as error:
        cause = error.__cause__
        if isinstance(cause, psycopg.Error) and cause.sqlstate == TOO_EXPOSED:
            return "exposure", 0, Decimal(cause.diag.message_detail or 0)
        raise refusal_of(error) from cause
    return answer, open_orders, amount or money.ZERO


def _placement_values(draft: Draft, customer_id: int, sha: bytes, started: datetime) -> tuple[Any, ...]:
    """Return what `trading_place` takes, in its order; with it `draft.view` is made."""
    found, asked, entry = draft.found, draft.asked, _entry(draft)
    due_seq, reached_at = _bookmarks(draft, entry)
    draft.view = order_view(_row(draft, entry))
    return (
        draft.order_id,
        asked.account,
        asked.client_id,
        sha,
        customer_id,
        asked.account % SHARDS,
        found.instrument_id,
        found.terms_id,
        asked.contract,
        asked.side,
        draft.stake,
        draft.payout_rate,
        draft.accepted_at,
        asked.duration_seconds,
        asked.duration_ticks,
        draft.barrier,
        draft.low,
        draft.high,
        draft.is_relative,
        asked.digit,
        draft.volatility_id,
        due_seq,
        reached_at.low,
        reached_at.high,
        draft.entry_after,
        draft.expires_at,
        entry.at if entry else None,
        entry.seq if entry else None,
        entry.price if entry else None,
        found.escrow_id,
        derived_id(draft.order_id, "stake"),
        open_orders_allowed(draft),
        found.scale,
        customer_topic(customer_id),
        facts.encode(OrderOpened(order=draft.view, account=asked.account, version=0)),
        facts.encode(_changed(draft)),
        LONGEST_PLACEMENT - (clock.now() - started),
        found.book_id,
        draft.profit,
        draft.most_profit,
        found.max_own_loss,
        found.max_open_payout,
    )


def _entry(draft: Draft) -> Price | None:
    """Return the latest tick, unless the entry comes later."""
    found = draft.found
    if draft.entry_after is not None or found.last_at is None:
        return None
    return Price(found.last_at, found.last_seq, found.last_price)


def _bookmarks(draft: Draft, entry: Price | None) -> tuple[int | None, Reach]:
    """Return the tick and the prices at which the settler looks at the order; none before its entry."""
    asked, nowhere = draft.asked, Reach(None, None)
    if entry is None:
        return None, nowhere
    due_seq = None if asked.duration_ticks is None else entry.seq + asked.duration_ticks
    if not KINDS[asked.contract].watches_path:
        return due_seq, nowhere
    levels = draft.levels()
    return due_seq, reach_of(levels.get("barrier"), levels.get("low"), levels.get("high"), entry.price)


def _changed(draft: Draft) -> AccountChanged:
    """Return the account's fact; `trading_place` fills in what is known under its lock."""
    found = draft.found
    return AccountChanged(
        account=draft.asked.account,
        book=found.book_code,
        kind=found.book_kind,
        currency=found.currency,
        balance="",
        version=0,
        from_version=0,
    )


def _row(draft: Draft, entry: Price | None) -> OrderRow:
    found, asked = draft.found, draft.asked
    return OrderRow(
        id=draft.order_id,
        client_id=asked.client_id,
        account=asked.account,
        symbol=asked.symbol,
        price_decimals=found.price_decimals,
        contract=asked.contract,
        side=asked.side,
        stake=draft.stake,
        currency=found.currency,
        scale=found.scale,
        payout_rate=draft.payout_rate,
        status=Order.Status.OPEN,
        refund_reason=None,
        accepted_at=draft.accepted_at,
        entry_after=draft.entry_after,
        duration_seconds=asked.duration_seconds,
        duration_ticks=asked.duration_ticks,
        barrier=draft.barrier,
        low=draft.low,
        high=draft.high,
        is_relative=draft.is_relative,
        digit=asked.digit,
        expires_at=draft.expires_at,
        entry=entry,
        exit=None,
        payout=None,
        closed_at=None,
        terms=found.terms_version,
    )
