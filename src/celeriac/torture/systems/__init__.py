"""The task queues that can be tortured: ours, and others for comparison."""
