"""What a worker tells whoever listens: events about its tasks and about itself, in Celery's format."""
