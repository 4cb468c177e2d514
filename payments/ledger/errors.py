"""The ledger's refusals, and how PostgreSQL's answers become them."""

import json
from decimal import Decimal
from typing import Any

from django.db import DatabaseError

from config.core import money
from config.core.errors import Broken, Conflict, Invalid, Refused


class InsufficientFunds(Refused):
    code = "insufficient_funds"
    title = "There is not enough money on this account"


class AlreadyPosted(Conflict):
    code = "already_posted"
    title = "This has already been paid"


class NotRefillable(Refused):
    code = "not_refillable"
    title = "Only demo money can be refilled"


class NothingToRefill(Refused):
    code = "nothing_to_refill"
    title = "The balance is not below the opening balance"


def insufficient_funds(*, balance: Decimal, amount: Decimal, scale: int) -> InsufficientFunds:
    """Build the refusal with both numbers, written in the currency's scale."""
    has, needs = money.text(balance, scale), money.text(amount, scale)
    return InsufficientFunds(f"The balance is {has}; {needs} is needed.", balance=has, amount=needs)


def refusal_of(error: DatabaseError) -> Exception:
    """Return what a failed call of `ledger_post` means; the error itself when it is none of the ledger's."""
    cause: Any = error.__cause__
    state = getattr(cause, "sqlstate", None)
    if state == "TH001":
        found = json.loads(cause.diag.message_detail)
        return insufficient_funds(
            balance=Decimal(found["balance"]), amount=Decimal(found["amount"]), scale=found["scale"]
        )
    if state == "TH002":
        found = json.loads(cause.diag.message_detail)
        return Invalid(f"{found['amount']} has more than {found['scale']} decimals.", **found)
    if state == "TH003":
        return Broken(f"a transfer names account {cause.diag.message_detail}, which does not exist")
    if state in {"23502", "23503", "23505", "23514"} and cause.diag.table_name == "ledger_transfer":
        return _broken_rule(cause.diag.constraint_name or cause.diag.column_name)
    if state == "22003":
        return Broken("a transfer's amount is out of range")
    return error


def _broken_rule(name: str) -> Exception:
    if name == "ledger_transfer_pkey":
        return AlreadyPosted()
    if name in {"transfer_source_in_book", "transfer_destination_in_book"}:
        return Broken("a transfer would cross from one book to another")
    return Broken(f"a transfer breaks the rule {name}")
