"""The operator console: the one admin site, for staff with a second factor alone."""

import io
import re
from typing import Any, ClassVar

import qrcode
import qrcode.image.svg
from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView
from django_otp.admin import OTPAdminSite
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.sites import UnfoldAdminSite
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from config import dashboard
from config.core.callers import counted_ip
from config.core.errors import DomainError, TooMany, Unavailable
from config.core.throttle import Limit, take_all
from kyc import services
from kyc.authentication import check_password, sign_in
from kyc.models import User

# One for every reason: another one would tell a stranger that the password was right.
REFUSAL = "The e-mail address, the password or the code is wrong. Wait a few seconds before you try again."
ENTRANCE = Limit("console", per_second=0.2, burst=20, per="ip")
ICONS = {
    "kyc.user": "group",
    "kyc.restriction": "block",
    "kyc.jurisdiction": "gavel",
    "kyc.refreshfamily": "devices",
    "quotes.instrument": "candlestick_chart",
    "quotes.calendar": "calendar_month",
    "quotes.gap": "signal_disconnected",
    "quotes.tick": "timeline",
    "quotes.source": "hub",
    "quotes.sourcestate": "monitor_heart",
    "quotes.fixreject": "report",
    "quotes.markup": "price_change",
    "quotes.recordday": "inventory_2",
    "quotes.recordpart": "folder_zip",
    "quotes.candlecheck": "rule",
    "quotes.simulationhour": "casino",
    "quotes.voidedtick": "contract_delete",
    "ledger.book": "menu_book",
    "ledger.account": "account_balance_wallet",
    "ledger.transfer": "swap_horiz",
    "ledger.balancesnapshot": "photo_camera",
    "trading.order": "receipt_long",
    "trading.correction": "currency_exchange",
    "trading.terms": "tune",
    "trading.payoutrate": "percent",
    "trading.bookterms": "rule",
    "trading.exposure": "local_fire_department",
    "trading.risklimit": "front_hand",
    "trading.curb": "block",
    "trading.hedgeterms": "balance",
    "trading.hedgeorder": "swap_vert",
    "trading.hedgeexecution": "handshake",
    "trading.riskalert": "warning",
    "trading.refusals": "do_not_disturb_on",
    "trading.tally": "leaderboard",
    "trading.volatilityestimate": "ssid_chart",
    "trading.customerlimits": "pan_tool",
    "kyc.switch": "toggle_on",
    "core.fact": "outbox",
    "core.auditentry": "policy",
    "django_celery_beat.periodictask": "schedule",
    "django_celery_beat.intervalschedule": "timer",
    "django_celery_beat.crontabschedule": "event_repeat",
    "ledger.ledgercheck": "fact_check",
}
# What an operator looks at most comes first.
GROUPS = ("trading", "quotes", "kyc", "ledger", "core", "django_celery_beat")


class ConsoleSignInForm(AdminAuthenticationForm):
    """E-mail, password and the code of the second factor, in one step."""

    username = forms.CharField(
        label="E-mail",
        max_length=254,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": "", "autocomplete": "username"}),
    )
    password = forms.CharField(
        label="Password",
        max_length=1024,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"}),
    )
    code = forms.CharField(
        label="Code of your authenticator app",
        max_length=32,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code"}),
        help_text="Or one of your recovery codes.",
    )

    def clean(self) -> dict[str, Any]:
        """Check all three; nobody learns which part of a stranger's guess was right."""
        given = self.cleaned_data
        if self.errors or self.request is None:
            return given
        try:
            take_all([(ENTRANCE, counted_ip(self.request))])
            user = check_password(self.request, email=given["username"], password=given["password"])
        except (TooMany, Unavailable) as refusal:
            raise ValidationError(refusal.detail, code=refusal.code) from None
        except DomainError:
            raise ValidationError(REFUSAL) from None
        try:
            device = services.verify_otp(user=user, code=given["code"]) if user.is_staff else None
        except DomainError:
            device = None
        if device is None:
            raise ValidationError(REFUSAL)
        user.otp_device = device  # type: ignore[attr-defined]
        self.user_cache = user
        return given


class Console(UnfoldAdminSite, OTPAdminSite):
    """Unfold's looks on django-otp's rule: only verified staff enter."""

    login_form = ConsoleSignInForm
    login_template = "console/sign_in.html"
    index_title = "Dashboard"

    def get_urls(self) -> list[URLPattern]:
        """Add enrolment, the one page for staff without a second factor, and the dashboard's live part."""
        own = [
            path("enrol/<str:token>/", Enrol.as_view(site=self), name="enrol"),
            path("live/", self.admin_view(dashboard.live), name="live"),
        ]
        return [*own, *super().get_urls()]

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Sign in; an operator's session is short."""
        response = super().login(request, extra_context)
        if request.method == "POST" and isinstance(response, HttpResponseRedirect):
            request.session.set_expiry(settings.OPERATOR_SESSION_AGE)
        return response

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Send to the one way a password changes: by mail, ending every other session."""
        return redirect("kyc:password-reset")

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return every registered page, grouped by app, with an icon."""
        apps = {app["app_label"]: app for app in self.get_app_list(request)}
        order = [label for label in GROUPS if label in apps] + [x for x in apps if x not in GROUPS]
        first = {
            "title": None,
            "items": [{"title": "Dashboard", "icon": "monitoring", "link": reverse(f"{self.name}:index")}],
        }
        groups = [first, *({"title": apps[x]["name"], "items": _items(apps[x])} for x in order)]
        for group in groups:
            group["items"] = self._get_navigation_items(request, group["items"])
        return groups


def _items(app: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "title": model["name"],
            "icon": ICONS.get(model["model"]._meta.label_lower, "database"),
            "link": model["admin_url"],
        }
        for model in app["models"]
        if model["admin_url"]
    ]


class EnrolForm(forms.Form):
    """A new password and the first code of the app."""

    password = forms.CharField(
        label="Choose a password",
        max_length=1024,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters. A password of before ends.",
    )
    code = forms.CharField(
        label="Code the app shows now",
        max_length=10,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


@method_decorator([sensitive_post_parameters(), never_cache], name="dispatch")
class Enrol(FormView):
    """An invitation's one page: password, authenticator app, recovery codes."""

    template_name = "console/enrol.html"
    form_class = EnrolForm
    site: ClassVar[Any] = None
    user: User
    device: TOTPDevice

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Let whoever holds a valid invitation in."""
        try:
            take_all([(ENTRANCE, counted_ip(request))])
            self.user = services.invited(self.kwargs["token"])
        except DomainError as refusal:
            context = {**self.site.each_context(request), "title": "Invitation", "refusal": refusal}
            return TemplateResponse(request, "console/enrol.html", context, status=refusal.status)
        self.device = services.invited_app(self.user, self.kwargs["token"])
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Show the app's secret as a QR code and in letters."""
        return super().get_context_data(
            **self.site.each_context(self.request),
            title="Set up your access",
            invited=self.user,
            qr=qr_svg(self.device.config_url),
            uri=self.device.config_url,
            **context,
        )

    def form_valid(self, form: EnrolForm) -> HttpResponse:
        """Accept the invitation, sign in, and show the recovery codes this once."""
        given = form.cleaned_data
        try:
            user, device, codes = services.accept_invitation(token=self.kwargs["token"], **given)
        except DomainError as refusal:
            words = refusal.details.get("errors", {}).get("password")
            form.add_error("password" if words else None, words or refusal.detail)
            return self.form_invalid(form)
        # Before signing in: the second factor counts from the next request on.
        context = {**self.site.each_context(self.request), "title": "Recovery codes", "codes": codes}
        sign_in(self.request, user, device)
        return TemplateResponse(self.request, "console/enrol.html", context)


def qr_svg(text: str) -> SafeString:
    """Return a QR code as inline SVG."""
    buffer = io.BytesIO()
    qrcode.make(text, image_factory=qrcode.image.svg.SvgPathImage, border=2).save(buffer)
    _, _, svg = buffer.getvalue().decode().partition("?>")
    sized = re.sub(r' (width|height)="[\d.]+mm"', "", svg, count=2)
    return mark_safe(sized)  # noqa: S308 - drawn from our own text, letters become modules
