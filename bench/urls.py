from django.urls import path

from bench.usual import UsualFlightSearchView
from layoverhq.urls import urlpatterns as project

urlpatterns = [*project, path("bench/usual", UsualFlightSearchView.as_view())]
