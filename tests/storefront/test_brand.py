"""Brands: colours that can always be read, images that are only images, who sees which."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from apps.configs.models import SystemConfig
from apps.storefront import branding, colours, images
from apps.storefront.images import draw
from apps.storefront.models import StorefrontImage
from apps.storefront.operations import save_brand, store_image
from apps.tenants.models import Enterprise
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.storefront.factories import REASON, open_site, picture, site_at, visitor

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def brand(enterprise: Enterprise, *, uploaded: bytes | None = None, **values: str) -> None:
    """Save the brand as an operator does."""
    keys = {f"storefront.{name}": value for name, value in values.items()}
    with operator_scope():
        save_brand(enterprise=enterprise, values=keys, logo=uploaded, reason=REASON, actor=None)


def brand_at(host: str) -> branding.Brand:
    site = site_at(host)
    return branding.brand_of(site.tenant, site.enterprise_name)


# --- colours


def test_contrast__known_pairs__is_what_wcag_says():
    assert colours.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colours.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert colours.contrast("#1f5f8b", "#1f5f8b") == 1


@given(COLOURS, COLOURS)
def test_theme__any_two_colours__can_be_read_everywhere(primary: str, accent: str):
    for palette in (colours.light(primary, accent), colours.dark(primary, accent)):
        for what, (ink, ground, needed) in palette.pairs.items():
            assert colours.contrast(ink, ground) >= needed, (what, ink, ground)


@given(COLOURS)
def test_readable__colour_that_can_be_read__stays(colour: str):
    if colours.contrast(colour, colours.WHITE) >= colours.TEXT_CONTRAST:
        assert colours.readable(colour, colours.WHITE) == colour


def test_theme__brand_colour__is_the_buttons_own():
    theme = branding.theme("#ffe600", "#c2571a")
    assert "--brand:#ffe600;" in theme.css
    assert "--on-brand:#000000;" in theme.css


# --- what visitors get


def test_brand__saved__is_shown_at_its_own_host_only(
    enterprise: Enterprise, host: str, other_enterprise: Enterprise
):
    other = open_site(other_enterprise)
    brand(
        enterprise,
        name="Wanderlust & Söhne",
        tagline="Stay <a while>",
        primary_color="#AA1155",
        accent_color="#117755",
    )
    until(lambda: brand_at(host).name == "Wanderlust & Söhne")
    text = visitor(host).get("/").content.decode()
    assert "Wanderlust &amp; Söhne" in text
    assert "Stay &lt;a while&gt;" in text
    theme = re.search(r'href="(/theme/[^"]+)"', text)
    assert theme
    css = visitor(host).get(theme[1])
    assert "--brand:#aa1155;" in css.content.decode()
    assert "immutable" in css["Cache-Control"]
    elsewhere = visitor(other)
    assert "Wanderlust" not in elsewhere.get("/").content.decode()
    # Not even by the other's address: everybody's is his own, and not to be kept.
    foreign = elsewhere.get(theme[1])
    assert "#aa1155" not in foreign.content.decode()
    assert foreign["Cache-Control"] == "no-cache"


def test_brand__cleared__is_the_platforms_again(enterprise: Enterprise, host: str):
    usual = brand_at(host)
    brand(enterprise, tagline="Ours alone")
    until(lambda: brand_at(host).tagline == "Ours alone")
    brand(enterprise, tagline="")
    until(lambda: brand_at(host) == usual)


def test_save_brand__several_values__are_one_change_set(enterprise: Enterprise, host: str):
    brand(enterprise, name="One", tagline="Two", primary_color="#123456")
    with operator_scope():
        versions = SystemConfig.objects.filter(enterprise=enterprise, is_active=True)
        assert {version.config_key_id: version.value for version in versions} == {
            "storefront.name": "One",
            "storefront.tagline": "Two",
            "storefront.primary_color": "#123456",
        }
        assert len({version.change_set_id for version in versions}) == 1
        assert {version.reason for version in versions} == {REASON}


def test_save_brand__the_same_again__writes_nothing(enterprise: Enterprise):
    brand(enterprise, name="One")
    with operator_scope():
        before = SystemConfig.objects.filter(enterprise=enterprise).count()
        again = save_brand(
            enterprise=enterprise, values={branding.NAME: "One"}, reason=REASON, actor=None
        )
        assert again is None
        assert SystemConfig.objects.filter(enterprise=enterprise).count() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("storefront.primary_color", "red"),
        ("storefront.primary_color", "#12345"),
        ("storefront.accent_color", "#123456;}body{display:none"),
        ("storefront.name", "x" * 61),
        ("storefront.logo", "../../etc/passwd"),
        ("storefront.nothing", "x"),
        ("security.session_timeout", "1"),
    ],
)
def test_save_brand__faulty_value__is_refused_by_key(key: str, value: str, enterprise: Enterprise):
    with operator_scope(), pytest.raises(InvalidInput) as refused:
        save_brand(
            enterprise=enterprise,
            values={branding.TAGLINE: "fine", key: value},
            reason=REASON,
            actor=None,
        )
    assert [error.field for error in refused.value.errors] == [key]
    with operator_scope():
        assert not SystemConfig.objects.filter(enterprise=enterprise).exists()


# --- images


def test_logo__uploaded__is_shown_to_visitors_of_its_host_only(
    enterprise: Enterprise, host: str, other_enterprise: Enterprise
):
    other = open_site(other_enterprise)
    brand(enterprise, uploaded=picture())
    until(lambda: brand_at(host).logo)
    url = f"/logo/{brand_at(host).logo}.png"
    assert f'src="{url}"' in visitor(host).get("/").content.decode()
    response = visitor(host).get(url)
    assert response.status_code == 200
    assert response["Content-Type"] == "image/png"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert "immutable" in response["Cache-Control"]
    with Image.open(io.BytesIO(response.content)) as image:
        assert (image.format, image.size) == ("PNG", (120, 40))
    assert visitor(other).get(url).status_code == 404


def test_logo__that_is_not_shown_any_more__is_404(enterprise: Enterprise, host: str):
    brand(enterprise, uploaded=picture())
    until(lambda: brand_at(host).logo)
    first = brand_at(host).logo
    brand(enterprise, uploaded=picture((100, 40)))
    until(lambda: brand_at(host).logo != first)
    assert visitor(host).get(f"/logo/{first}.png").status_code == 404
    with operator_scope():
        # It stays, so that the change can be taken back.
        assert StorefrontImage.objects.filter(enterprise=enterprise).count() == 2


def test_logo__named_by_configuration_without_an_image__is_404(enterprise: Enterprise, host: str):
    digest = hashlib.sha256(b"nothing").hexdigest()
    brand(enterprise, logo=digest)
    until(lambda: brand_at(host).logo == digest)
    assert visitor(host).get(f"/logo/{digest}.png").status_code == 404


def test_logo__anothers_digest_in_ones_configuration__shows_nothing(
    enterprise: Enterprise, host: str, other_enterprise: Enterprise
):
    with operator_scope():
        theirs = store_image(enterprise=other_enterprise, uploaded=picture((33, 33))).digest
    brand(enterprise, logo=theirs)
    until(lambda: brand_at(host).logo == theirs)
    assert visitor(host).get(f"/logo/{theirs}.png").status_code == 404


def test_images__runtime_role__sees_its_own_and_writes_none(
    enterprise: Enterprise, other_enterprise: Enterprise
):
    with operator_scope():
        mine = store_image(enterprise=enterprise, uploaded=picture((31, 31)))
        store_image(enterprise=other_enterprise, uploaded=picture((32, 32)))
    with tenant_scope(enterprise.ref):
        assert [image.pk for image in StorefrontImage.objects.all()] == [mine.pk]
    with roles.connect_as(roles.APP) as app:
        assert app.execute("select count(*) from storefront_images").fetchone() == (0,)
        with pytest.raises(Exception, match="permission denied"):
            app.execute("update storefront_images set width = 1")


def test_store_image__twice__is_kept_once(enterprise: Enterprise):
    with operator_scope():
        first = store_image(enterprise=enterprise, uploaded=picture())
        second = store_image(enterprise=enterprise, uploaded=picture())
        assert first.pk == second.pk


def test_draw__large_webp__becomes_a_small_png_without_metadata():
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    drawn = draw(picture((1500, 500), "WEBP", exif=exif), field="logo")
    assert (drawn.width, drawn.height) == (480, 160)
    assert drawn.content.startswith(b"\x89PNG")
    assert b"taken at home" not in drawn.content


def _bomb() -> bytes:
    """Return a small PNG that unpacks to 10,000 × 10,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = zlib.crc32(kind + body)
        return len(body).to_bytes(4, "big") + kind + body + checked.to_bytes(4, "big")

    size = (10_000).to_bytes(4, "big") * 2
    header = chunk(b"IHDR", size + bytes([1, 0, 0, 0, 0]))
    rows = zlib.compress(bytes(1_251) * 10_000)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _animation() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("#ff0000", "#00ff00")]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("uploaded", "code"),
    [
        (b"", "unreadable"),
        (b"not a picture", "unreadable"),
        (SVG, "unreadable"),
        (picture(kind="GIF"), "unreadable"),
        (picture(kind="JPEG"), "unreadable"),
        (picture()[:-40], "unreadable"),
        (picture()[:60], "unreadable"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "unreadable"),
        (picture() + bytes(images.MAXIMUM_BYTES), "too_large"),
        (_bomb(), "too_large"),
        (_animation(), "animated"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "gif",
        "jpeg",
        "cut",
        "cut-early",
        "hollow",
        "long",
        "bomb",
        "moves",
    ],
)
def test_draw__what_is_no_still_picture__is_refused(uploaded: bytes, code: str):
    with pytest.raises(InvalidInput) as refused:
        draw(uploaded, field="logo")
    assert [(error.field, error.code) for error in refused.value.errors] == [("logo", code)]


def test_draw__picture_with_a_script_behind__leaves_it_behind():
    drawn = draw(picture() + b"<script>alert(1)</script>", field="logo")
    assert b"script" not in drawn.content


# --- headers


def directives(response: Any) -> dict[str, str]:
    policy = response["Content-Security-Policy"]
    return dict(part.partition(" ")[::2] for part in policy.split("; "))


@pytest.mark.parametrize("path", ["/", "/search?origin=x", "/layover", "/nowhere", "/robots.txt"])
def test_headers__any_page__forbid_what_it_does_not_need(path: str, site: Client):
    response = site.get(path)
    policy = directives(response)
    assert policy["default-src"] == "'none'"
    for name in ("script-src", "style-src", "img-src", "connect-src", "form-action"):
        assert policy[name] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in response.headers


@pytest.mark.parametrize("path", ["/", "/search?origin=x", "/layover", "/nowhere"])
def test_pages__any__have_nothing_inline_and_nothing_from_elsewhere(path: str, site: Client):
    text = site.get(path).content.decode()
    assert not re.search(r"<[^>]* style=", text)
    assert "<style" not in text
    assert not re.search(r"<script(?![^>]* src=)", text)
    assert not re.search(r"<[^>]* on[a-z]+=", text)
    sources = re.findall(r'(?:src|href|action|hx-get)="([^"]*)"', text)
    assert sources
    assert not [source for source in sources if not source.startswith(("/", "#"))]
    assert not [source for source in sources if source.startswith("//")]


def test_https__asked_for_plainly__leads_there_and_says_to_stay(host: str, settings: Any):
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 1000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    response = visitor(host).get("/search?origin=SFO")
    assert response.status_code == 301
    assert response["Location"] == f"https://{host}/search?origin=SFO"
    secure = visitor(host).get("/", secure=True)
    assert secure.status_code == 200
    # Of the enterprise's other hosts we know nothing.
    assert secure["Strict-Transport-Security"] == "max-age=1000"


def test_assets__all__are_kept_for_good_and_named_by_content(site: Client):
    text = site.get("/").content.decode()
    found = re.findall(r'"(/(?:assets|theme|icon)/[^"]+)"', text)
    assert len(found) == 5
    for url in found:
        response = site.get(url)
        assert response.status_code == 200
        assert "immutable" in response["Cache-Control"], url
    assert site.get("/assets/0/settings.py").status_code == 404
    assert site.get("/assets/0/..%2f..%2fsites.py").status_code == 404


def test_pages__large__are_compressed_for_who_can_read_it(site: Client):
    response = site.get("/", headers={"Accept-Encoding": "gzip"})
    assert response["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in response["Vary"]


def test_robots__see_the_first_page_only(site: Client):
    text = site.get("/robots.txt").content.decode()
    assert "Disallow: /search" in text
    assert "Disallow: /layover" in text
