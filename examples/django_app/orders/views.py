"""Synchronous views: an order with its run, and the run's events."""

import json
import secrets
from functools import partial

from django.db import transaction
from django.forms import modelform_factory
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from evented_agent import InvalidCursor, RunDeleted, RunExpired, RunNotFound
from orders.agents import evented
from orders.models import Order

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
STATUS = {RunNotFound: 404, RunDeleted: 410, RunExpired: 410, InvalidCursor: 400}
OrderForm = modelform_factory(Order, fields=["item", "quantity"])


class PaymentDeclined(Exception):
    """Raised by the payment provider."""


@csrf_exempt  # No cookie signs anybody in here.
@require_POST
def create_order(request: HttpRequest) -> JsonResponse:
    """Create an order and, once it is committed, start the run that writes to its customer."""
    try:
        form = OrderForm(json.loads(request.body))
    except ValueError:
        return JsonResponse({"error": "Send the order as JSON."}, status=400)
    if not form.is_valid():
        return JsonResponse({"error": form.errors}, status=400)
    try:
        with transaction.atomic():
            order = form.save(commit=False)
            order.customer = request.COOKIES.get("customer") or secrets.token_hex(16)
            order.save()
            # Not before the commit: the run must not look for a row that may never be there.
            # Robust: an order is an order also while Redis is away; its run may be started later.
            transaction.on_commit(partial(start_run, order), robust=True)
            charge(order)
    except PaymentDeclined as declined:
        return JsonResponse({"error": str(declined)}, status=402)
    reply = JsonResponse({"order": order.pk, "run_id": order.run_id}, status=202)
    # Who orders is whoever has this cookie. Your own sign-in takes its place.
    reply.set_cookie("customer", order.customer, httponly=True, samesite="Lax")
    return reply


@require_GET
def run_events(request: HttpRequest, run_id: str) -> HttpResponseBase:
    """Follow a run from its start or from a cursor.

    Under WSGI each open stream holds one thread of the server. For many readers serve this view
    with ASGI: ``async def``, ``await evented.aobserve(…)``, and the same response.
    """
    # The header wins: a browser that reconnects sends it with the URL it began with.
    after = request.headers.get("Last-Event-ID") or request.GET.get("after", "0")
    try:
        # Another customer's run looks as if it did not exist.
        customer = request.COOKIES.get("customer", "")
        run = evented.observe(run_id, after=after, resource_id=customer)
        if run.is_over():
            # An EventSource comes back after each end; only this makes it stay away.
            return HttpResponse(status=204)
    except (RunNotFound, RunDeleted, RunExpired, InvalidCursor) as error:
        return JsonResponse({"error": str(error)}, status=STATUS[type(error)])
    return StreamingHttpResponse(run.sse(), content_type="text/event-stream", headers=SSE_HEADERS)


def start_run(order: Order) -> None:
    """Start the order's run; calling it again starts no second one."""
    evented.stream(
        f"Please confirm my order of {order.quantity} x {order.item}.",
        run_id=order.run_id,
        resource_id=order.customer,
        context={"order": order.pk},
    )


def charge(order: Order) -> None:
    """Stand for a payment provider, which declines large orders."""
    if order.quantity > 100:
        raise PaymentDeclined("Your card was declined.")
