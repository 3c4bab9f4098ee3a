"""Creates the journal."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """The table of entries."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.CharField(max_length=200)),
                ("task_id", models.CharField(default="", max_length=50)),
            ],
        ),
    )
