"""What payments does when something happens to people."""

import structlog

from config.core.errors import Unavailable
from config.core.models import Fact
from config.core.outbox import handler
from payments.ledger.models import Book
from payments.ledger.services import open_account

log = structlog.get_logger(__name__)


@handler("customer.registered", in_transaction=True)
def open_accounts(fact: Fact) -> None:
    """Open a new customer's accounts: demo money for everybody, real money where the law allows it.

    The oldest book of a kind is the one in the platform's currency. Raises Unavailable without a demo book:
    nobody is registered without an account.
    """
    kinds = [Book.Kind.DEMO, Book.Kind.REAL] if fact.payload["real_allowed"] else [Book.Kind.DEMO]
    for kind in kinds:
        book = Book.objects.filter(kind=kind).order_by("id").first()
        if book is None and kind == Book.Kind.DEMO:
            raise Unavailable("No account can be opened right now. Try again later.")
        if book is None:
            log.error("no book to open an account in", kind=str(kind), customer=fact.payload["customer"])
            continue
        open_account(owner_id=fact.payload["customer"], book=book)
