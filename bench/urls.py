from django.urls import path

from bench.same import KnownView, bare
from bench.usual import UsualFlightSearchView
from layoverhq.urls import urlpatterns as project

urlpatterns = [
    *project,
    path("bench/usual", UsualFlightSearchView.as_view()),
    path("bench/same/known", KnownView.as_view()),
    path("bench/same/bare", bare),
]
