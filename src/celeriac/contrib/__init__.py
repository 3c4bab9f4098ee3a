"""Extras for the programs and tests of users."""
