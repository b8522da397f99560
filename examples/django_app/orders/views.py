"""Who has signed in, and an order with the run that writes to its customer."""

import json
from functools import partial

from django.contrib.auth.views import LoginView
from django.db import transaction
from django.forms import Form, modelform_factory
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from orders.agents import evented
from orders.models import Order

OrderForm = modelform_factory(Order, fields=["item", "quantity"])


class PaymentDeclined(Exception):
    """Raised by the payment provider."""


class SignIn(LoginView):
    """Django's own, on the page of the chat."""

    template_name = "page.html"
    next_page = "/"

    def form_invalid(self, _form: Form) -> HttpResponse:
        return redirect("/?refused")


@require_GET
def me(request: HttpRequest) -> JsonResponse:
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Sign in."}, status=401)
    return JsonResponse({"user": request.user.get_username()})


@require_POST
def create_order(request: HttpRequest) -> JsonResponse:
    """Create an order and, once it is committed, start the run that writes to its customer."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Sign in."}, status=401)
    try:
        form = OrderForm(json.loads(request.body))
    except ValueError:
        return JsonResponse({"error": "Send the order as JSON."}, status=400)
    if not form.is_valid():
        return JsonResponse({"error": form.errors}, status=400)
    try:
        with transaction.atomic():
            order = form.save(commit=False)
            order.customer = request.user
            order.save()
            # Not before the commit: the run must not look for a row that may never be there.
            # Robust: an order is an order also while Redis is away; its run may be started later.
            transaction.on_commit(partial(start_run, order), robust=True)
            charge(order)
    except PaymentDeclined as declined:
        return JsonResponse({"error": str(declined)}, status=402)
    return JsonResponse({"order": order.pk, "run_id": order.run_id}, status=202)


def start_run(order: Order) -> None:
    """Start the order's run; calling it again starts no second one."""
    evented.stream(
        f"Please confirm my order {order.pk} of {order.quantity} x {order.item}.",
        run_id=order.run_id,
        resource_id=str(order.customer_id),
        thread_id=f"order-{order.pk}",
    )


def charge(order: Order) -> None:
    """Stand for a payment provider, which declines large orders."""
    if order.quantity > 100:
        raise PaymentDeclined("Your card was declined.")
