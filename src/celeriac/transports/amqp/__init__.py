"""AMQP 0-9-1: a protocol without I/O, two drivers for it, and what has to be declared on RabbitMQ."""
