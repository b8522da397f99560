"""The project's addresses."""

from django.urls import path
from orders import views

urlpatterns = [
    path("orders", views.create_order),
    path("runs/<str:run_id>/events", views.run_events),
]
