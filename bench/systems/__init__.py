"""The libraries: each module has the app that a worker imports, and `make_client`; imported in the library's own environment."""
