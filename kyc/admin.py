"""The console's pages about people."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config.core.console import ConsoleAdmin, ReadOnlyAdmin, ReasonForm, link_to, reasoned_action
from kyc import rules, selectors, services
from kyc.errors import CountryUnknown
from kyc.models import Jurisdiction, RefreshFamily, Restriction, Switch, User


def operator(request: HttpRequest) -> User:
    """Return who acts; the site lets nobody else in."""
    return cast(User, request.user)


class RestrictForm(ReasonForm):
    """What is forbidden, and until when."""

    scope = forms.ChoiceField(choices=Restriction.Scope.choices, widget=UnfoldAdminSelectWidget)
    ends_at = forms.DateTimeField(
        required=False,
        label="Until (UTC)",
        help_text="Empty: until it is lifted.",
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
    )
    field_order = ("scope", "ends_at", "reason")


class GroupForm(ReasonForm):
    """The group a customer goes to."""

    group = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget,
        help_text="For example standard. A group without a mark-up of its own sees that of standard.",
    )
    field_order = ("group", "reason")


class RestrictionInline(TabularInline):
    model = Restriction
    fk_name = "customer"
    fields = ("scope", "reason", "starts_at", "ends_at", "lifted_at", "made_by")
    readonly_fields = fields
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: the action with a reason is the one door."""
        return False

    has_change_permission = has_delete_permission = has_add_permission


@admin.register(User)
class CustomerAdmin(ReadOnlyAdmin):
    """People. What they may do changes by actions with a reason; nothing here is edited."""

    list_display = ("email", "country", "group", "standing", "role", "second_factor", "registered_at")
    list_filter = ("is_staff", "is_active", "country")
    search_fields = ("=email", "email__startswith")
    search_help_text = "The beginning of an e-mail address"
    ordering = ("-id",)
    fieldsets = (
        (None, {"fields": ("email", "country", "born_on", "language", "time_zone", "group")}),
        ("Access", {"fields": ("is_active", "is_staff", "second_factor", "last_login")}),
        ("Registration", {"fields": ("registered_at", "terms_accepted_at")}),
    )
    inlines = (RestrictionInline,)
    actions = ("restrict", "change_group", "sign_out_everywhere")
    actions_detail = ("restrict", "change_group", "sign_out_everywhere")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Tell with one query who is restricted and who has a second factor."""
        from django_otp.plugins.otp_totp.models import TOTPDevice

        return (
            super()
            .get_queryset(request)
            .annotate(
                restricted=Exists(selectors.live_restrictions().filter(customer=OuterRef("pk"))),
                enrolled=Exists(TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)),
            )
        )

    @display(description="Standing", label={"active": "success", "restricted": "warning", "closed": "danger"})
    def standing(self, user: Any) -> str:
        """Say in a word what this person may do."""
        if not user.is_active:
            return "closed"
        return "restricted" if user.restricted else "active"

    @display(description="Role", label={"operator": "info"})
    def role(self, user: User) -> str | None:
        """Mark staff."""
        return "operator" if user.is_staff else None

    @display(description="Second factor", boolean=True)
    def second_factor(self, user: Any) -> bool:
        """Tell whether an app is enrolled."""
        return bool(user.enrolled)

    @reasoned_action(
        description="Restrict",
        effect="From the next request on these customers cannot do what you choose. Open orders are settled "
        "as agreed; money stays theirs.",
        form=RestrictForm,
        icon="block",
        variant=ActionVariant.DANGER,
    )
    def restrict(self, request: HttpRequest, customer: User, **given: Any) -> str:
        """Forbid something."""
        services.restrict(customer=customer, actor=operator(request), **given)
        return f"{customer} is restricted: {given['scope']}."

    @reasoned_action(
        description="Change the group",
        effect="These customers see the bid and ask of that group. Ticks, and what decides an order, are the "
        "same for everybody.",
        form=GroupForm,
        icon="sell",
    )
    def change_group(self, request: HttpRequest, customer: User, group: str, reason: str) -> str:
        """Put a customer into a group."""
        services.set_customer_group(customer=customer, group=group, actor=operator(request), reason=reason)
        return f"{customer} is in the group {group}."

    @reasoned_action(
        description="Sign out everywhere",
        effect="Every sign-in of these customers ends, in browsers and apps, and their sockets close; they "
        "can sign in again.",
        icon="logout",
    )
    def sign_out_everywhere(self, request: HttpRequest, customer: User, reason: str) -> str:
        """End every sign-in."""
        services.sign_out_everywhere(user=customer, reason=reason, actor=operator(request))
        return f"{customer} is signed out."


@admin.register(Restriction)
class RestrictionAdmin(ReadOnlyAdmin):
    """What is forbidden to whom, and was."""

    list_display = ("customer_link", "scope", "reason", "starts_at", "ends_at", "lifted_at", "made_by")
    list_filter = ("scope", ("lifted_at", admin.EmptyFieldListFilter))
    list_select_related = ("customer", "made_by")
    search_fields = ("customer__email__startswith",)
    actions = ("lift",)
    actions_detail = ("lift",)

    @display(description="Customer")
    def customer_link(self, restriction: Restriction) -> Any:
        """Link to the customer."""
        return link_to(restriction.customer)

    @reasoned_action(
        description="Lift",
        effect="From the next request on these customers may do again what the restrictions forbade.",
        icon="lock_open",
    )
    def lift(self, request: HttpRequest, restriction: Restriction, reason: str) -> str:
        """Lift a restriction."""
        services.lift_restriction(restriction=restriction, reason=reason, actor=operator(request))
        return f"Lifted: {restriction}."


@admin.register(Switch)
class SwitchAdmin(ReadOnlyAdmin):
    """What is offered to everybody, and whether it is now."""

    list_display = ("code", "is_on", "changed_at", "changed_by", "reason")
    list_select_related = ("changed_by",)
    actions = ("turn_off", "turn_on")
    actions_detail = ("turn_off", "turn_on")

    @reasoned_action(
        description="Turn off",
        effect="From now on nobody is offered this, until it is turned on again.",
        icon="toggle_off",
        variant=ActionVariant.DANGER,
    )
    def turn_off(self, request: HttpRequest, switch: Switch, reason: str) -> str:
        """Turn a switch off."""
        turned = services.turn_switch(code=switch.pk, is_on=False, actor=operator(request), reason=reason)
        return f"Off: {switch}." if turned else f"{switch} was off already."

    @reasoned_action(
        description="Turn on", effect="From now on everybody is offered this again.", icon="toggle_on"
    )
    def turn_on(self, request: HttpRequest, switch: Switch, reason: str) -> str:
        """Turn a switch on."""
        turned = services.turn_switch(code=switch.pk, is_on=True, actor=operator(request), reason=reason)
        return f"On: {switch}." if turned else f"{switch} was on already."


@admin.register(RefreshFamily)
class RefreshFamilyAdmin(ReadOnlyAdmin):
    """Sign-ins of mobile and other API clients."""

    list_display = ("user_link", "created_at", "ip", "agent", "revoked_at", "revoked_because")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("user__email__startswith",)
    ordering = ("-id",)
    actions = ("revoke",)
    actions_detail = ("revoke",)

    @display(description="Customer")
    def user_link(self, family: RefreshFamily) -> Any:
        """Link to the customer."""
        return link_to(family.user)

    @reasoned_action(
        description="Revoke",
        effect="These sign-ins end with the next request: access and refresh tokens stop working.",
        icon="logout",
    )
    def revoke(self, request: HttpRequest, family: RefreshFamily, reason: str) -> str:
        """Revoke a family."""
        ended = services.revoke_family(family=family.pk, reason=reason, actor=operator(request))
        return "Revoked." if ended else "It had ended before."


class JurisdictionForm(forms.ModelForm):
    reason = forms.CharField(min_length=3, max_length=1000, widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = Jurisdiction
        fields = ("country", "is_sanctioned", "allows_real", "licence_reference")

    def clean_country(self) -> str:
        """Spell a country as the law is looked up by."""
        country: str = self.cleaned_data["country"].upper()
        if country not in rules.countries():
            raise forms.ValidationError(CountryUnknown().detail)
        return country


@admin.register(Jurisdiction)
class JurisdictionAdmin(ConsoleAdmin):
    """Where the house may do what. A country that is not listed gets demo money only."""

    form = JurisdictionForm
    fields = ("country", "is_sanctioned", "allows_real", "licence_reference", "reason")
    list_display = ("country", "is_sanctioned", "allows_real", "licence_reference")
    list_filter = ("is_sanctioned", "allows_real")
    search_fields = ("country",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep a row's country."""
        return ("country",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what was law is changed, with a reason, and stays on record."""
        return False

    def save_model(self, request: HttpRequest, obj: Jurisdiction, form: Any, change: bool) -> None:
        """Save through the service, which keeps the reason."""
        services.change_jurisdiction(
            country=obj.country,
            is_sanctioned=obj.is_sanctioned,
            allows_real=obj.allows_real,
            licence_reference=obj.licence_reference,
            actor=operator(request),
            reason=form.cleaned_data["reason"],
        )
