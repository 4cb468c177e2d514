"""Instruments in the console: their settings, who quotes them, what customer groups see of the quotes."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from config.core import clock
from config.core.console import ConsoleAdmin, ReadOnlyAdmin, reasoned_action
from quotes import selectors, services
from quotes.admin import ticks, voids
from quotes.admin.forms import FOR_GOOD, InstrumentForm, MarkUpForm, QuotationForm, RemoveQuotationForm
from quotes.admin.parts import LINK, table, ticks_link
from quotes.models import Instrument, MarkUp
from quotes.services.instruments import CHANGEABLE
from quotes.services.markups import set_mark_up
from quotes.services.quotations import add_quotation, remove_quotation

SHOWN_TICKS = 20


@admin.register(Instrument)
class InstrumentAdmin(ConsoleAdmin):
    """What is traded. Every change goes through a service, with a reason; the feed follows within seconds."""

    form = InstrumentForm
    list_display = ("symbol", "name", "state", "quoted_by", "prices_of", "last", "tick_age", "watermark_age")
    list_filter = ("instrument_class", "is_listed", "is_suspended", "source")
    search_fields = ("symbol__startswith",)
    fieldsets = (
        (None, {"fields": ("symbol", "name", "instrument_class", "price_decimals", "calendar", "is_listed")}),
        ("Freshness", {"fields": ("max_quote_age_ms", "max_source_lag_ms", "tick_interval_ms")}),
        (
            "Quotes",
            {
                "fields": (
                    "source",
                    "source_symbol",
                    "further_sources",
                    "aggregation",
                    "max_spread",
                    "max_jump",
                    "max_source_age_ms",
                    "fail_over_after_ms",
                    "fail_back_after_ms",
                )
            },
        ),
        ("Simulation", {"fields": ("simulated_price", "simulated_volatility", "simulated_interval_ms")}),
        ("Shown to customers", {"fields": ("mark_ups",)}),
        ("Record", {"fields": ("recent_ticks",)}),
        ("Why", {"fields": ("reason",)}),
    )
    shown = ("further_sources", "mark_ups", "recent_ticks")
    actions = ("suspend", "resume")
    actions_detail = (
        "ticks",
        "void_tick",
        "suspend",
        "resume",
        {
            "title": "Quotes",
            "icon": "hub",
            "items": ["add_quotation", "remove_quotation", "set_mark_up"],
        },
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instrument]:
        """Bring the watermarks and further sources along."""
        return super().get_queryset(request).select_related("watermark").prefetch_related("quotations")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep what is for good."""
        return (*FOR_GOOD, *self.shown) if obj else self.shown

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: an instrument is unlisted, and stays on record."""
        return False

    def save_model(self, request: HttpRequest, obj: Instrument, form: Any, change: bool) -> None:
        """Save through the services, which keep the reason."""
        given = {name: form.cleaned_data[name] for name in CHANGEABLE if name in form.cleaned_data}
        if change:
            services.change_instrument(
                instrument=obj,
                actor=request.user,  # type: ignore[arg-type]
                reason=form.cleaned_data["reason"],
                **given,
            )
            return
        made = services.create_instrument(
            actor=request.user,  # type: ignore[arg-type]
            **{name: form.cleaned_data[name] for name in FOR_GOOD},
            **given,
        )
        obj.pk = made.pk

    # --- what is shown --------------------------------------------------------------------------------

    @display(description="State", label={"trading": "success", "suspended": "warning", "unlisted": "danger"})
    def state(self, instrument: Instrument) -> str:
        """Say in a word whether it takes orders, hours aside."""
        if not instrument.is_listed:
            return "unlisted"
        return "suspended" if instrument.is_suspended else "trading"

    @display(description="Quoted by")
    def quoted_by(self, instrument: Instrument) -> str:
        """Name the sources in force and how their quotes become one price."""
        codes = [selectors.source_of(instrument), *(each.source for each in instrument.quotations.all())]
        return codes[0] if len(codes) == 1 else f"{instrument.aggregation} of {', '.join(codes)}"

    @display(description="Last price of")
    def prices_of(self, instrument: Instrument) -> str:
        """Name whose prices the last tick was."""
        return instrument.watermark.source or "–"

    @display(description="Last price")
    def last(self, instrument: Instrument) -> Any:
        """Show the last tick's price, and lead to the ticks around it."""
        mark = instrument.watermark
        if mark.last_price is None:
            return "–"
        return ticks_link(instrument.pk, mark.last_at, f"{mark.last_price:.{instrument.price_decimals}f}")

    @display(description="Last tick")
    def tick_age(self, instrument: Instrument) -> str:
        """Show how old the last tick is."""
        at = instrument.watermark.last_at
        return "–" if at is None else f"{(clock.now() - at).total_seconds():,.1f} s ago"

    @display(description="Watermark age")
    def watermark_age(self, instrument: Instrument) -> str:
        """Show how far the record is behind the clock."""
        return f"{(clock.now() - instrument.watermark.at).total_seconds():,.1f} s"

    @display(description="Further sources")
    def further_sources(self, instrument: Instrument) -> Any:
        """Show who else quotes it, in order."""
        if instrument._state.adding:
            return "Add them once the instrument is there."
        rows = [(each.rank, each.source, each.source_symbol) for each in instrument.quotations.all()]
        return table(
            ("Rank", "Source", "Symbol there"), rows, "None: its first source alone makes the price."
        )

    @display(description="Mark-ups in force")
    def mark_ups(self, instrument: Instrument) -> Any:
        """Show each group's mark-up, and the bid and ask it sees now."""
        if instrument._state.adding:
            return "–"
        newest = MarkUp.objects.filter(instrument=instrument).order_by("group", "-version").distinct("group")
        state = selectors.instrument_by_symbol(instrument.symbol)
        rows = []
        for each in newest:
            seen = selectors.displayed_quote(state, each.group)
            rows.append(
                (
                    each.group,
                    f"{each.amount.normalize():f}",
                    f"{each.min_spread.normalize():f}",
                    "–" if seen is None else f"{seen.bid:f} / {seen.ask:f}",
                    f"{each.created_at:%Y-%m-%d %H:%M}",
                    each.version,
                )
            )
        history = f"{reverse('admin:quotes_markup_changelist')}?instrument__id__exact={instrument.pk}"
        headers = ("Group", "Amount", "Least spread", "Sees now", "Since (UTC)", "Version")
        shown = table(headers, rows, "None: everybody sees the bid and ask as quoted.")
        return (
            format_html('{}<a href="{}" class="{}">All versions</a>', shown, history, LINK) if rows else shown
        )

    @display(description="Newest ticks")
    def recent_ticks(self, instrument: Instrument) -> Any:
        """Show the newest ticks of the record."""
        if instrument._state.adding:
            return "–"
        found = selectors.ticks_page(instrument, limit=SHOWN_TICKS)[::-1]
        rows = [
            (each.seq, clock.iso(each.at), f"{each.price:.{instrument.price_decimals}f}") for each in found
        ]
        return table(("Seq", "At", "Price"), rows, "None yet.")

    # --- what is done ---------------------------------------------------------------------------------

    @action(description="Ticks", icon="query_stats", permissions=["view"])
    def ticks(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the ticks around an instant."""
        return ticks.inspect(self, request, object_id)

    def has_request_void_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this person may ask that a tick be voided."""
        return voids.may_request(request)

    @action(description="Void a tick", icon="contract_delete", permissions=["request_void"])
    def void_tick(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask that a tick be voided."""
        return voids.ask(self, request, object_id)

    @reasoned_action(
        description="Suspend",
        effect="These instruments take no new orders. Open orders are settled as agreed.",
        icon="pause",
        variant=ActionVariant.DANGER,
    )
    def suspend(self, request: HttpRequest, instrument: Instrument, reason: str) -> str:
        """Refuse new orders."""
        services.suspend_instrument(instrument=instrument, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"{instrument} is suspended."

    @reasoned_action(
        description="Resume",
        effect="These instruments take orders again, while their market is open.",
        icon="play_arrow",
    )
    def resume(self, request: HttpRequest, instrument: Instrument, reason: str) -> str:
        """Accept orders again."""
        services.resume_instrument(instrument=instrument, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"{instrument} takes orders again."

    @reasoned_action(
        description="Add a source",
        effect="From the next second or two on this source quotes the instrument as well. A change of who "
        "makes the price is a gap: orders that need a price in it are refunded.",
        form=QuotationForm,
        icon="add_link",
    )
    def add_quotation(self, request: HttpRequest, instrument: Instrument, **given: Any) -> str:
        """Add a further source."""
        add_quotation(instrument=instrument, actor=request.user, **given)  # type: ignore[arg-type]
        return f"{instrument} is quoted by {given['source']} as well."

    @reasoned_action(
        description="Remove a source",
        effect="This further source quotes the instrument no longer; the others keep their ranks. If it "
        "makes the price now, another takes over with a gap.",
        form=RemoveQuotationForm,
        icon="link_off",
        variant=ActionVariant.DANGER,
    )
    def remove_quotation(self, request: HttpRequest, instrument: Instrument, **given: Any) -> str:
        """Remove a further source."""
        remove_quotation(instrument=instrument, actor=request.user, **given)  # type: ignore[arg-type]
        return f"{instrument} is no longer quoted by {given['source']}."

    @reasoned_action(
        description="Set a mark-up",
        effect="Customers of this group see bid and ask with it from the next quote on. Ticks, and what "
        "decides an order, stay as they are.",
        form=MarkUpForm,
        icon="price_change",
    )
    def set_mark_up(self, request: HttpRequest, instrument: Instrument, **given: Any) -> str:
        """Put a mark-up in force."""
        made = set_mark_up(instrument=instrument, actor=request.user, **given)  # type: ignore[arg-type]
        return f"{instrument} for {made.group}: version {made.version} is in force."


@admin.register(MarkUp)
class MarkUpAdmin(ReadOnlyAdmin):
    """Every version of every mark-up; the newest of an instrument and group is in force."""

    list_display = (
        "instrument",
        "group",
        "version",
        "amount",
        "min_spread",
        "created_at",
        "created_by",
        "reason",
    )
    list_filter = ("instrument",)
    list_select_related = ("instrument",)
    ordering = ("-id",)
    fields = ("instrument", "group", "version", "amount", "min_spread", "created_at", "created_by", "reason")
    readonly_fields = ("created_by",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[MarkUp]:
        """Bring the names of those who set them along."""
        people = get_user_model().objects.filter(pk=OuterRef("created_by_id"))
        return super().get_queryset(request).annotate(by=Subquery(people.values("email")[:1]))

    @display(description="By")
    def created_by(self, mark_up: Any) -> str:
        """Name who set it."""
        return mark_up.by or "system"
