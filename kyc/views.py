"""Pages on which people sign up, sign in and out, and choose a new password."""

from typing import Any

from django.conf import settings
from django.contrib.auth import logout, views
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, resolve_url
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView, TemplateView

from config.core import clock
from config.core.callers import counted_ip
from config.core.errors import DomainError
from config.core.throttle import Limit, take_all
from kyc import api, forms, selectors, services, tasks
from kyc.authentication import check_password, session_name, sign_in
from kyc.models import User

# Between the password and the code of the second factor.
PENDING, PENDING_SECONDS = "sign-in pending", 300
RESET = Limit("password-reset", per_second=1 / 60, burst=5, per="ip")


def take(limit: Limit, request: HttpRequest) -> None:
    """Count a page's request as the API counts its own; raise TooMany."""
    take_all([(limit, counted_ip(request))])


def onward(request: HttpRequest) -> str:
    """Return where to go after signing in: `next` when it is ours, else the terminal."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure()):
        return target
    return resolve_url(settings.LOGIN_REDIRECT_URL)


@method_decorator([sensitive_post_parameters(), never_cache], name="dispatch")
class Page(FormView):
    """A form whose `perform` may be refused; refusals are shown on it."""

    def perform(self, form: Any) -> HttpResponse:
        """Do what the form asks for and return where that leads; may raise DomainError."""
        raise NotImplementedError

    def form_valid(self, form: Any) -> HttpResponse:
        """Perform, or show the refusal."""
        try:
            return self.perform(form)
        except DomainError as refusal:
            forms.show(form, refusal)
            response = self.form_invalid(form)
            if refusal.retry_after_seconds is not None:
                response.status_code = refusal.status
                response["Retry-After"] = str(refusal.retry_after_seconds)
            return response

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Hand `next` on from page to page."""
        return super().get_context_data(
            next=self.request.POST.get("next") or self.request.GET.get("next"), **context
        )


class SignIn(Page):
    """E-mail and password; whoever has a second factor is asked for it next."""

    template_name = "kyc/sign_in.html"
    form_class = forms.SignInForm

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form to strangers, the terminal to those who are signed in."""
        if request.user.is_authenticated:
            return HttpResponseRedirect(onward(request))
        return super().get(request, *args, **kwargs)

    def perform(self, form: forms.SignInForm) -> HttpResponse:
        """Sign in, or remember for five minutes that the password was right."""
        take(api.SIGN_IN, self.request)
        user = check_password(self.request, **form.cleaned_data)
        if selectors.has_otp(user):
            self.request.session.cycle_key()
            self.request.session[PENDING] = {"user": user.pk, "at": clock.now().timestamp()}
            return redirect(f"{reverse('kyc:sign-in-code')}?{self.request.GET.urlencode()}")
        sign_in(self.request, user)
        return HttpResponseRedirect(onward(self.request))


class SignInCode(Page):
    """The second factor."""

    template_name = "kyc/sign_in_code.html"
    form_class = forms.CodeForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Let only those in who gave their password a moment ago."""
        if self.waiting() is None:
            return redirect("kyc:sign-in")
        return super().dispatch(request, *args, **kwargs)

    def waiting(self) -> User | None:
        """Return who gave his password less than five minutes ago."""
        pending = self.request.session.get(PENDING)
        if not pending or clock.now().timestamp() - pending["at"] > PENDING_SECONDS:
            return None
        return selectors.person_of_session(pending["user"])

    def perform(self, form: forms.CodeForm) -> HttpResponse:
        """Check the code and sign in."""
        user = self.waiting()
        if user is None:
            return redirect("kyc:sign-in")
        device = services.verify_otp(user=user, code=form.cleaned_data["code"])
        sign_in(self.request, user, device)
        self.request.session.pop(PENDING, None)
        return HttpResponseRedirect(onward(self.request))


class SignUp(Page):
    """Open an account and go straight to the terminal."""

    template_name = "kyc/sign_up.html"
    form_class = forms.SignUpForm

    def perform(self, form: forms.SignUpForm) -> HttpResponse:
        """Register and sign in."""
        take(api.SIGN_UP, self.request)
        user = services.register_customer(**form.cleaned_data)
        sign_in(self.request, user)
        return HttpResponseRedirect(onward(self.request))


class SignOut(View):
    """End this browser's session, by POST alone."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Sign out."""
        if isinstance(request.user, User):
            services.end_page_session(user=request.user, session=session_name(request.session.session_key))
        logout(request)
        return redirect(settings.LOGOUT_REDIRECT_URL)


class PasswordReset(Page):
    """Ask for a link; the answer is the same whether or not the address has an account."""

    template_name = "kyc/password_reset.html"
    form_class = forms.PasswordResetForm

    def perform(self, form: forms.PasswordResetForm) -> HttpResponse:
        """Have the link sent."""
        take(RESET, self.request)
        tasks.send_password_reset.delay(form.cleaned_data["email"])
        return redirect("kyc:password-reset-done")


class PasswordResetSent(TemplateView):
    template_name = "kyc/password_reset_done.html"


class PasswordResetConfirm(views.PasswordResetConfirmView):
    template_name = "kyc/password_reset_confirm.html"
    form_class = forms.NewPasswordForm
    success_url = reverse_lazy("kyc:password-reset-complete")


class PasswordResetSaved(TemplateView):
    template_name = "kyc/password_reset_complete.html"
