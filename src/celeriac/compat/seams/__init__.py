"""What packages replace in Celery's modules to hook into it: replaced here, it is heeded."""
