"""What must always hold of money, verified against the stored rows; each difference is named."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import structlog
from django.db import connection, transaction
from prometheus_client import Gauge

from config.core import clock, outbox
from config.core.errors import Conflict
from payments.ledger import selectors
from payments.ledger.facts import Difference, LedgerDiffered
from payments.ledger.models import LedgerCheck

log = structlog.get_logger(__name__)
DIFFERENCES = Gauge(
    "ledger_differences", "Differences named by the last check of the ledger", multiprocess_mode="mostrecent"
)
CHECKED_AT = Gauge(
    "ledger_checked_timestamp_seconds",
    "When the ledger was last checked",
    multiprocess_mode="mostrecent",
)
WHOLE_CHECKED_AT = Gauge(
    "ledger_checked_whole_timestamp_seconds",
    "When all of the ledger was last checked",
    multiprocess_mode="mostrecent",
)
# Of each kind: enough to see what happened, and a broken ledger does not flood its own alarm.
MOST = 200

Check = Callable[[], Iterable[Difference]]
_registered: list[Check] = []


def register(check: Check) -> Check:
    """Add a check of a layer above; it sees the same instant of the database as the ledger's own."""
    _registered.append(check)
    return check


def check_ledger(*, whole: bool) -> LedgerCheck:
    """Verify the ledger at one instant while money moves on, record what was found and raise the alarm.

    Without `whole`, only what transactions wrote that the last clean check did not see; a book that then
    does not sum to zero is searched whole, so that the difference has a name. Raises Conflict while another
    check of the same kind is running.
    """
    started_at = clock.now()
    previous = LedgerCheck.objects.first()
    since = 0 if whole else _last_clean_horizon()
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(_LOCK, ["ledger.check_all" if whole else "ledger.check_changed"])
        if not cursor.fetchone()[0]:
            raise Conflict("Such a check of the ledger is still running.")
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        xid_before: int = cursor.fetchone()[0]
        if since > xid_before:  # restored into another cluster, whose transactions count from lower
            since = 0
        found = list(_differences(since))
        if since and any(difference.what == "book sum" for difference in found):
            since, found = 0, list(_differences(0))
    return _conclude(started_at, xid_before, not since, found, previous)


def _differences(since: int) -> Iterator[Difference]:
    yield from _transfers(since)
    yield from _accounts(since)
    yield from _stored(since)
    yield from _books()
    if not since:
        yield from _snapshots()
    for check in _registered:
        yield from check()


def _last_clean_horizon() -> int:
    clean = LedgerCheck.objects.filter(differences=[]).first()
    return clean.xid_before if clean is not None else 0


@transaction.atomic
def _conclude(
    started_at: Any, xid_before: int, whole: bool, found: list[Difference], previous: LedgerCheck | None
) -> LedgerCheck:
    check = LedgerCheck.objects.create(
        started_at=started_at,
        finished_at=clock.now(),
        is_whole=whole,
        xid_before=xid_before,
        differences=[asdict(difference) for difference in found],
    )
    DIFFERENCES.set(len(found))
    CHECKED_AT.set(check.finished_at.timestamp())
    # From the stored runs: a worker that has just started knows of last night's.
    if last_whole := LedgerCheck.objects.filter(is_whole=True).first():
        WHOLE_CHECKED_AT.set(last_whole.finished_at.timestamp())
    for difference in found:
        log.error("ledger difference", check=check.pk, **asdict(difference))
    if found and (previous is None or previous.differences != check.differences):
        outbox.publish(outbox.OPERATORS_TOPIC, LedgerDiffered(check=check.pk, differences=found[:MOST]))
    return check


# Runs of one kind do not pile up where one takes longer than the pause between two.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext(%s))"

# --- statements ---------------------------------------------------------------------------------------

_TRANSFERS = """
SELECT CASE
    WHEN s.id IS NULL OR d.id IS NULL THEN 'transfer without account'
    WHEN s.book_id <> t.book_id OR d.book_id <> t.book_id THEN 'transfer across books'
    WHEN s.id = d.id OR NOT (t.amount > 0 AND t.amount < 1e20) OR t.amount <> round(t.amount, b.scale)
        THEN 'transfer amount'
    ELSE 'transfer marks' END,
    b.code, coalesce(s.id, d.id), '', 'transfer ' || t.id || ' of ' || t.amount
FROM ledger_transfer t
LEFT JOIN ledger_account s ON s.id = t.source_id
LEFT JOIN ledger_account d ON d.id = t.destination_id
LEFT JOIN ledger_book b ON b.id = t.book_id
WHERE t.xid >= %(since)s::text::xid8 AND (
    s.id IS NULL OR d.id IS NULL OR s.book_id <> t.book_id OR d.book_id <> t.book_id OR s.id = d.id
    OR NOT (t.amount > 0 AND t.amount < 1e20) OR t.amount <> round(t.amount, b.scale)
    OR (s.owner_id IS NULL) <> (t.source_version IS NULL)
    OR (s.owner_id IS NULL) <> (t.source_balance IS NULL)
    OR (d.owner_id IS NULL) <> (t.destination_version IS NULL)
    OR (d.owner_id IS NULL) <> (t.destination_balance IS NULL))
ORDER BY t.created_at, t.id LIMIT %(most)s
"""

# Versions of one account are in the order of its commits, so everything from the first unseen one on is
# read, and the line before it, which an earlier check proved.
_TOUCHED = """
SELECT account, min(version) AS first FROM (
    SELECT source_id AS account, source_version AS version FROM ledger_transfer
    WHERE xid >= %(since)s::text::xid8 AND source_version IS NOT NULL
    UNION ALL
    SELECT destination_id, destination_version FROM ledger_transfer
    WHERE xid >= %(since)s::text::xid8 AND destination_version IS NOT NULL
) seen GROUP BY account
"""
_EVERYBODY = "SELECT id AS account, 1::bigint AS first FROM ledger_account WHERE owner_id IS NOT NULL"

_ACCOUNTS = """
WITH touched AS ({touched}), leg AS (
    SELECT x.account, x.first, t.id, t.source_version AS version, -t.amount AS delta,
           t.source_balance AS balance
    FROM touched x
    JOIN ledger_transfer t ON t.source_id = x.account AND t.source_version >= x.first - 1
    UNION ALL
    SELECT x.account, x.first, t.id, t.destination_version, t.amount, t.destination_balance
    FROM touched x
    JOIN ledger_transfer t ON t.destination_id = x.account AND t.destination_version >= x.first - 1
), step AS (
    SELECT l.*, coalesce(lag(l.version) OVER line, 0) AS last_version,
           coalesce(lag(l.balance) OVER line, 0) AS last_balance
    FROM leg l WINDOW line AS (PARTITION BY l.account ORDER BY l.version, l.id)
), ending AS (
    SELECT x.account, coalesce(max(l.version), 0) AS version,
           coalesce((array_agg(l.balance ORDER BY l.version DESC, l.id DESC))[1], 0) AS balance,
           coalesce(sum(l.delta), 0) AS total
    FROM touched x LEFT JOIN leg l ON l.account = x.account GROUP BY x.account
), difference AS (
    SELECT 'version' AS what, account, (last_version + 1)::text AS expected,
           version || ', transfer ' || id AS found, version AS place
    FROM step WHERE version >= first AND version <> last_version + 1
    UNION ALL
    SELECT 'running balance', account, (last_balance + delta)::text,
           balance || ', version ' || version || ', transfer ' || id, version
    FROM step WHERE version >= first AND version = last_version + 1 AND balance <> last_balance + delta
    UNION ALL
    SELECT 'stored version', a.id, e.version::text, a.version::text, e.version
    FROM ending e JOIN ledger_account a ON a.id = e.account WHERE a.version <> e.version
    UNION ALL
    SELECT 'stored balance', a.id, e.balance::text, a.balance::text, e.version
    FROM ending e JOIN ledger_account a ON a.id = e.account WHERE a.balance <> e.balance
    UNION ALL
    SELECT 'sum of transfers', a.id, e.total::text, a.balance::text, e.version
    FROM ending e JOIN ledger_account a ON a.id = e.account WHERE %(since)s = 0 AND a.balance <> e.total
)
SELECT d.what, b.code, d.account, d.expected, d.found
FROM difference d JOIN ledger_account a ON a.id = d.account JOIN ledger_book b ON b.id = a.book_id
ORDER BY d.account, d.place, d.what LIMIT %(most)s
"""

_BELOW_ZERO = """
SELECT 'below zero', b.code, a.id, '0', a.balance::text
FROM ledger_account a JOIN ledger_book b ON b.id = a.book_id
WHERE a.owner_id IS NOT NULL AND NOT (a.balance >= 0 AND a.balance < 1e20)
ORDER BY a.id LIMIT %(most)s
"""

_BOOKS = f"""
WITH {selectors.SNAPSHOTS}, system AS (
    SELECT book_id, sum(balance) AS total FROM known GROUP BY book_id
), moved AS (
    SELECT k.book_id, sum(l.delta) AS total FROM leg l JOIN known k ON k.id = l.account GROUP BY k.book_id
), customers AS (
    SELECT book_id, sum(balance) AS total FROM ledger_account WHERE owner_id IS NOT NULL GROUP BY book_id
), book AS (
    SELECT b.code, coalesce(c.total, 0) + coalesce(s.total, 0) + coalesce(m.total, 0) AS total
    FROM ledger_book b
    LEFT JOIN customers c ON c.book_id = b.id
    LEFT JOIN system s ON s.book_id = b.id
    LEFT JOIN moved m ON m.book_id = b.id
)
SELECT 'book sum', code, NULL, '0', total::text FROM book WHERE total <> 0 ORDER BY code LIMIT %(most)s
"""  # noqa: S608 - assembled from constants

_SNAPSHOTS = f"""
WITH {selectors.SNAPSHOTS.replace("(SELECT since FROM run)", "'0'::xid8")}, total AS (
    SELECT l.account, sum(l.delta) AS balance FROM leg l, run WHERE l.xid < run.since GROUP BY l.account
)
SELECT 'snapshot', b.code, k.id, coalesce(t.balance, 0)::text, k.balance::text
FROM known k JOIN ledger_book b ON b.id = k.book_id LEFT JOIN total t ON t.account = k.id
WHERE k.balance <> coalesce(t.balance, 0)
ORDER BY k.id LIMIT %(most)s
"""  # noqa: S608 - assembled from constants


def _transfers(since: int) -> Iterator[Difference]:
    return _ask(_TRANSFERS, since)


def _accounts(since: int) -> Iterator[Difference]:
    return _ask(_ACCOUNTS.format(touched=_TOUCHED if since else _EVERYBODY), since)


def _stored(since: int) -> Iterator[Difference]:
    return _ask(_BELOW_ZERO, since)


def _books() -> Iterator[Difference]:
    return _ask(_BOOKS, 0)


def _snapshots() -> Iterator[Difference]:
    return _ask(_SNAPSHOTS, 0)


def _ask(statement: str, since: int) -> Iterator[Difference]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"since": since, "most": MOST})
        for what, book, account, expected, found in cursor.fetchall():
            yield Difference(what=what, book=book, account=account, expected=expected, found=found)
