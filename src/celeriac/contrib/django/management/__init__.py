"""Django finds the commands below."""
