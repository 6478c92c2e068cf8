"""Storefronts in the admin: seen, branded with a preview, opened and closed with a reason."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from apps.audit.models import AuditEvent
from apps.configs.models import ConfigChangeSet, SystemConfig
from apps.flags.models import FeatureFlag
from apps.storefront.models import StorefrontImage
from apps.storefront.sites import FLAG
from apps.tenants.models import Enterprise
from apps.tenants.operations import suspend_enterprise
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.storefront.factories import give_host, picture, site_at, switch, visitor
from tests.tenants import factories as tenants

LIST = "/admin/storefront/storefront/"


def change_url(enterprise: Enterprise) -> str:
    return f"{LIST}{enterprise.pk}/change/"


def text_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.content[:2000]
    return html.unescape(response.content.decode())


def save(client: Client, enterprise: Enterprise, **given: Any) -> Any:
    usual = {
        "shown_name": "",
        "tagline": "",
        "primary_color": "#1f5f8b",
        "accent_color": "#c2571a",
        "reason": "the new brand",
    }
    return client.post(change_url(enterprise), {**usual, **given}, follow=True)


def own_values(enterprise: Enterprise) -> dict[str, Any]:
    with operator_scope():
        found = SystemConfig.objects.filter(enterprise=enterprise, is_active=True, unset=False)
        return dict(found.values_list("config_key_id", "value"))


def may(*codenames: str) -> Client:
    operator = tenants.make_operator(superuser=False)
    with operator_scope():
        operator.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return tenants.make_admin_client(operator)


def answer_of(enterprise: Enterprise) -> Any:
    with operator_scope():
        return FeatureFlag.objects.get(name=FLAG).tenant_overrides.get(str(enterprise.pk))


def test_list__storefronts__tell_host_and_state(
    admin_client: Client, enterprise: Enterprise, host: str, other_enterprise: Enterprise
):
    text = text_of(admin_client.get(LIST, {"q": enterprise.slug}))
    assert host in text
    assert "Open" in text
    text = text_of(admin_client.get(LIST, {"q": other_enterprise.slug}))
    assert "it has no host name yet" in text
    assert host not in text
    assert enterprise.name in text_of(admin_client.get(LIST, {"q": host}))


def test_page__closed__says_what_is_in_the_way(admin_client: Client, enterprise: Enterprise):
    give_host(enterprise)
    text = text_of(admin_client.get(change_url(enterprise)))
    assert f"the flag {FLAG} is off for" in text
    switch(enterprise, on=True)
    assert "is off for it" not in text_of(admin_client.get(change_url(enterprise)))
    with operator_scope():
        suspend_enterprise(enterprise=enterprise)
    assert "the enterprise is suspended" in text_of(admin_client.get(change_url(enterprise)))


def test_save__new_brand__is_live_with_its_reason(
    admin_client: Client, enterprise: Enterprise, host: str
):
    response = save(
        admin_client,
        enterprise,
        shown_name="Wanderlust",
        tagline="Stay a while",
        primary_color="#AA1155",
        logo=SimpleUploadedFile("logo.png", picture(), "image/png"),
    )
    text = text_of(response)
    assert (
        f"Published for “{enterprise}”: storefront.logo, storefront.name,"
        " storefront.primary_color, storefront.tagline." in text
    )
    with operator_scope():
        image = StorefrontImage.objects.get(enterprise=enterprise)
        # The accent is the platform's, as it was: no value of its own.
        assert own_values(enterprise) == {
            "storefront.name": "Wanderlust",
            "storefront.tagline": "Stay a while",
            "storefront.primary_color": "#aa1155",
            "storefront.logo": image.digest,
        }
        change_set = ConfigChangeSet.objects.get(title=f"Storefront of {enterprise}")
        assert change_set.reason == "the new brand"
        event = AuditEvent.objects.get(table_name="storefront_images", row_id=str(image.pk))
        assert event.reason == "the new brand"
        assert image.digest in str(event.new_values)
        assert "89504e47" not in str(event.new_values)
    until(lambda: "Wanderlust" in visitor(host).get("/").content.decode())
    shown = admin_client.get(f"{LIST}{enterprise.pk}/logo/")
    assert shown["Content-Type"] == "image/png"
    assert "sandbox" in shown["Content-Security-Policy"]


def test_save__logo_away_and_colours_back__are_the_platforms(
    admin_client: Client, enterprise: Enterprise
):
    save(
        admin_client,
        enterprise,
        primary_color="#aa1155",
        logo=SimpleUploadedFile("logo.png", picture(), "image/png"),
    )
    assert set(own_values(enterprise)) == {"storefront.primary_color", "storefront.logo"}
    save(
        admin_client,
        enterprise,
        primary_color="#aa1155",
        platforms_colours="on",
        remove_logo="on",
    )
    assert own_values(enterprise) == {}
    assert admin_client.get(f"{LIST}{enterprise.pk}/logo/").status_code == 404


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"primary_color": "red"}, "Give a colour such as #1f5f8b."),
        ({"primary_color": ""}, "This field is required."),
        ({"reason": ""}, "This field is required."),
        ({"shown_name": "x" * 61}, "at most 60 characters"),
    ],
)
def test_save__faulty__stands_on_the_field_and_writes_nothing(
    given: dict[str, str], words: str, admin_client: Client, enterprise: Enterprise
):
    text = text_of(save(admin_client, enterprise, **{"tagline": "Kept?", **given}))
    assert words in text
    assert own_values(enterprise) == {}


@pytest.mark.parametrize(
    "content", [b"<svg onload=alert(1)>", b"", picture(kind="GIF")], ids=["svg", "empty", "gif"]
)
def test_save__file_that_is_no_picture__is_refused_on_the_field(
    content: bytes, admin_client: Client, enterprise: Enterprise
):
    upload = SimpleUploadedFile("logo.png", content, "image/png")
    text = text_of(save(admin_client, enterprise, tagline="Kept?", logo=upload))
    assert "Give a PNG or WebP image" in text or "The submitted file is empty." in text
    assert own_values(enterprise) == {}
    with operator_scope():
        assert not StorefrontImage.objects.filter(enterprise=enterprise).exists()


def test_save__nothing_changed__says_so(admin_client: Client, enterprise: Enterprise):
    assert "It is so already." in text_of(save(admin_client, enterprise))
    with operator_scope():
        assert not SystemConfig.objects.filter(enterprise=enterprise).exists()


def test_preview__before_it_is_saved__shows_the_colours_with_their_contrast(
    admin_client: Client, enterprise: Enterprise
):
    response = admin_client.get(
        f"{LIST}{enterprise.pk}/preview/",
        {"shown_name": "<b>Bold</b>", "primary_color": "#ffff00", "accent_color": "#eeeeee"},
    )
    text = response.content.decode()
    assert "background:#ffff00;color:#000000" in text
    assert "&lt;b&gt;Bold" in text
    assert "Shades of the primary and accent colour are used" in text
    rows = re.findall(
        r'<td class="px-3 py-1">([\d.]+)</td><td class="px-3 py-1">([\d.]+)</td>', text
    )
    assert len(rows) > 10
    assert all(float(has) >= float(needs) for has, needs in rows)
    assert own_values(enterprise) == {}


def test_preview__no_colour__says_so_and_shows_what_holds(
    admin_client: Client, enterprise: Enterprise
):
    hostile = "#123456;background:url(//evil.example)"
    response = admin_client.get(f"{LIST}{enterprise.pk}/preview/", {"primary_color": hostile})
    text = html.unescape(response.content.decode())
    assert "is no colour such as #1f5f8b." in text
    assert "url(" not in text
    assert "background:#1f5f8b" in text


def test_enterprise__its_page__has_a_tab_with_the_way_to_the_storefront(
    admin_client: Client, enterprise: Enterprise, host: str
):
    text = text_of(admin_client.get(f"/admin/tenants/enterprise/{enterprise.pk}/change/"))
    assert 'id="dataset-storefront-group"' in text
    assert host in text
    assert change_url(enterprise) in text


def act(client: Client, enterprise: Enterprise, name: str, reason: str = "at three o'clock") -> Any:
    return client.post(
        f"{LIST}{enterprise.pk}/{name}/",
        {"_form_submitted": "1", "reason": reason},
        headers={"HX-Request": "true"},
    )


def test_close_and_open__with_a_reason__switch_the_host(
    admin_client: Client, enterprise: Enterprise, host: str
):
    assert act(admin_client, enterprise, "close").status_code == 200
    assert answer_of(enterprise) is False
    until(lambda: visitor(host).get("/").status_code == 404)
    with operator_scope():
        assert FeatureFlag.objects.get(name=FLAG).versions.latest("number").reason == (
            "at three o'clock"
        )
    assert act(admin_client, enterprise, "open_up").status_code == 200
    assert answer_of(enterprise) is True
    until(lambda: visitor(host).get("/").status_code == 200)


def test_close__without_a_reason__changes_nothing(
    admin_client: Client, enterprise: Enterprise, host: str
):
    act(admin_client, enterprise, "close", reason="")
    assert answer_of(enterprise) is True


def test_switches__only_what_would_change_something__are_shown(
    admin_client: Client, enterprise: Enterprise, host: str
):
    text = text_of(admin_client.get(change_url(enterprise)))
    assert "Close…" in text
    assert "Open…" not in text


def test_close__without_permission_on_flags__is_refused(enterprise: Enterprise, host: str):
    client = may("view_storefront", "change_storefront")
    assert client.get(change_url(enterprise)).status_code == 200
    act(client, enterprise, "close")
    assert answer_of(enterprise) is True
    assert site_at(host).is_open


def test_viewer__sees_and_changes_nothing(enterprise: Enterprise):
    client = may("view_storefront")
    assert client.get(LIST).status_code == 200
    assert enterprise.name in text_of(client.get(change_url(enterprise)))
    response = save(client, enterprise, tagline="Mine now")
    assert response.status_code == 403
    assert own_values(enterprise) == {}


def test_stranger__is_refused_everywhere(enterprise: Enterprise):
    client = may()
    for path in (
        "",
        f"{enterprise.pk}/change/",
        f"{enterprise.pk}/preview/",
        f"{enterprise.pk}/logo/",
    ):
        assert client.get(LIST + path).status_code in (403, 404), path
    assert Client().get(LIST).status_code == 302


def test_storefront__adding_and_deleting__is_nobodys(admin_client: Client, enterprise: Enterprise):
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{enterprise.pk}/delete/", {"post": "yes"}).status_code == 403
    with operator_scope():
        assert Enterprise.objects.filter(pk=enterprise.pk).exists()


@pytest.mark.parametrize("path", ["change/", "preview/", "logo/"])
def test_page__of_nobody__is_not_there(path: str, admin_client: Client):
    nobody = "00000000-0000-7000-8000-000000000000"
    assert admin_client.get(f"{LIST}{nobody}/{path}").status_code in (302, 404)
