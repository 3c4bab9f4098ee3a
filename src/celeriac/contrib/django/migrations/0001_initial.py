"""Creates the outbox."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """The table `celeriac_outbox`."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("task_id", models.CharField(max_length=255)),
                ("task", models.CharField(max_length=255)),
                ("queue", models.CharField(max_length=255)),
                ("message", models.BinaryField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("problem", models.TextField(blank=True, null=True)),
            ],
            options={"db_table": "celeriac_outbox", "ordering": ("id",)},
        ),
    )
