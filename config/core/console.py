"""What every app's pages in the operator console are made of: read-only lists and actions with a reason."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import DecimalField, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminTextareaWidget

from config.core.errors import DomainError

# More at once is a job for a command: each object is its own transaction and its own audit entry.
MOST_OBJECTS = 200


class ConsoleAdmin(ModelAdmin):
    """A page of the console whose lists never count: next and previous, whatever the size of the table."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True
    list_fullwidth = True
    # Sorting by a column without an index reads the whole table.
    sortable_by: Sequence[str] = ()

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Write amounts and prices without the zeros their columns are wide for."""
        fields = {field.name: field for field in self.opts.fields}
        return [
            _amount_column(self.model, name) if isinstance(fields.get(name), DecimalField) else name
            for name in super().get_list_display(request)
        ]

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this person may act on such objects through services."""
        options = self.opts
        return request.user.has_perm(f"{options.app_label}.change_{options.model_name}")

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Show what the audit trail says of this object: the one history there is."""
        trail = reverse(f"{self.admin_site.name}:core_auditentry_changelist")
        about = urlencode({"object_type": self.opts.model_name or "", "object_id": object_id})
        return HttpResponseRedirect(f"{trail}?{about}")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the actions declared here alone: nothing is deleted in bulk."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


@cache
def _amount_column(model: type[Model], name: str) -> Callable[[Model], str]:
    def column(row: Model) -> str:
        value = getattr(row, name)
        if value is None:
            return "–"
        places = max(2, -int(value.normalize().as_tuple().exponent))
        return f"{value:,.{places}f}"

    column.__name__ = name
    column.short_description = model._meta.get_field(name).verbose_name  # type: ignore[attr-defined, union-attr]
    return column


class ReadOnlyAdmin(ConsoleAdmin):
    """A page that shows and never writes: money, facts, prices, what people did."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Refuse everybody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse everybody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse everybody."""
        return False


class ReasonForm(forms.Form):
    """Asks why. Subclass it when an action needs more than a reason."""

    reason = forms.CharField(
        min_length=3,
        max_length=1000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": ""}),
        help_text="Kept in the audit trail with your name.",
    )


def reasoned_action(
    *,
    description: str,
    effect: str,
    form: type[ReasonForm] = ReasonForm,
    icon: str | None = None,
    variant: ActionVariant = ActionVariant.DEFAULT,
) -> Callable[[Callable[..., str | None]], Any]:
    """Turn `method(self, request, obj, **answers) -> str | None` into an action that asks for a reason first.

    A page states the `effect` and asks the questions of `form`; the method then runs once per object with the
    answers as keywords (`reason` among them). It calls a service with `actor=request.user`, which writes the
    audit entry, and returns the sentence that reports what was done. A refusal becomes a message. Name it in
    `actions` (on selected rows) and in `actions_detail` (a button on the object's page).
    """

    def declare(method: Callable[..., str | None]) -> Any:
        @action(description=description, permissions=["operate"], icon=icon, variant=variant)
        def run(
            admin: ConsoleAdmin,
            request: HttpRequest,
            selected: QuerySet[Model] | None = None,
            *,
            object_id: str | None = None,
        ) -> HttpResponse:
            if selected is None:
                selected = admin.get_queryset(request).filter(pk=object_id)
            objects = list(selected[:MOST_OBJECTS])
            back = _page_of(admin, object_id)
            if not objects:
                messages.error(request, "There is nothing to act on.")
                return HttpResponseRedirect(back)
            answers = form(request.POST if "_reasoned" in request.POST else None)
            if not answers.is_valid():
                return _ask(admin, request, objects, answers, description, effect, method.__name__, back)
            for obj in objects:
                _perform(method, admin, request, obj, answers.cleaned_data)
            return HttpResponseRedirect(back)

        run.original_function_name = method.__name__
        run.__name__ = method.__name__
        return run

    return declare


def reasoned_page(
    *, description: str, effect: str, form: type[ReasonForm], icon: str | None = None
) -> Callable[[Callable[..., str]], Any]:
    """Turn `method(self, request, **answers) -> str` into a button above a list that asks what and why.

    For what is no action on a row. A refusal stands above the form, which keeps what was typed. Name it in
    `actions_list`.
    """

    def declare(method: Callable[..., str]) -> Any:
        @action(description=description, permissions=["operate"], icon=icon, url_path=method.__name__)
        def run(admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
            answers = form(request.POST, request.FILES) if request.method == "POST" else form()
            if answers.is_valid():
                try:
                    done = method(admin, request, **answers.cleaned_data)
                except DomainError as refusal:
                    answers.add_error(None, refusal.detail)
                else:
                    messages.success(request, done)
                    return HttpResponseRedirect(_page_of(admin, None))
            name = method.__name__
            return _ask(admin, request, [], answers, description, effect, name, _page_of(admin, None))

        run.__name__ = method.__name__
        return run

    return declare


def _page_of(admin: ConsoleAdmin, object_id: str | None) -> str:
    name = f"{admin.admin_site.name}:{admin.opts.app_label}_{admin.opts.model_name}"
    if object_id is None:
        return reverse(f"{name}_changelist")
    return reverse(f"{name}_change", args=[object_id])


def _ask(
    admin: ConsoleAdmin,
    request: HttpRequest,
    objects: list[Model],
    answers: ReasonForm,
    description: str,
    effect: str,
    name: str,
    back: str,
) -> HttpResponse:
    context = {
        **admin.admin_site.each_context(request),
        "title": description,
        "opts": admin.opts,
        "objects": objects,
        "effect": effect,
        "form": answers,
        "action_name": name,
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "back": back,
    }
    return TemplateResponse(request, "console/reason.html", context)


def _perform(
    method: Callable[..., str | None], admin: ConsoleAdmin, request: HttpRequest, obj: Model, answers: Any
) -> None:
    try:
        done = method(admin, request, obj, **answers)
    except DomainError as refusal:
        messages.error(request, f"{obj}: {refusal.detail}")
    else:
        if done:
            messages.success(request, done)


def link_to(obj: Model | None, text: str = "", *, site: str = "admin") -> SafeString | str:
    """Return a link to an object's page in the console, or a dash for None."""
    if obj is None:
        return "–"
    url = reverse(f"{site}:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk])
    return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500">{}</a>', url, text or obj)
