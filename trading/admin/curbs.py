"""Kill switches, event windows and the risk watcher's measures in the console."""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
)

from config.core import clock
from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action, reasoned_page
from kyc.models import User
from payments.ledger.models import Book
from quotes.models import Instrument
from trading import services
from trading.models import Curb, Order, RiskAlert

MOST_BYTES = 512 * 1024
ANY = [("", "any")]


class CurbForm(ReasonForm):
    """What is held back, where, and until when."""

    effect = forms.ChoiceField(choices=Curb.Effect, widget=UnfoldAdminSelectWidget)
    book = forms.ModelChoiceField(
        Book.objects.all(), required=False, empty_label="any", widget=UnfoldAdminSelectWidget
    )
    instrument = forms.ModelChoiceField(
        Instrument.objects.all(), required=False, empty_label="any", widget=UnfoldAdminSelectWidget
    )
    instrument_class = forms.ChoiceField(
        choices=[*ANY, *Instrument.Class.choices],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Instead of an instrument.",
    )
    contract = forms.ChoiceField(
        choices=[*ANY, *Order.Contract.choices], required=False, widget=UnfoldAdminSelectWidget
    )
    side = forms.ChoiceField(
        choices=[*ANY, *Order.Side.choices], required=False, widget=UnfoldAdminSelectWidget
    )
    cut = forms.DecimalField(
        max_digits=4,
        decimal_places=4,
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Of lower payouts: what rates fall by, e.g. 0.10.",
    )
    starts_at = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget(), help_text="UTC. Empty: now."
    )
    ends_at = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget(), help_text="UTC. Empty: until it is lifted."
    )
    field_order = (
        "effect",
        "book",
        "instrument",
        "instrument_class",
        "contract",
        "side",
        "cut",
        "starts_at",
        "ends_at",
        "reason",
    )


class EventsForm(ReasonForm):
    """A calendar of economic events."""

    file = forms.FileField(
        required=False, label="CSV file", widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,text/csv"})
    )
    text = forms.CharField(
        required=False,
        label="Or its lines",
        max_length=MOST_BYTES,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false"}),
        help_text="at,symbol,name,minutes_before,minutes_after: 2030-01-04T13:30:00Z,EURUSD,Payrolls,2,5. "
        "A symbol, class:fx, or * for all. Without minutes: 2 and 5.",
    )
    field_order = ("file", "text", "reason")

    def clean(self) -> dict[str, Any]:
        """Have one text, whichever way it came."""
        given = self.cleaned_data
        if file := given.pop("file", None):
            if file.size > MOST_BYTES:
                raise forms.ValidationError(f"The file is larger than {MOST_BYTES // 1024} KB.")
            try:
                given["text"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError:
                raise forms.ValidationError("The file is not UTF-8 text.") from None
        if not given.get("text", "").strip():
            raise forms.ValidationError("Choose a file, or paste its lines.")
        return given


class InForce(admin.SimpleListFilter):
    """Whether a curb holds now, will, or has ended."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the states."""
        return [("now", "in force"), ("later", "to come"), ("over", "ended")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep those of the state."""
        now = clock.now()
        match self.value():
            case "now":
                return queryset.filter(starts_at__lte=now).exclude(ends_at__lte=now)
            case "later":
                return queryset.filter(starts_at__gt=now)
            case "over":
                return queryset.filter(ends_at__lte=now)
        return queryset


def over(curb: Curb) -> str:
    """Name what a curb holds back: "VOL100, touch in real-usd", say, or "everything"."""
    kinds = dict(Instrument.Class.choices)
    named = [
        curb.instrument.symbol if curb.instrument else "",
        kinds.get(curb.instrument_class, ""),
        dict(Order.Contract.choices).get(curb.contract, ""),
        curb.side,
    ]
    said = ", ".join(filter(None, named)) or "everything"
    return f"{said} in {curb.book.code}" if curb.book else said


@admin.register(Curb)
class CurbAdmin(ReadOnlyAdmin):
    list_display = (
        "effect",
        "state",
        "over",
        "cut",
        "starts_at",
        "ends_at",
        "set_by",
        "comment",
    )
    list_filter = (InForce, "effect", "book")
    list_select_related = ("book", "instrument", "set_by")
    actions: ClassVar[Any] = ["lift"]
    actions_detail: ClassVar[Any] = ["lift"]
    actions_list: ClassVar[Any] = ["hold_back", "import_events"]

    @display(description="State", label={"in force": "danger", "to come": "warning", "ended": "info"})
    def state(self, curb: Curb) -> str:
        """Say whether it holds now."""
        now = clock.now()
        if curb.ends_at is not None and curb.ends_at <= now:
            return "ended"
        return "to come" if curb.starts_at > now else "in force"

    @display(description="Over")
    def over(self, curb: Curb) -> str:
        """Say what it holds back."""
        return over(curb)

    @reasoned_action(
        description="Lift the curb",
        effect="It ends now, for orders and sales from now on. What the risk watcher set stays lifted while "
        "its alert lasts.",
    )
    def lift(self, request: HttpRequest, obj: Curb, reason: str) -> str:
        lifted = services.lift_curb(curb=obj, actor=cast(User, request.user), reason=reason)
        return f"{obj} is lifted." if lifted else f"{obj} had ended already."

    @reasoned_page(
        description="Hold trading back",
        effect="A kill switch: what is named is held back from now on, for everybody. What is left empty is "
        "any. Open orders go on to their end.",
        form=CurbForm,
        icon="front_hand",
    )
    def hold_back(self, request: HttpRequest, reason: str, **held: Any) -> str:
        curb = services.set_curb(actor=cast(User, request.user), comment=reason, **held)
        return f"Set: {curb.get_effect_display()}, over {over(curb)}."

    @reasoned_page(
        description="Import economic events",
        effect="Around each event rise/fall alone is offered, and nothing is bought back early. All lines "
        "are recorded or none; those recorded before stay as they are.",
        form=EventsForm,
        icon="event",
    )
    def import_events(self, request: HttpRequest, text: str, reason: str) -> str:
        new, known = services.import_events(text=text, actor=cast(User, request.user), reason=reason)
        return f"{new} events recorded, {known} were known."


@admin.register(RiskAlert)
class RiskAlertAdmin(ReadOnlyAdmin):
    list_display = ("opened_at", "book", "limit", "used", "most", "highest", "closed_at", "measures")
    list_filter = ("book", ("closed_at", admin.EmptyFieldListFilter))
    list_select_related = ("book", "limit")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read what was done with the alerts."""
        return super().get_queryset(request).prefetch_related("curbs")

    @display(description="Measures")
    def measures(self, alert: RiskAlert) -> str:
        """Name what the watcher did."""
        return ", ".join(curb.get_effect_display() for curb in alert.curbs.all()) or "told operators"
