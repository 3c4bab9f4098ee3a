"""Redis: connections without and with an event loop, the scripts, and where results stand."""
