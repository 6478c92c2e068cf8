"""The pages of an enterprise's own host; its views take a Visit in a request's place."""

from django.urls import path

from apps.storefront import views

urlpatterns = [
    path("", views.home, name="storefront-home"),
    path("search", views.search, name="storefront-search"),
    path("airports/<slug:field>", views.airports, name="storefront-airports"),
    path("layover", views.layover, name="storefront-layover"),
    path("theme/<slug:digest>.css", views.theme, name="storefront-theme"),
    path("logo/<slug:digest>.png", views.logo, name="storefront-logo"),
    path("icon/<slug:digest>.svg", views.icon, name="storefront-icon"),
    path("assets/<slug:digest>/<str:name>", views.asset_file, name="storefront-asset"),
    path("robots.txt", views.robots, name="storefront-robots"),
]
