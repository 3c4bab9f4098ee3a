"""Small functions that programs import from Celery's and kombu's utility modules."""
