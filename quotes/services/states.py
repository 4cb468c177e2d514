"""How the sources fare, kept for operators to see."""

from collections.abc import Sequence

from quotes.models import SourceState

FIELDS = [field.name for field in SourceState._meta.fields if field.name != "source"]


def save_source_states(states: Sequence[SourceState]) -> None:
    """Keep what the leading feed knows of each source; the last word holds."""
    SourceState.objects.bulk_create(
        states, update_conflicts=True, unique_fields=["source"], update_fields=FIELDS
    )
