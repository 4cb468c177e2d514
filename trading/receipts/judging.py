"""The whole check of a receipt, as the page and the command make it."""

from dataclasses import dataclass

from trading.receipts.form import NotAReceipt, Receipt, read_document, read_receipt
from trading.receipts.keys import public_keys
from trading.receipts.record import check_record
from trading.receipts.verification import Check, check_contents, check_signature


@dataclass(frozen=True, slots=True)
class Judged:
    """What was checked, line by line, and the receipt where it could be read."""

    checks: list[Check]
    receipt: Receipt | None

    @property
    def is_good(self) -> bool:
        """Whether nothing speaks against it."""
        return all(check.result != "fail" for check in self.checks)


def judge(given: bytes) -> Judged:
    """Check what somebody says is a receipt; raise NotAReceipt when it is none at all."""
    document = read_document(given)
    signature = check_signature(document, public_keys())
    try:
        receipt = read_receipt(document)
    except NotAReceipt as error:
        return Judged([signature, Check("Form", "fail", f"It cannot be read: {error}")], None)
    checks = [signature, *check_contents(receipt)]
    if all(check.result == "pass" for check in checks):
        checks += check_record(receipt)
    else:
        words = "Not looked up: what speaks against the receipt already is enough."
        checks.append(Check("Record", "unknown", words))
    return Judged(checks, receipt)
