"""Redis Cluster's rules for keys: which slot a key is in, and the prefix that puts all of ours into one. Pure."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Mapping
from typing import Any, Final

from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured
from celeriac.transports.redis.options import text_option

CLUSTER_SCHEME: Final = "rediscluster"
SLOTS: Final = 16384
PREFIX: Final = "{celeriac}:"
"""Before all keys in a cluster, unless `global_keyprefix` says otherwise: one hash tag, so one slot."""


def key_slot(key: str) -> int:
    """Return the slot of a key: of what stands between its first braces, if anything does."""
    return crc_hqx((hash_tag(key) or key).encode(), 0) % SLOTS


def hash_tag(key: str) -> str:
    """Return what alone decides about a key's slot; empty when it is the whole key."""
    return key.partition("{")[2].partition("}")[0] if "}" in key.partition("{")[2] else ""


def key_options(url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the transport options with a `global_keyprefix` that keeps all keys in one slot, where `url` leads to a cluster.

    Raises `ImproperlyConfigured` for a prefix that does not.
    """
    if scheme(url) != CLUSTER_SCHEME:
        return options
    prefix = text_option(options, "global_keyprefix", "") or PREFIX
    if not hash_tag(prefix):
        raise ImproperlyConfigured(
            f"{mask(url)}: with a cluster, transport option global_keyprefix = {prefix!r} needs a hash tag, which keeps all keys"
            f" on one node: write it as {'{' + prefix.rstrip(':_-.') + '}:'!r}"
        )
    return {**options, "global_keyprefix": prefix}
