"""Orders."""

import uuid

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models


def new_run_id() -> str:
    return uuid.uuid4().hex


class Order(models.Model):
    """An order and the run that answers its customer.

    The run's id is stored with the order, so starting it twice starts it once.
    """

    item = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    is_refunded = models.BooleanField(default=False, editable=False)
    run_id = models.CharField(max_length=32, default=new_run_id, unique=True, editable=False)
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, editable=False)
