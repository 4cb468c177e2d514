"""What the pages of an instrument ask."""

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from config.core import clock
from config.core.console import ReasonForm
from quotes import rules
from quotes.errors import InvalidInstrument
from quotes.models import Instrument
from quotes.services.instruments import CHANGEABLE, check_instrument
from quotes.services.sources import known_sources

# What stored prices and decided orders rest on.
FOR_GOOD = ("symbol", "instrument_class", "price_decimals", "calendar")


def source_choices() -> list[tuple[str, str]]:
    """Name every source an instrument may have."""
    return [(code, code if code == kind else f"{code} ({kind})") for code, kind in known_sources().items()]


class InstrumentForm(forms.ModelForm):
    """An instrument's settings, and why they change."""

    source = forms.ChoiceField(choices=source_choices, widget=UnfoldAdminSelectWidget)
    reason = forms.CharField(min_length=3, max_length=1000, widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = Instrument
        fields = (*FOR_GOOD, *sorted(CHANGEABLE))

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            self.instance.changed_at = self.instance.changed_at or clock.now()
            try:
                check_instrument(self.instance)
            except InvalidInstrument as refusal:
                self.add_error(None, refusal.detail)


class QuotationForm(ReasonForm):
    """A further source."""

    source = forms.ChoiceField(choices=source_choices, widget=UnfoldAdminSelectWidget)
    source_symbol = forms.CharField(
        max_length=80,
        label="Its symbol there",
        help_text="What this source calls the instrument, e.g. BTC/USD.",
        widget=UnfoldAdminTextInputWidget,
    )
    rank = forms.IntegerField(
        min_value=1,
        max_value=100,
        help_text="1 comes after the instrument's first source.",
        widget=UnfoldAdminIntegerFieldWidget,
    )
    field_order = ("source", "source_symbol", "rank", "reason")


class RemoveQuotationForm(ReasonForm):
    """The further source that goes."""

    source = forms.ChoiceField(choices=source_choices, widget=UnfoldAdminSelectWidget)
    field_order = ("source", "reason")


class MarkUpForm(ReasonForm):
    """What a customer group sees added."""

    group = forms.SlugField(
        max_length=20,
        initial=rules.STANDARD,
        label="Customer group",
        help_text="A group without a mark-up of its own sees that of standard.",
        widget=UnfoldAdminTextInputWidget,
    )
    amount = forms.DecimalField(
        min_value=0,
        max_digits=20,
        decimal_places=8,
        initial=0,
        help_text="Taken from the bid and added to the ask, in the price's own measure, e.g. 0.00005.",
        widget=UnfoldAdminDecimalFieldWidget,
    )
    min_spread = forms.DecimalField(
        min_value=0,
        max_digits=20,
        decimal_places=8,
        initial=0,
        label="Least spread",
        help_text="A narrower bid and ask are shown this wide. Two zeros end a mark-up.",
        widget=UnfoldAdminDecimalFieldWidget,
    )
    field_order = ("group", "amount", "min_spread", "reason")
