"""The project's addresses; those below /agents are served by asgi.py and wsgi.py."""

from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.generic import TemplateView
from orders import views

urlpatterns = [
    path("", ensure_csrf_cookie(TemplateView.as_view(template_name="page.html"))),
    path("me", views.me),
    path("login", views.SignIn.as_view()),
    path("logout", LogoutView.as_view(next_page="/")),
    path("orders", views.create_order),
]
