"""Creates the orders."""

from typing import ClassVar

import django.core.validators
from django.db import migrations, models

import orders.models


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar[list[migrations.CreateModel]] = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("item", models.CharField(max_length=100)),
                (
                    "quantity",
                    models.PositiveIntegerField(
                        validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                (
                    "run_id",
                    models.CharField(
                        default=orders.models.new_run_id,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                ("customer", models.CharField(editable=False, max_length=32)),
            ],
        ),
    ]
