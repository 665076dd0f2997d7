-- All times are times of the database, from clock_timestamp(). The clock of a machine is
-- never stored. {schema} is replaced with the quoted name of the schema.

-- One row for each operation. Each journal entry updates the row. No index contains a
-- column that these updates change, so they are HOT updates: the new version of the row
-- stays on its page, where the fill factor leaves room. Its space is reused without
-- vacuum.
CREATE TABLE {schema}.operations (
	id             text PRIMARY KEY,
	unit           text NOT NULL, -- the uId of the organizational unit
	created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),

	-- The lease. fence counts the leases, and only the process with the latest lease can
	-- write. Other processes can lease the operation after leased_until, or at once if
	-- it is null.
	fence          bigint NOT NULL DEFAULT 0,
	leased_until   timestamptz,

	-- The journal: the number of its last entry, the size of the entry that is the whole
	-- operation, and the size of the entries after it.
	last_entry     bigint NOT NULL,
	snapshot_bytes bigint NOT NULL,
	appended_bytes bigint NOT NULL DEFAULT 0,

	-- A summary for people, written when a lease is released.
	state          text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'sent', 'finished')),
	requests       integer NOT NULL,
	accepted       integer NOT NULL DEFAULT 0,
	pairs          integer NOT NULL,
	succeeded      integer NOT NULL DEFAULT 0,
	failed         integer NOT NULL DEFAULT 0,
	unconfirmed    integer NOT NULL DEFAULT 0,
	unsent         integer NOT NULL,
	due_at         timestamptz NOT NULL, -- when the next step is due
	last_error     text,
	finished_at    timestamptz
) WITH (
	fillfactor = 60,
	autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
	autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX operations_unfinished ON {schema}.operations (unit) WHERE finished_at IS NULL;
CREATE INDEX operations_finished ON {schema}.operations (finished_at) WHERE finished_at IS NOT NULL;

-- The journals. The first entry of an operation is the whole operation, and the later
-- entries are changes. Rows are only inserted and deleted, never updated. When the
-- changes have become large, one new entry with the whole operation replaces all entries.
CREATE TABLE {schema}.journal (
	operation text NOT NULL REFERENCES {schema}.operations ON DELETE CASCADE,
	entry     bigint NOT NULL,
	line      text NOT NULL,
	PRIMARY KEY (operation, entry)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);

-- The events that operations wait for between two leases.
CREATE TABLE {schema}.awaited_events (
	event     text PRIMARY KEY,
	operation text NOT NULL REFERENCES {schema}.operations ON DELETE CASCADE,
	pairs     integer NOT NULL, -- unconfirmed pairs of the event
	named     integer NOT NULL DEFAULT 0 -- pairs that notifications have named so far
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX awaited_events_operation ON {schema}.awaited_events (operation);

-- The notifications that are being handled or are handled. The index is on received_at
-- and not on handled_at, so that setting handled_at is a HOT update.
CREATE TABLE {schema}.inbox (
	key          text PRIMARY KEY,
	received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
	lease        bigint NOT NULL, -- a random number of the process that handles it
	leased_until timestamptz NOT NULL,
	handled_at   timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX inbox_received ON {schema}.inbox (received_at);

-- Notifications for the processes that wait for them. The table is unlogged: it writes no
-- write-ahead log, and a crash of the database empties it. A lost row does no harm,
-- because processes also poll the status of their events.
CREATE UNLOGGED TABLE {schema}.wakeups (
	id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	key        text NOT NULL UNIQUE,
	unit       text NOT NULL,
	event      text NOT NULL,
	items      integer NOT NULL, -- pairs or users that the notification names
	body       text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX wakeups_created ON {schema}.wakeups (created_at);
CREATE INDEX wakeups_event ON {schema}.wakeups (event) WHERE event <> '';

-- The pace of each organizational unit, and the slots of it that processes have. A slot
-- allows one request in any second. Rows of both tables are updated all the time. The
-- tables have only a few rows for each active unit.
CREATE TABLE {schema}.paces (
	unit         text PRIMARY KEY,
	rate         integer NOT NULL, -- requests per second
	paused_until timestamptz,
	used_at      timestamptz NOT NULL DEFAULT clock_timestamp() -- not exact: see exchange_slots
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE TABLE {schema}.slots (
	unit    text NOT NULL REFERENCES {schema}.paces ON DELETE CASCADE,
	process bigint NOT NULL,
	slots   integer NOT NULL,
	need    integer NOT NULL, -- slots that the process could use now
	since   timestamptz NOT NULL, -- while slots = 0: when the process began to wait for a slot
	until   timestamptz NOT NULL, -- the slots are free after this time, unless they are renewed
	PRIMARY KEY (unit, process)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- exchange_slots reports the usage of a unit by one process and grants slots to it:
--   a_need    requests of the process that wait or use a slot
--   a_wanted  the largest number of slots that the process can use
--   a_used    slots that the process cannot return yet, because the service may have
--             received their requests less than a second ago
--   a_lease   how long the granted slots are reserved
--   a_rate    the new rate of the unit, or null
--   a_pause   the rest of a pause that the database may not have, or zero
--   granted   the slots of the process from now on
--   contended whether any process wants more slots than it has
CREATE FUNCTION {schema}.exchange_slots(
	a_unit text, a_process bigint, a_need integer, a_wanted integer, a_used integer,
	a_lease interval, a_rate integer, a_pause interval,
	OUT granted integer, OUT current_rate integer, OUT pause interval, OUT contended boolean
) LANGUAGE plpgsql AS $$
DECLARE
	right_now     timestamptz;
	paused        timestamptz;
	other_slots   integer; -- slots of the other processes
	other_users   integer; -- other processes that need slots
	others_want   boolean; -- another process needs more slots than it has
	fair_share    integer;
	longest_wait  timestamptz; -- since when another process waits for its first slot
	own_wait      timestamptz; -- since when this process waits for its first slot
BEGIN
	-- The lock on the unit's row orders the exchanges of a unit. A process holds this
	-- lock only for a short time.
	SELECT rate, paused_until INTO current_rate, paused FROM {schema}.paces WHERE unit = a_unit FOR UPDATE;
	IF NOT FOUND THEN
		INSERT INTO {schema}.paces (unit, rate) VALUES (a_unit, coalesce(a_rate, 15)) ON CONFLICT DO NOTHING;
		SELECT rate, paused_until INTO current_rate, paused FROM {schema}.paces WHERE unit = a_unit FOR UPDATE;
	END IF;
	right_now := clock_timestamp(); -- after the wait for the lock
	IF a_pause > interval '0' THEN
		paused := greatest(paused, right_now + a_pause);
	END IF;
	IF a_rate IS NOT NULL AND a_rate <> current_rate OR a_pause > interval '0' THEN
		current_rate := coalesce(a_rate, current_rate);
		UPDATE {schema}.paces SET rate = current_rate, paused_until = paused, used_at = right_now WHERE unit = a_unit;
	END IF;
	pause := greatest(paused - right_now, interval '0');

	DELETE FROM {schema}.slots WHERE unit = a_unit AND until < right_now AND process <> a_process;
	SELECT coalesce(sum(slots), 0), count(*) FILTER (WHERE need > 0), coalesce(bool_or(need > slots), false),
			min(since) FILTER (WHERE slots = 0)
		INTO other_slots, other_users, others_want, longest_wait
		FROM {schema}.slots WHERE unit = a_unit AND process <> a_process;

	granted := least(a_wanted, current_rate - other_slots);
	IF others_want THEN
		fair_share := current_rate / (other_users + 1);
		granted := least(granted, fair_share);
		IF granted <= 0 AND a_used = 0 AND a_need > 0 AND other_slots < current_rate THEN
			-- More processes than slots: the process that has waited longest gets one.
			SELECT since INTO own_wait FROM {schema}.slots WHERE unit = a_unit AND process = a_process AND slots = 0;
			IF longest_wait IS NULL OR longest_wait >= coalesce(own_wait, right_now) THEN
				granted := 1;
			END IF;
		END IF;
	END IF;
	granted := greatest(granted, 0);
	contended := others_want OR granted < a_need;
	IF a_need = 0 THEN
		granted := 0;
		DELETE FROM {schema}.slots WHERE unit = a_unit AND process = a_process;
		-- used_at is written once an hour at most, to save updates.
		UPDATE {schema}.paces SET used_at = right_now
			WHERE unit = a_unit AND used_at < right_now - interval '1 hour';
	ELSE
		-- The used slots of the process count, even if it uses more slots than it is
		-- granted.
		INSERT INTO {schema}.slots AS s (unit, process, slots, need, since, until)
			VALUES (a_unit, a_process, greatest(granted, a_used), a_need, right_now, right_now + a_lease)
			ON CONFLICT (unit, process) DO UPDATE SET
				slots = excluded.slots, need = excluded.need, until = excluded.until,
				since = CASE WHEN s.slots = 0 AND excluded.slots = 0 THEN s.since ELSE excluded.since END;
	END IF;
END $$;
