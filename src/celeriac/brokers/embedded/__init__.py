"""The embedded brokers: a SQLite file for the processes of one machine, and memory for one process."""
