"""What workers and clients agree on beside the messages: limits across the cluster, and unique tasks."""
