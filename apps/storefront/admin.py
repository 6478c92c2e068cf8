"""Storefronts as operators see them: whether they are open, what they look like, the brand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminColorInputWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.configs.operations import active_versions
from apps.flags.models import FeatureFlag
from apps.flags.operations import set_override
from apps.flags.trying import try_flag
from apps.storefront import branding, colours
from apps.storefront.branding import KEYS, LOGO, Brand, values_of
from apps.storefront.images import MAXIMUM_BYTES
from apps.storefront.models import Storefront, StorefrontImage
from apps.storefront.operations import save_brand
from apps.storefront.sites import FLAG, flag_context
from apps.tenants.models import Domain, Enterprise
from layoverhq.admin_site import give_reason, go_to
from layoverhq.errors import InvalidInput
from layoverhq.model_admin import OperationAdmin, PageTab, ReasonedChange, ReasonForm, pill

# The form's fields, by the keys that they set.
FIELDS = {
    branding.NAME: "shown_name",
    branding.TAGLINE: "tagline",
    branding.PRIMARY: "primary_color",
    branding.ACCENT: "accent_color",
    branding.LOGO: "logo",
}
PREVIEWED = ("shown_name", "tagline", "primary_color", "accent_color")
CLEAR_HELP = "Empty: the platform's."


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether travellers are served, and what stands in the way if not."""

    hosts: tuple[str, ...]
    obstacle: str

    @property
    def is_open(self) -> bool:
        return not self.obstacle


def standing(enterprise: Enterprise) -> Standing:
    """Return how the enterprise's pages stand, by rows; processes follow within a second."""
    hosts = tuple(
        Domain.objects.filter(tenant_id=enterprise.pk)
        .order_by("-is_primary", "domain")
        .values_list("domain", flat=True)
    )
    if enterprise.status != Enterprise.Status.ACTIVE:
        return Standing(hosts, f"the enterprise is {enterprise.get_status_display().lower()}")
    if not hosts:
        return Standing(hosts, "it has no host name yet")
    flag = FeatureFlag.objects.select_related("namespace").filter(name=FLAG).first()
    if flag is None:
        return Standing(hosts, f"there is no flag {FLAG}")
    if flag.is_killed or flag.is_archived or not flag.enabled:
        return Standing(hosts, f"the flag {FLAG} is off for everybody")
    context = flag_context(enterprise.pk, enterprise.subscription_plan)
    if not try_flag(flag, context).answer.enabled:
        return Standing(hosts, f"the flag {FLAG} is off for it")
    return Standing(hosts, "")


def own_values(enterprise: Enterprise) -> dict[str, str]:
    """Return the enterprise's own values by key, empty where it has none."""
    versions = active_versions((key, enterprise.pk) for key in KEYS)
    found = {}
    for key in KEYS:
        version = versions.get((key, enterprise.pk))
        found[key] = version.value if version and not version.unset else ""
    return found


def brand_by_rows(enterprise: Enterprise) -> Brand:
    """Return the brand as the rows have it, whatever this process holds so far."""
    own = own_values(enterprise)
    platforms = values_of(None)
    name, tagline, primary, accent, logo = (own[key] or platforms[key] for key in KEYS)
    return Brand(name or enterprise.name, tagline, primary.lower(), accent.lower(), logo)


def preview(brand: Brand, faults: list[str] | None = None) -> SafeString:
    """Render a small page in the brand's colours, with the contrast of what stands on what."""
    theme = brand.theme
    return render_to_string(
        "admin/storefront/preview.html",
        {
            "brand": brand,
            "palettes": {"Light": theme.light, "Dark": theme.dark},
            "pairs": [
                {"name": name, "ratio": f"{ratio:.1f}", "needed": needed}
                for name, (ratio, needed) in theme.least.items()
            ],
            "shifted": [
                word
                for word, given, used in (
                    ("primary", brand.primary, (theme.light.brand_mark, theme.light.brand_ink)),
                    ("accent", brand.accent, (theme.light.accent, theme.light.accent_ink)),
                )
                if any(colour != given for colour in used)
            ],
            "faults": faults or [],
        },
    )


class BrandForm(forms.ModelForm):  # type: ignore[type-arg]
    """The enterprise's own values; what is left empty is the platform's."""

    shown_name = forms.CharField(
        label="Name",
        required=False,
        max_length=60,
        widget=UnfoldAdminTextInputWidget,
        help_text="In the bar and in titles. Empty: the enterprise's name.",
    )
    tagline = forms.CharField(
        required=False,
        max_length=120,
        widget=UnfoldAdminTextInputWidget,
        help_text=f"The sentence that greets travellers. {CLEAR_HELP}",
    )
    primary_color = forms.RegexField(
        colours.HEX.pattern,
        label="Primary colour",
        widget=UnfoldAdminColorInputWidget,
        help_text="Buttons, links, flights. Shades of it are chosen so that text can be read.",
        error_messages={"invalid": "Give a colour such as #1f5f8b."},
    )
    accent_color = forms.RegexField(
        colours.HEX.pattern,
        label="Accent colour",
        widget=UnfoldAdminColorInputWidget,
        help_text="Layovers, and what needs attention.",
        error_messages={"invalid": "Give a colour such as #c2571a."},
    )
    platforms_colours = forms.BooleanField(
        label="Use the platform's colours",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Clears both colours of its own.",
    )
    logo = forms.FileField(
        label="New logo",
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": "image/png,image/webp"}),
        help_text=f"PNG or WebP, at most {MAXIMUM_BYTES // 1_048_576} MB; drawn anew at 160 pixels"
        " of height or less, without what the file says besides. Best for a white ground.",
    )
    remove_logo = forms.BooleanField(
        label="No logo",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Show the name instead.",
    )
    reason = ReasonForm.base_fields["reason"]

    class Meta:
        model = Storefront
        fields: ClassVar[list[str]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own, brand = own_values(self.instance), brand_by_rows(self.instance)
        self.initial |= {
            "shown_name": own[branding.NAME],
            "tagline": own[branding.TAGLINE],
            "primary_color": brand.primary,
            "accent_color": brand.accent,
        }

    def values(self) -> dict[str, str]:
        """Return what is to hold, by key; a colour that is the platform's needs no own value."""
        given = self.cleaned_data
        values = {branding.NAME: given["shown_name"], branding.TAGLINE: given["tagline"]}
        own = own_values(self.instance)
        for key in (branding.PRIMARY, branding.ACCENT):
            colour = given[FIELDS[key]].lower()
            inherited = not own[key] and colour == values_of(None)[key]
            values[key] = "" if given["platforms_colours"] or inherited else colour
        if given["remove_logo"]:
            values[LOGO] = ""
        return values


def own_answer(enterprise_id: Any) -> Any:
    """Return the flag's own answer for an enterprise, None where it has none."""
    flag = FeatureFlag.objects.filter(name=FLAG).first()
    return flag.tenant_overrides.get(str(enterprise_id)) if flag else None


def _switch(title: str, done: str, consequence: str, *, to: bool) -> ReasonedChange:
    def obstacle(storefront: Storefront) -> str:
        held = own_answer(storefront.pk)
        return f"has the answer “{'on' if to else 'off'}” already" if held is to else ""

    return ReasonedChange(
        title=title, done=done, consequence=consequence, obstacle=obstacle, operation=lambda _: None
    )


OPEN = _switch(
    "Open",
    "Opened",
    f"The flag {FLAG} gets the answer “on” for this enterprise: its host names serve its pages to"
    " everybody. Where the flag is off for all, turn it on first.",
    to=True,
)
CLOSE = _switch(
    "Close",
    "Closed",
    f"The flag {FLAG} gets the answer “off” for this enterprise: its host names show a plain page"
    " that says nothing. Its brand and host names stay.",
    to=False,
)


@admin.register(Storefront)
class StorefrontAdmin(OperationAdmin):
    list_display = ("name", "shown_hosts", "shown_state", "shown_colours")
    list_display_links = ("name",)
    search_fields = ("name", "slug", "domains__domain")
    search_help_text = "Find by name, slug or host name."
    ordering = ("name", "id")
    actions = None
    actions_detail = ("open_up", "close", "enterprise_page")
    form = BrandForm
    readonly_fields = ("shown_hosts", "shown_state", "shown_preview", "shown_logo")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": (("shown_hosts", "shown_state"), "shown_preview")}),
        (
            "Brand",
            {
                "fields": (
                    ("shown_name", "tagline"),
                    ("primary_color", "accent_color"),
                    "platforms_colours",
                    "shown_logo",
                    ("logo", "remove_logo"),
                    "reason",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Storefront]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the form to those who may change something; what is seen is above it."""
        return self.fieldsets if self.has_change_permission(request) else self.fieldsets[:1]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_switch_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request) and request.user.has_perms(
            ("flags.change_featureflag", "flags.publish_flagversion")
        )

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Leave out the switch that would change nothing."""
        answer = own_answer(object_id)
        idle = {True: "open_up", False: "close"}.get(answer) if answer is not None else None
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name != f"storefront_storefront_{idle}"]

    @display(description="Host names")
    def shown_hosts(self, storefront: Storefront) -> SafeString | str:
        hosts = standing(storefront).hosts
        if not hosts:
            url = reverse("admin:tenants_enterprise_change", args=[storefront.pk])
            return format_html(
                'None: <a class="text-link" href="{}#domains">add one to the enterprise</a>', url
            )
        return format_html_join(", ", "{}", ((host,) for host in hosts))

    @display(description="State")
    def shown_state(self, storefront: Storefront) -> SafeString:
        found = standing(storefront)
        if found.is_open:
            return pill("Open", "success")
        return format_html("{} {}", pill("Closed", "warning"), found.obstacle)

    @display(description="Colours")
    def shown_colours(self, storefront: Storefront) -> SafeString:
        brand = brand_by_rows(storefront)
        swatch = (
            '<span title="{0}" style="display:inline-block;width:1.25rem;height:1.25rem;'
            'border-radius:6px;background:{0}"></span>'
        )
        return format_html_join(" ", swatch, ((brand.primary,), (brand.accent,)))

    @display(description="As travellers see it")
    def shown_preview(self, storefront: Storefront) -> SafeString:
        return format_html(
            '<div id="storefront-preview" hx-get="{}" hx-params="{}" hx-include="closest form"'
            ' hx-trigger="input from:closest form delay:250ms" hx-sync="this:replace">{}</div>',
            reverse("admin:storefront_storefront_preview", args=[storefront.pk]),
            ",".join(PREVIEWED),
            preview(brand_by_rows(storefront)),
        )

    @display(description="Logo now")
    def shown_logo(self, storefront: Storefront) -> SafeString | str:
        if not brand_by_rows(storefront).logo:
            return "None: the name is shown."
        url = reverse("admin:storefront_storefront_logo", args=[storefront.pk])
        return format_html(
            '<img src="{}" alt="The logo" style="height:2.5rem;background:#fff;padding:.3rem .6rem;'
            'border-radius:10px">',
            url,
        )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path(f"<uuid:object_id>/{name}/", view(page), name=f"storefront_storefront_{name}")
            for name, page in (("preview", self.preview_page), ("logo", self.logo_page))
        ]
        return [*own, *super().get_urls()]

    def preview_page(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Show the brand that the form's fields say, before it is saved."""
        brand = brand_by_rows(self._asked(request, object_id))
        given = {name: request.GET.get(name, "").strip() for name in PREVIEWED}
        faults = [
            f"“{given[name][:20]}” is no colour such as #1f5f8b."
            for name in ("primary_color", "accent_color")
            if given[name] and not colours.HEX.fullmatch(given[name])
        ]
        shown = brand
        if not faults:
            shown = Brand(
                name=given["shown_name"] or brand.name,
                tagline=given["tagline"] or brand.tagline,
                primary=(given["primary_color"] or brand.primary).lower(),
                accent=(given["accent_color"] or brand.accent).lower(),
                logo=brand.logo,
            )
        return HttpResponse(preview(shown, faults))

    def logo_page(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Return the image that travellers see."""
        storefront = self._asked(request, object_id)
        image = StorefrontImage.objects.filter(
            enterprise_id=storefront.pk, digest=brand_by_rows(storefront).logo
        ).first()
        if image is None:
            raise Http404
        return HttpResponse(
            bytes(image.content),
            content_type="image/png",
            headers={"Content-Security-Policy": "default-src 'none'; sandbox"},
        )

    def _asked(self, request: HttpRequest, object_id: Any) -> Storefront:
        if not self.has_view_permission(request):
            raise Http404
        found: Storefront | None = self.get_queryset(request).filter(pk=object_id).first()
        if found is None:
            raise Http404
        return found

    def save_model(self, request: HttpRequest, obj: Storefront, form: Any, change: bool) -> None:
        uploaded = form.cleaned_data["logo"]
        give_reason(form.cleaned_data["reason"])
        try:
            published = save_brand(
                enterprise=obj,
                values=form.values(),
                logo=uploaded.read(MAXIMUM_BYTES + 1) if uploaded else None,
                reason=form.cleaned_data["reason"],
                actor=request.user,  # type: ignore[arg-type]
            )
        except InvalidInput as refused:
            raise InvalidInput(
                [replace(error, field=FIELDS[error.field]) for error in refused.errors]
            ) from refused
        if published is None:
            messages.info(request, "It is so already.")
        else:
            changed = ", ".join(sorted(published.items.values_list("config_key_id", flat=True)))
            messages.success(request, f"Published for “{obj}”: {changed}.")

    def response_change(self, request: HttpRequest, obj: Storefront) -> HttpResponse:
        """Show it again; what was published is told already."""
        return go_to(request, self.change_url(obj.pk))

    @action(
        description="Open…",
        permissions=["switch"],
        icon="storefront",
        variant=ActionVariant.SUCCESS,
        dialog=OPEN.dialog(),
    )
    def open_up(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._switched(request, form, object_id, OPEN, to=True)

    @action(
        description="Close…",
        permissions=["switch"],
        icon="door_front",
        variant=ActionVariant.WARNING,
        dialog=CLOSE.dialog(),
    )
    def close(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._switched(request, form, object_id, CLOSE, to=False)

    def _switched(
        self,
        request: HttpRequest,
        form: ReasonForm,
        object_id: str,
        change: ReasonedChange,
        *,
        to: bool,
    ) -> HttpResponse:
        storefront = self._asked(request, object_id)
        if why := change.obstacle(storefront):
            messages.info(request, f"“{storefront}” {why}.")
            return go_to(request, self.change_url(object_id))
        reason = form.cleaned_data["reason"]
        give_reason(reason)
        version = set_override(
            flag=FeatureFlag.objects.get(name=FLAG),
            kind="tenant",
            of=storefront.pk,
            to=to,
            reason=reason,
            actor=request.user,  # type: ignore[arg-type]
        )
        if version.status != version.Status.ACTIVE:
            messages.success(request, f"Drafted “{version}”: it holds once it is published.")
        else:
            messages.success(request, f"{change.done} “{storefront}”: {FLAG} {version.number}.")
        return go_to(request, self.change_url(object_id))

    @action(description="The enterprise", permissions=["view"], icon="apartment")
    def enterprise_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return go_to(request, reverse("admin:tenants_enterprise_change", args=[object_id]))


class StorefrontTab(PageTab):
    """The Storefront tab of an enterprise's page: where it is, how it looks, and the way to it."""

    model = Storefront
    model_name = "storefront"
    title = "Storefront"
    template_name = "admin/storefront/tab.html"

    def context(self) -> dict[str, Any]:
        enterprise = Enterprise.objects.get(pk=self.object_id)
        return {
            "standing": standing(enterprise),
            "preview": preview(brand_by_rows(enterprise)),
            "may_change": self.request.user.has_perm("storefront.change_storefront"),
            "url": reverse("admin:storefront_storefront_change", args=[enterprise.pk]),
        }


# The enterprise's own page belongs to a lower layer, which knows nothing of storefronts.
admin.site.get_model_admin(Enterprise).change_form_datasets += (StorefrontTab,)
