"""What the tasks write down."""

from __future__ import annotations

from django.db import models


class Entry(models.Model):
    """One line of the journal."""

    text = models.CharField(max_length=200)
    task_id = models.CharField(max_length=50, default="")

    def __str__(self) -> str:
        return f"{self.text}"
