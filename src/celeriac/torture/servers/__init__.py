"""Servers of our own, to be broken: private ports, private data, nothing left behind."""
