from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from layoverhq import health

handler400 = "layoverhq.errors.bad_request"
handler404 = "layoverhq.errors.not_found"
handler500 = "layoverhq.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="api-docs")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("apps.tenants.api.urls")),
    path("api/v1/", include("apps.configs.api.urls")),
    path("api/v1/", include("apps.flags.api.urls")),
    path("api/v1/", include("apps.flights.api.urls")),
    path("api/v1/", include("apps.trips.api.urls")),
    path("api/v1/", include("apps.webhooks.api.urls")),
    path("api/v1/", include("apps.layovers.api.urls")),
    path("ofrep/v1/", include("apps.flags.api.ofrep.urls")),
    path("api/schema", SpectacularJSONAPIView.as_view(), name="api-schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="api-schema"), name="api-docs"),
]
