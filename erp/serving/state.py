"""What a gateway remembers: pins and spend, in one SQLite file that its workers share and that outlives them."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from erp.config.serve import Pins
from erp.errors import ErpError
from erp.files import locked

_FORM = 1
_HOUR, _DAY = 3600, 24
_OPENING_S, _WAIT_MS = 10.0, 100  # a request waits no longer than that for another worker
_TABLES = (
    "CREATE TABLE IF NOT EXISTS pins (conversation BLOB PRIMARY KEY, member TEXT NOT NULL, used REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS pins_by_use ON pins (used)",
    "CREATE TABLE IF NOT EXISTS spend (hour INTEGER PRIMARY KEY, usd REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS levels (name TEXT PRIMARY KEY, value REAL NOT NULL)",
)


class State:
    """Pins and spend. Every change is one statement, on the file before the method returns: a worker may be killed.

    A file that fails later on (locked for long, a full disk) stops nobody: a pin is then forgotten, spend is kept in
    memory until it can be written, and ``faults`` counts.

    Args:
        path: of the file; None keeps all in memory.
        pins: how long a conversation is remembered, and how many.

    Attributes:
        faults: accesses that failed.

    Raises:
        ErpError: the file cannot be opened, or is of another form.
    """

    def __init__(self, path: str | Path | None = None, pins: Pins | None = None) -> None:
        self._pins = pins or Pins()
        self._since_trim = 0
        self._pending = 0.0
        self._levels: dict[str, float] = {}
        self.faults = 0
        try:
            self._file = _opened(None if path is None else Path(path).expanduser())
        except (sqlite3.Error, OSError) as error:
            raise ErpError(
                f"gateway.state = {path}: cannot be opened ({error}); give a file in a folder that can be written to"
            ) from None

    def pinned(self, key: str, now: float) -> str | None:
        """The member that a conversation is with; None for one that is new, or forgotten.

        Args:
            key: of the conversation. Its hash alone is kept.
            now: seconds since 1970.
        """
        found = self._one(
            "SELECT member FROM pins WHERE conversation = ? AND used > ?", (_hashed(key), now - self._pins.ttl_s)
        )
        return None if found is None else str(found[0])

    def pin(self, key: str, member: str, now: float) -> None:
        """A conversation had a turn with a member; it is remembered from now on. Arguments as in ``pinned``."""
        if self._pins.ttl_s == 0:
            return
        self._one("INSERT OR REPLACE INTO pins VALUES (?, ?, ?) RETURNING used", (_hashed(key), member, now))
        self._since_trim += 1
        if self._since_trim > self._pins.most // 100:  # counting them each time would take as long as a decision
            self._since_trim = 0
            self._one("DELETE FROM pins WHERE used <= ?", (now - self._pins.ttl_s,))
            self._one(
                "DELETE FROM pins WHERE conversation IN "
                "(SELECT conversation FROM pins ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (self._pins.most,),
            )

    def add_spend(self, usd: float, now: float) -> None:
        """Count what a request cost, in USD, in the hour (UTC) that ``now`` is in."""
        pending, self._pending = self._pending + usd, 0.0  # never counted twice, whoever looks at this moment
        written = self._one(
            "INSERT INTO spend VALUES (?, ?) ON CONFLICT (hour) DO UPDATE SET usd = usd + excluded.usd RETURNING usd",
            (int(now // _HOUR), pending),
        )
        if written is None:
            self._pending += pending

    def spent(self, now: float) -> tuple[float, float]:
        """USD spent in this hour and on this day, both of UTC."""
        hour = int(now // _HOUR)
        found = self._one(
            "SELECT TOTAL(usd) FILTER (WHERE hour = ?), TOTAL(usd) FROM spend WHERE hour BETWEEN ? AND ?",
            (hour, hour - hour % _DAY, hour),
        )
        of_hour, of_day = (0.0, 0.0) if found is None else found
        return of_hour + self._pending, of_day + self._pending

    def level(self, name: str, start: float, step: float, most: float) -> float:
        """Move a number that workers share, and give where it is now, in [0, ``most``]; it begins at ``start``."""
        moved = self._one(
            "INSERT INTO levels VALUES (:name, MIN(MAX(:start + :step, 0.0), :most)) "
            "ON CONFLICT (name) DO UPDATE SET value = MIN(MAX(value + :step, 0.0), :most) RETURNING value",
            {"name": name, "start": start, "step": step, "most": most},
        )
        if moved is not None:
            self._levels[name] = float(moved[0])
        return self._levels.get(name, start)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _one(self, statement: str, values: tuple[object, ...] | dict[str, object]) -> tuple[float, ...] | None:
        """The first row of a statement's; None where there is none, or the file fails."""
        try:
            rows = self._file.execute(statement, values).fetchall()
        except sqlite3.Error:
            self.faults += 1
            return None
        return rows[0] if rows else None


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is None:
        return _made(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    with locked(path, _OPENING_S):  # two workers that begin at once
        # Journalled ahead, and the disk is not waited for: what a process wrote outlives its kill.
        file = sqlite3.connect(path, timeout=_OPENING_S, isolation_level=None, check_same_thread=False)
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        _made(file)
        file.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
    return file


def _made(file: sqlite3.Connection) -> sqlite3.Connection:
    form = file.execute("PRAGMA user_version").fetchone()[0]
    if form not in (0, _FORM):
        raise sqlite3.DatabaseError(f"its form is {form}, this version of erp reads {_FORM}")
    for statement in _TABLES:
        file.execute(statement)
    file.execute(f"PRAGMA user_version = {_FORM}")
    return file


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
