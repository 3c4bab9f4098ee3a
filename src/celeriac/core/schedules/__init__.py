"""When something is due: fields of a crontab, walls and instants of a time zone, and what becomes of missed ticks. Pure."""
