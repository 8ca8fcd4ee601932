"""The tables of the index. A view that can be dropped at any time; `VERSION` goes up when the tables change."""

VERSION = 1

TABLES = """
CREATE TABLE IF NOT EXISTS streams (
  stream TEXT PRIMARY KEY,      -- the stream under a bucket
  created TEXT NOT NULL,        -- when the stream was made: another one means that the view is of something else
  applied INTEGER NOT NULL      -- last sequence applied
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS devices (
  id TEXT PRIMARY KEY, revision INTEGER NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
  key TEXT NOT NULL, value TEXT NOT NULL, device_id TEXT NOT NULL, PRIMARY KEY (key, value, device_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS labels_of ON labels (device_id);
CREATE TABLE IF NOT EXISTS contracts (
  device_id TEXT PRIMARY KEY, digest TEXT NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contracts_by_digest ON contracts (digest, device_id);
CREATE TABLE IF NOT EXISTS capabilities (
  type TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (digest, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS capabilities_by_type ON capabilities (type, version, digest);
CREATE TABLE IF NOT EXISTS sessions (
  device_id TEXT PRIMARY KEY, online INTEGER NOT NULL, bridge_id TEXT NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_bridge ON sessions (bridge_id, device_id) WHERE online;
"""

DROP = """
DROP TABLE IF EXISTS streams; DROP TABLE IF EXISTS devices; DROP TABLE IF EXISTS labels;
DROP TABLE IF EXISTS contracts; DROP TABLE IF EXISTS capabilities; DROP TABLE IF EXISTS sessions;
"""
