"""RabbitMQ: our own thin AMQP client (`protocol`, `blocking`, `aio`) and the broker's three sides on top of it."""
