"""The kernel's tables: facts on their way out, and what privileged people did."""

from typing import ClassVar

from django.db import models


class Fact(models.Model):
    """Something that happened, recorded in the transaction that made it happen."""

    # A fact never changes; only its delivery does. Old delivered ones are trimmed.
    application_rights = "SELECT, INSERT, DELETE, UPDATE (published_at, attempts, error, parked_at)"

    topic = models.CharField(max_length=80)
    name = models.CharField(max_length=60)
    payload = models.JSONField()
    created_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    error = models.TextField(blank=True, default="", db_default="")
    parked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["id"], name="fact_unpublished", condition=models.Q(published_at=None)),
            models.Index(fields=["topic"], name="fact_parked", condition=models.Q(parked_at__isnull=False)),
            models.Index(
                fields=["published_at"], name="fact_published", condition=models.Q(published_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} #{self.pk}"


class AuditEntry(models.Model):
    """Who did what to what, why, and how it ended. Append-only."""

    application_rights = "SELECT, INSERT"

    class Outcome(models.TextChoices):
        DONE = "done"
        REFUSED = "refused"

    at = models.DateTimeField(db_index=True)
    # Kept as plain values: an entry outlives the row it speaks of.
    actor_id = models.BigIntegerField(null=True, blank=True)
    actor_name = models.CharField(max_length=254)
    actor_role = models.CharField(max_length=40, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    agent = models.CharField(max_length=300, blank=True)
    action = models.CharField(max_length=80)
    object_type = models.CharField(max_length=60, blank=True)
    object_id = models.CharField(max_length=80, blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.DONE)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes: ClassVar = [
            models.Index(fields=["object_type", "object_id"], name="audit_object"),
            models.Index(fields=["actor_id"], name="audit_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_name}"
