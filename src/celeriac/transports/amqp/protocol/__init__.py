"""AMQP 0-9-1 without any I/O: bytes in, events out; requests in, bytes out.

`codec` values and tables · `properties` what stands beside a body · `frames` the envelope of everything · `methods` the requests
we make · `events` what the broker tells · `connection` the state machine that ties them together.
Source: AMQP 0-9-1 specification and RabbitMQ's errata to it.
"""
