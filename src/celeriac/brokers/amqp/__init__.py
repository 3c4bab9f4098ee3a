"""RabbitMQ: the broker's three sides."""
