"""Try a source from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import Invalid
from quotes import selectors
from quotes.intake import subscription_of
from quotes.lanes import Connection
from quotes.models import Instrument, Source
from quotes.sources.probe import ProbeReport, SymbolReport, probe


class Command(BaseCommand):
    """Connect to a source for some seconds and say what came; nothing of it enters the record."""

    help = "Try a source: connect, ask for symbols, print what comes. Ends with 1 when no quote came."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the source, the symbols, the time."""
        parser.add_argument("code", help="the source, enabled or not")
        parser.add_argument(
            "--symbols", nargs="+", default=[], help="as the source calls them; without, those it quotes here"
        )
        parser.add_argument("--seconds", type=float, default=10.0)

    def handle(self, *args: Any, **options: Any) -> None:
        """Try it; raise CommandError for what cannot be tried, and when no quote came."""
        connection = _connection(options["code"])
        symbols = options["symbols"] or _symbols_of(connection.code)
        if not symbols:
            raise CommandError(f"no instrument is quoted by {connection.code}: name some --symbols")
        self.stdout.write(f"{connection.code} ({connection.kind}): {', '.join(symbols)}")
        try:
            report = probe(connection, symbols, options["seconds"], self._tell)
        except Invalid as error:
            raise CommandError(error.detail) from None
        self._print(report)
        if not report.is_quoting:
            raise CommandError("no quote came", returncode=1)

    def _tell(self, report: ProbeReport) -> None:
        self.stdout.write(f"{report.seconds:5.1f} s  {report.quotes} quotes, {report.heartbeats} heartbeats")
        self.stdout.flush()

    def _print(self, report: ProbeReport) -> None:
        for each in report.symbols:
            self.stdout.write(_line(each))
        lag, offset = (
            "unknown" if value is None else f"{value} ms" for value in (report.lag_ms, report.offset_ms)
        )
        self.stdout.write(
            f"{report.quotes} quotes and {report.heartbeats} heartbeats over {report.connects} connections "
            f"in {report.seconds:.1f} s; lag {lag}, its clock less ours {offset}"
        )
        if report.ignored:
            counted = ", ".join(f"{reason} {count}" for reason, count in sorted(report.ignored.items()))
            self.stdout.write(f"no quotes: {counted}")
        if report.error:
            self.stdout.write(f"last error: {report.error}")


def _line(each: SymbolReport) -> str:
    if each.first is None or each.last is None:
        return f"{each.symbol}: nothing"
    return (
        f"{each.symbol}: {each.quotes} quotes, first {each.first.bid} / {each.first.ask}, "
        f"last {each.last.bid} / {each.last.ask}, spread {each.spread}"
    )


def _connection(code: str) -> Connection:
    row = Source.objects.filter(pk=code).first()
    if row is not None:
        return Connection(row.code, row.kind, row.url, row.secret_ref, row.options)
    for connection in selectors.connections():
        if connection.code == code:
            return connection
    raise CommandError(f"there is no source {code}")


def _symbols_of(code: str) -> list[str]:
    feeds = [
        each.source_symbol
        for row in Instrument.objects.order_by("symbol").prefetch_related("quotations")
        for each in subscription_of(row).by_source()
        if each.source == code
    ]
    return list(dict.fromkeys(filter(None, feeds)))
