"""Voiding ticks in the console: one operator asks from the tick inspector, another decides."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from config.core import clock
from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action
from config.core.errors import DomainError
from quotes.admin.parts import effect_from, table, ticks_link, ticks_url
from quotes.models import Instrument, VoidedTick
from quotes.record import in_percent
from quotes.services.voiding import (
    VOID_DEVIATION,
    IndependentPrice,
    approve_void,
    decline_void,
    request_void,
)

if TYPE_CHECKING:
    from quotes.admin.ticks import Row

STANDING = {"requested": "voiding requested", "approved": "voided"}
EFFECT = (
    "Nothing changes until another operator approves. Then orders that rest on this tick and are still open "
    "get their stake back; what was settled stays settled. The tick must lie more than "
    f"{in_percent(VOID_DEVIATION)} from the median of the independent prices."
)


class VoidForm(ReasonForm):
    """The tick, and what says that it is wrong."""

    at = forms.DateTimeField(
        label="At (UTC)",
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "off", "placeholder": "2030-03-05 12:00:00.250"}
        ),
    )
    seq = forms.IntegerField(label="Seq", widget=UnfoldAdminIntegerFieldWidget)
    prices = forms.CharField(
        label="Independent prices",
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="One a line, source and price: kraken 1.08500. At least two, at the instant of the tick, "
        "of sources that did not make it.",
    )
    field_order = ("at", "seq", "prices", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].help_text = "Public with the tick once it is voided: name no people."

    def clean_prices(self) -> list[IndependentPrice]:
        """Read the lines."""
        found = []
        for line in filter(str.strip, self.cleaned_data["prices"].splitlines()):
            source, _, price = line.strip().rpartition(" ")
            try:
                found.append(IndependentPrice(source, Decimal(price)))
            except InvalidOperation:
                raise forms.ValidationError(f"{line.strip()}: write a source and its price.") from None
        return found


def may_request(request: HttpRequest) -> bool:
    """Tell whether this person may ask that a tick be voided."""
    return bool(request.user.has_perm("quotes.add_voidedtick"))


def marked(instrument: Instrument, rows: Sequence["Row"], *, may_request: bool) -> list["Row"]:
    """Return the inspector's rows with what came of voiding each, and where to ask for it."""
    seqs = [row.seq for row in rows if not row.is_late]
    asked = VoidedTick.objects.filter(instrument=instrument, seq__in=seqs, state__in=STANDING)
    standing = dict(asked.values_list("seq", "state"))
    page = reverse("admin:quotes_instrument_void_tick", args=[instrument.pk])
    return [
        row._replace(
            voided=STANDING.get(standing.get(row.seq, ""), ""),
            void_url=f"{page}?{urlencode({'at': clock.iso(row.at), 'seq': row.seq})}"
            if may_request and not row.is_late
            else "",
        )
        for row in rows
    ]


def ask(page: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Ask which tick, by what prices and why; then request it and show it in the inspector."""
    if not object_id.isdecimal():
        raise Http404
    instrument = get_object_or_404(Instrument, pk=object_id)
    given = {name: request.GET[name] for name in ("at", "seq") if name in request.GET}
    form = VoidForm(request.POST if request.method == "POST" else None, initial=given)
    if form.is_valid():
        answers = form.cleaned_data
        try:
            request_void(
                instrument=instrument,
                at=answers["at"],
                seq=answers["seq"],
                independent_prices=answers["prices"],
                actor=request.user,  # type: ignore[arg-type]
                reason=answers["reason"],
            )
        except DomainError as refusal:
            form.add_error(None, refusal.detail)
        else:
            messages.success(request, f"Voiding tick {answers['seq']} of {instrument} is requested.")
            return HttpResponseRedirect(ticks_url(instrument.pk, answers["at"]))
    context = {
        **page.admin_site.each_context(request),
        "title": "Request voiding",
        "opts": page.opts,
        "objects": [instrument],
        "effect": EFFECT,
        "form": form,
        "back": _back(instrument, form),
    }
    return TemplateResponse(request, "console/reason.html", context)


def _back(instrument: Instrument, form: VoidForm) -> str:
    at = form.initial.get("at")
    if at is None:
        return reverse("admin:quotes_instrument_ticks", args=[instrument.pk])
    return f"{reverse('admin:quotes_instrument_ticks', args=[instrument.pk])}?{urlencode({'at': at})}"


def effect(requests: Sequence[VoidedTick]) -> str:
    """Say which ticks would be voided, by how much they deviate, and what becomes of orders."""
    said = [
        f"{each.instrument} at {clock.iso(each.at)}: {each.price.normalize():f}, "
        f"{in_percent(each.deviation)} from the median of {len(each.independent_prices)} others."
        for each in requests
    ]
    return (
        f"{' '.join(said)} Open orders that rest on such a tick get their stake back once they are due; what "
        "is settled stays settled. It stands on the public list for good."
    )


@admin.register(VoidedTick)
class VoidedTickAdmin(ReadOnlyAdmin):
    """Requests to void a tick, and what was decided. Who asked does not decide."""

    list_display = (
        "instrument",
        "tick",
        "price",
        "deviates",
        "standing",
        "requested_by",
        "requested_at",
        "decided_by",
        "decided_at",
    )
    list_filter = ("state", "instrument")
    list_select_related = ("instrument",)
    ordering = ("-id",)
    fields = (
        "instrument",
        "tick",
        "price",
        "others",
        "deviates",
        "standing",
        "reason",
        "requested_by",
        "requested_at",
        "decided_by",
        "decided_at",
    )
    readonly_fields = ("tick", "others", "deviates", "standing", "requested_by", "decided_by")
    actions = actions_detail = ("approve", "decline")

    def get_queryset(self, request: HttpRequest) -> QuerySet[VoidedTick]:
        """Bring the names of those who asked and decided along."""
        people = get_user_model().objects
        return (
            super()
            .get_queryset(request)
            .annotate(
                asker=Subquery(people.filter(pk=OuterRef("requested_by_id")).values("email")[:1]),
                decider=Subquery(people.filter(pk=OuterRef("decided_by_id")).values("email")[:1]),
            )
        )

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this person may decide requests; of one, whether it is open and somebody else's."""
        if not super().has_operate_permission(request):
            return False
        if obj is None:
            return True
        asked = VoidedTick.objects.filter(pk=obj, state=VoidedTick.State.REQUESTED) if obj.isdecimal() else ()
        return any(each.requested_by_id != request.user.pk for each in asked)

    @display(description="Tick")
    def tick(self, voided: VoidedTick) -> Any:
        """Link to the ticks around it."""
        return ticks_link(voided.instrument_id, voided.at, f"{voided.seq} at {clock.iso(voided.at)}", 10)

    @display(description="Deviation")
    def deviates(self, voided: VoidedTick) -> str:
        """Show how far it is from the others, and what that had to exceed."""
        return f"{in_percent(voided.deviation)} (limit {in_percent(voided.limit)})"

    @display(description="Independent prices")
    def others(self, voided: VoidedTick) -> SafeString:
        """Show what the other sources quoted."""
        rows = [(each["source"], each["price"]) for each in voided.independent_prices]
        return table(("Source", "Price"), rows, "None.")

    @display(description="State", label={"requested": "warning", "approved": "danger", "declined": "default"})
    def standing(self, voided: VoidedTick) -> str:
        """Say in a word what was decided."""
        return voided.state

    @display(description="Requested by")
    def requested_by(self, voided: Any) -> str:
        """Name who asked."""
        return voided.asker or f"{voided.requested_by_id}"

    @display(description="Decided by")
    def decided_by(self, voided: Any) -> str:
        """Name who decided."""
        return voided.decider or "–"

    @effect_from(effect)
    @reasoned_action(
        description="Approve",
        effect="These ticks are voided.",
        icon="check",
        variant=ActionVariant.DANGER,
    )
    def approve(self, request: HttpRequest, voided: VoidedTick, reason: str) -> str:
        """Void a tick."""
        approve_void(request=voided, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"Tick {voided.seq} of {voided.instrument} is voided."

    @reasoned_action(
        description="Decline",
        effect="These ticks stay as they are, and orders are decided by them.",
        icon="close",
    )
    def decline(self, request: HttpRequest, voided: VoidedTick, reason: str) -> str:
        """Leave a tick as it is."""
        decline_void(request=voided, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"Tick {voided.seq} of {voided.instrument} stays as it is."
