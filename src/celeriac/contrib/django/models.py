"""The outbox's table."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class OutboxMessage(models.Model):
    """A message that waits for the commit of its transaction, and then for the relay."""

    task_id = models.CharField(max_length=255)
    task = models.CharField(max_length=255)
    queue = models.CharField(max_length=255)
    message = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)
    problem = models.TextField(null=True, blank=True)
    """Why it can never be published; such a row is set aside."""

    class Meta:
        db_table = "celeriac_outbox"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.task}[{self.task_id}]"
