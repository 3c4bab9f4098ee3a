"""What a program uses to define tasks, call them and read their results. Synchronous; it runs no worker."""
