"""`celeriac torture`: break things, and count what becomes of the tasks."""
