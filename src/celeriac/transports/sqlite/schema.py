"""The tables in the file, and what makes a file ours."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x43454C52
"""`PRAGMA application_id` of our files: "CELR"."""
SCHEMA_VERSION: Final = 4
"""`PRAGMA user_version`; whoever changes a table raises it and adds the way there to `MIGRATIONS`."""

READY: Final = 0
DELAYED: Final = 1
CLAIMED: Final = 2
DEAD: Final = 3

_COUNTED: Final = (("ready", READY), ("delayed", DELAYED), ("claimed", CLAIMED), ("dead", DEAD))


def _count(row: str, sign: str) -> str:
    return ", ".join(f"{column} = {column} {sign} ({row}.state = {state})" for column, state in _COUNTED)


def _recount() -> str:
    return ", ".join(f"{name} = {name} + (NEW.state = {state}) - (OLD.state = {state})" for name, state in _COUNTED)


# A message's place in its queue never changes: most urgent priority first, then by `due`, then by age.  `due` is infinite for
# a message that was never delayed, so that one that comes out of its delay stands at the head; and one that comes back from
# a claim finds its old place, before all that were published after it.
_VERSION_1: Final = (
    """
    CREATE TABLE queues (
        name TEXT PRIMARY KEY,
        ready INTEGER NOT NULL DEFAULT 0,
        delayed INTEGER NOT NULL DEFAULT 0,
        claimed INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: a tag must not fit a later message
        queue TEXT NOT NULL,
        state INTEGER NOT NULL,                 -- 0 ready, 1 delayed, 2 claimed, 3 dead
        priority INTEGER NOT NULL,              -- 0 is the most urgent, as in Celery on Redis
        due REAL NOT NULL,                      -- Unix seconds; infinite when it was never delayed
        published_at REAL NOT NULL,             -- Unix seconds
        claim INTEGER NOT NULL DEFAULT 0,       -- how often it was claimed: the fence against late settlements
        losses INTEGER NOT NULL DEFAULT 0,      -- how often it went down with a whole worker
        owner TEXT,                             -- of the claim
        reason TEXT,                            -- why it is dead
        parked_at REAL,                         -- since when, Unix seconds
        payload BLOB NOT NULL                   -- the Message in MessagePack
    )
    """,
    f"CREATE INDEX messages_ready ON messages (queue, priority, due) WHERE state = {READY}",
    f"CREATE INDEX messages_delayed ON messages (due) WHERE state = {DELAYED}",
    f"CREATE INDEX messages_claimed ON messages (owner) WHERE state = {CLAIMED}",
    f"CREATE INDEX messages_dead ON messages (queue, parked_at) WHERE state = {DEAD}",
    f"CREATE INDEX messages_dead_longest ON messages (parked_at) WHERE state = {DEAD}",
    # The counts of a queue cost the same however long it is, and no statement can forget them.
    f"""
    CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN
        UPDATE queues SET {_count("NEW", "+")} WHERE name = NEW.queue;
    END
    """,
    f"""
    CREATE TRIGGER messages_updated AFTER UPDATE OF state ON messages WHEN OLD.state <> NEW.state BEGIN
        UPDATE queues SET {_recount()} WHERE name = NEW.queue;
    END
    """,
    f"""
    CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
        UPDATE queues SET {_count("OLD", "-")} WHERE name = OLD.queue;
    END
    """,
    """
    CREATE TABLE workers (
        owner TEXT PRIMARY KEY,
        lease_until REAL NOT NULL,              -- on the machine's monotonic clock, which is one for all its processes
        lease_s REAL NOT NULL,
        machine TEXT NOT NULL,                  -- where the pid below means this process
        pid INTEGER NOT NULL,
        process TEXT NOT NULL                   -- tells it from a later process with the same pid
    )
    """,
    """
    CREATE TABLE revocations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,   -- a consumer remembers the last one it has seen
        id TEXT NOT NULL UNIQUE,
        expires_at REAL NOT NULL,
        terminate INTEGER NOT NULL,
        signal TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE results (
        number INTEGER PRIMARY KEY AUTOINCREMENT,   -- grows with every state stored: a listener asks what is newer
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        expires_at REAL,                        -- Unix seconds; null: never
        payload BLOB NOT NULL
    )
    """,
    "CREATE INDEX results_expiry ON results (expires_at) WHERE expires_at IS NOT NULL",
)

_VERSION_2: Final = (
    """
    CREATE TABLE chords (
        group_id TEXT PRIMARY KEY,
        size INTEGER,                           -- how many parts were announced; null: not known yet
        added INTEGER NOT NULL DEFAULT 0,       -- how many were added later
        ended INTEGER NOT NULL DEFAULT 0,       -- how many are in
        finisher TEXT,                          -- "<member id>:<place>": who has to send the body
        closed INTEGER NOT NULL DEFAULT 0,      -- 1: it is over, and nothing but this is known of it
        updated_at REAL NOT NULL,               -- Unix seconds of its last progress
        kept_s REAL,                            -- so long after; null: for ever
        expires_at REAL,                        -- Unix seconds
        body BLOB NOT NULL DEFAULT x''          -- its signature, for whoever finishes it by hand
    )
    """,
    "CREATE INDEX chords_open ON chords (updated_at) WHERE NOT closed",
    "CREATE INDEX chords_expiry ON chords (expires_at) WHERE expires_at IS NOT NULL",
    """
    CREATE TABLE chord_parts (
        number INTEGER PRIMARY KEY,             -- in the order in which they came in
        group_id TEXT NOT NULL,
        place REAL NOT NULL,                    -- among the results; infinite: after all that have one
        member_id TEXT NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE (group_id, place, member_id)
    )
    """,
    """
    CREATE TABLE chord_additions (
        group_id TEXT NOT NULL,
        member_id TEXT NOT NULL,                -- who was added counts once
        PRIMARY KEY (group_id, member_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE saved_groups (
        group_id TEXT PRIMARY KEY,
        expires_at REAL,                        -- Unix seconds; null: never
        payload BLOB NOT NULL
    )
    """,
    "CREATE INDEX saved_groups_expiry ON saved_groups (expires_at) WHERE expires_at IS NOT NULL",
)

_VERSION_3: Final = ("ALTER TABLE revocations ADD COLUMN signature TEXT NOT NULL DEFAULT ''",)

_VERSION_4: Final = (
    """
    CREATE TABLE mailboxes (
        queue TEXT NOT NULL,                    -- of one process
        exchange TEXT NOT NULL,
        kept_until REAL NOT NULL,               -- Unix seconds; its process puts that off
        PRIMARY KEY (queue, exchange)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE letters (
        number INTEGER PRIMARY KEY AUTOINCREMENT,   -- a process remembers the last one it has read
        exchange TEXT NOT NULL,
        expires_at REAL NOT NULL,                   -- Unix seconds
        payload BLOB NOT NULL                       -- the Message in MessagePack
    )
    """,
    "CREATE INDEX letters_expiry ON letters (expires_at)",
)

MIGRATIONS: Final = {0: _VERSION_1, 1: _VERSION_2, 2: _VERSION_3, 3: _VERSION_4}
"""From which version -> what makes it the next one; an empty file is of version 0."""
