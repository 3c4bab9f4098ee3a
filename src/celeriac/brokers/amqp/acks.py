"""Many acknowledgements in few frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from celeriac.transports.amqp.protocol import frames


def ack_frames(channel: int, tags: Collection[int], outstanding: Iterable[int]) -> list[bytes]:
    """Return the frames that acknowledge `tags`.

    outstanding: all delivery tags of the channel that are not settled yet, those in `tags` among them, ascending.
    One frame can settle all deliveries up to a tag: right for the first ones, as far as all of them are in `tags`.
    """
    return _frames(frames.ack_frame, channel, tags, outstanding)


def nack_frames(channel: int, tags: Collection[int], outstanding: Iterable[int]) -> list[bytes]:
    """Return the frames that give `tags` back; arguments as of `ack_frames`."""
    return _frames(frames.nack_frame, channel, tags, outstanding)


def _frames(frame: frames.SettleFrame, channel: int, tags: Collection[int], outstanding: Iterable[int]) -> list[bytes]:
    if len(tags) < 2:
        return [frame(channel, tag, multiple=False) for tag in tags]
    wanted = set(tags)
    last = 0
    count = 0
    for tag in outstanding:
        if tag not in wanted:
            break
        last = tag
        count += 1
    if count < 2:
        return [frame(channel, tag, multiple=False) for tag in tags]
    rest = [frame(channel, tag, multiple=False) for tag in tags if tag > last]
    return [frame(channel, last, multiple=True), *rest]
