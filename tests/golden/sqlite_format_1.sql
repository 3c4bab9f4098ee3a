-- A broker file as Celeriac first wrote it (format 1): one message that waits in the queue "suite", and the result "one".
BEGIN TRANSACTION;
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
    );
INSERT INTO "messages" VALUES(1,'suite',0,0,9e999,1.79536381260535597799e+09,0,0,NULL,NULL,NULL,X'99A5737569746586A46C616E67A27079A47461736BAA73756974652E7461736BA26964D92430326637313462632D633937662D343963622D626335312D616134313439386261656266A77265747269657300A3657461C0A7726F6F745F6964D92430326637313462632D633937662D343963622D626335312D616134313439386261656266C44D5B5B5D2C207B7D2C207B2263616C6C6261636B73223A206E756C6C2C20226572726261636B73223A206E756C6C2C2022636861696E223A206E756C6C2C202263686F7264223A206E756C6C7D5D82AE636F7272656C6174696F6E5F6964D92430326637313462632D633937662D343963622D626335312D616134313439386261656266AD64656C69766572795F6D6F646502B06170706C69636174696F6E2F6A736F6EA57574662D38A0C0C0');
CREATE TABLE queues (
        name TEXT PRIMARY KEY,
        ready INTEGER NOT NULL DEFAULT 0,
        delayed INTEGER NOT NULL DEFAULT 0,
        claimed INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    ;
INSERT INTO "queues" VALUES('suite',1,0,0,0);
CREATE TABLE results (
        number INTEGER PRIMARY KEY AUTOINCREMENT,   -- grows with every state stored: a listener asks what is newer
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        expires_at REAL,                        -- Unix seconds; null: never
        payload BLOB NOT NULL
    );
INSERT INTO "results" VALUES(1,'one','SUCCESS',NULL,X'7B22737461747573223A202253554343455353222C2022726573756C74223A20317D');
CREATE TABLE revocations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,   -- a consumer remembers the last one it has seen
        id TEXT NOT NULL UNIQUE,
        expires_at REAL NOT NULL,
        terminate INTEGER NOT NULL,
        signal TEXT NOT NULL
    );
CREATE TABLE workers (
        owner TEXT PRIMARY KEY,
        lease_until REAL NOT NULL,              -- on the machine's monotonic clock, which is one for all its processes
        lease_s REAL NOT NULL,
        machine TEXT NOT NULL,                  -- where the pid below means this process
        pid INTEGER NOT NULL,
        process TEXT NOT NULL                   -- tells it from a later process with the same pid
    );
CREATE INDEX messages_ready ON messages (queue, priority, due) WHERE state = 0;
CREATE INDEX messages_delayed ON messages (due) WHERE state = 1;
CREATE INDEX messages_claimed ON messages (owner) WHERE state = 2;
CREATE INDEX messages_dead ON messages (queue, parked_at) WHERE state = 3;
CREATE INDEX messages_dead_longest ON messages (parked_at) WHERE state = 3;
CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN
        UPDATE queues SET ready = ready + (NEW.state = 0), delayed = delayed + (NEW.state = 1), claimed = claimed + (NEW.state = 2), dead = dead + (NEW.state = 3) WHERE name = NEW.queue;
    END;
CREATE TRIGGER messages_updated AFTER UPDATE OF state ON messages WHEN OLD.state <> NEW.state BEGIN
        UPDATE queues SET ready = ready + (NEW.state = 0) - (OLD.state = 0), delayed = delayed + (NEW.state = 1) - (OLD.state = 1), claimed = claimed + (NEW.state = 2) - (OLD.state = 2), dead = dead + (NEW.state = 3) - (OLD.state = 3) WHERE name = NEW.queue;
    END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
        UPDATE queues SET ready = ready - (OLD.state = 0), delayed = delayed - (OLD.state = 1), claimed = claimed - (OLD.state = 2), dead = dead - (OLD.state = 3) WHERE name = OLD.queue;
    END;
CREATE INDEX results_expiry ON results (expires_at) WHERE expires_at IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('messages',1);
INSERT INTO "sqlite_sequence" VALUES('results',1);
COMMIT;
PRAGMA application_id = 1128614994;
PRAGMA user_version = 1;
