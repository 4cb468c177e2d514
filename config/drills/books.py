"""What the ledger says after a drill."""

from payments.ledger.checks import check_ledger


def ledger_amiss(*, whole: bool = True) -> list[str]:
    """Name what the ledger's check finds."""
    return [
        f"{each['what']} in {each['book']}: {each['found']}, not {each['expected']}"
        for each in check_ledger(whole=whole).differences
    ]
