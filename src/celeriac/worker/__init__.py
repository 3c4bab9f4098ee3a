"""The worker: a core that talks with the broker, and executors that run tasks."""
