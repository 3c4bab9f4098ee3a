"""The SQLite file that the embedded broker and the embedded result backend share."""
