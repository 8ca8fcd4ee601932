"""The tables of the index. The file can be deleted at any time; `VERSION` is increased when the tables change.

The row of a device, a contract and a session is numbered by the sequence of its record, so the changes since a sequence
are a range of the table. A deleted key leaves a row without content, so that its deletion can be sent to watches.
Values that many devices share (labels, contract bodies, builds) are stored once and referred to by number.
"""

VERSION = 4
"""Version of the tables; a file of another version is replaced."""

TABLES = """
CREATE TABLE streams (
  stream TEXT PRIMARY KEY,      -- the stream of a bucket
  created TEXT NOT NULL,        -- creation time of the stream: if it differs, the index is of another mesh
  applied INTEGER NOT NULL      -- last sequence applied
) WITHOUT ROWID;
CREATE TABLE label_names (no INTEGER PRIMARY KEY, key TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (key, value));
CREATE TABLE builds (
  no INTEGER PRIMARY KEY, model TEXT NOT NULL, device_class TEXT NOT NULL, firmware_version TEXT NOT NULL,
  slot TEXT NOT NULL, UNIQUE (model, device_class, firmware_version, slot)
);
CREATE TABLE bodies (
  no INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  body BLOB                     -- StoredContractBody; NULL until it is known
);
CREATE TABLE body_types (       -- the semantic types of its capabilities
  body INTEGER NOT NULL, type TEXT NOT NULL, PRIMARY KEY (body, type)
) WITHOUT ROWID;
CREATE TABLE devices (
  revision INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  state INTEGER,                -- DeviceState of the proto; NULL for a deleted key, like the columns below
  labels TEXT,                  -- numbers of label_names, a JSON list
  device BLOB                   -- fields of the message Device
);
CREATE TABLE labels (           -- devices with a label, in the order of pages
  label INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (label, id)
) WITHOUT ROWID;
CREATE TABLE contracts (
  revision INTEGER PRIMARY KEY,
  id TEXT NOT NULL,             -- the device
  body INTEGER, build INTEGER, contract_revision INTEGER
);
CREATE TABLE sessions (
  revision INTEGER PRIMARY KEY,
  id TEXT NOT NULL,             -- the device
  bridge TEXT,                  -- the bridge where the device is online, else NULL
  device BLOB,                  -- fields of the message Device: presence, when its certificate ends
  certificate INTEGER           -- expiry of that, in seconds since 1970; NULL if unknown
);
"""

INDEXES = """
CREATE UNIQUE INDEX devices_by_id ON devices (id);
CREATE UNIQUE INDEX contracts_by_id ON contracts (id);
CREATE INDEX contracts_by_body ON contracts (body, id);
CREATE UNIQUE INDEX sessions_by_id ON sessions (id);
CREATE INDEX sessions_by_bridge ON sessions (bridge, id) WHERE bridge IS NOT NULL;
CREATE INDEX sessions_online ON sessions (id) WHERE bridge IS NOT NULL;
INSERT INTO labels SELECT l.value, d.id FROM devices d, json_each(d.labels) l ORDER BY 1, 2;
"""
