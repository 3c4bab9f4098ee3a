"""What measures Celeriac, its peers and the bare loop side by side: `python -m bench --help`."""
