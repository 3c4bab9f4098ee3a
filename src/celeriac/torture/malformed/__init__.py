"""Messages that no client of ours would send: what they are, how they are put into a broker, and how a worker bears them."""
