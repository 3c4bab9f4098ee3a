"""Random values for property tests."""

from __future__ import annotations

from datetime import UTC

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
# Objects that look like tags are the one thing that does not come back as it was.
keys = st.text().filter(lambda key: not key.startswith("__"))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)
"""Everything that can be written as JSON with Celery's tags."""


def quick(examples: int) -> settings:
    """Settings for one property: on a busy machine it is slow, never red. Half of `examples` are tried: each run tries others."""
    return settings(max_examples=max(20, examples // 2), deadline=None, suppress_health_check=[HealthCheck.too_slow])
