"""Connections that brokers and backends share, without knowing what either does with them."""
