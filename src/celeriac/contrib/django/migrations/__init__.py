"""Database migrations of the outbox."""
