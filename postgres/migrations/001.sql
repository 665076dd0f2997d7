-- All times are the database's: clock_timestamp(), never a machine's clock.
-- {schema} is replaced by the quoted name of the schema.

-- An operation: one row, updated with each journal entry. No index contains a
-- column that those updates change, so they are HOT: they stay on the page,
-- for which the fill factor leaves room, and need no vacuum to be reused.
CREATE TABLE {schema}.operations (
	id             text PRIMARY KEY,
	unit           text NOT NULL,
	created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),

	-- Who carries it: the fence counts the claims, and only the latest one's
	-- holder can write. leased_until is when others may claim it; null: now.
	fence          bigint NOT NULL DEFAULT 0,
	leased_until   timestamptz,

	-- The journal: its last entry, and its size in front of the plan's end and behind.
	last_entry     bigint NOT NULL,
	snapshot_bytes bigint NOT NULL,
	appended_bytes bigint NOT NULL DEFAULT 0,

	-- A summary for people, as of the last release.
	state          text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'submitted', 'done')),
	requests       integer NOT NULL,
	accepted       integer NOT NULL DEFAULT 0,
	pairs          integer NOT NULL,
	succeeded      integer NOT NULL DEFAULT 0,
	failed         integer NOT NULL DEFAULT 0,
	unconfirmed    integer NOT NULL DEFAULT 0,
	due_at         timestamptz,
	problem        text,
	finished_at    timestamptz
) WITH (
	fillfactor = 60,
	autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
	autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX operations_open ON {schema}.operations (unit) WHERE finished_at IS NULL;
CREATE INDEX operations_finished ON {schema}.operations (finished_at) WHERE finished_at IS NOT NULL;

-- Its journal: entry 1 (or the first one left) is the whole operation, later
-- ones are changes. Rows are only ever inserted, and deleted by compaction.
CREATE TABLE {schema}.journal (
	operation text NOT NULL REFERENCES {schema}.operations ON DELETE CASCADE,
	entry     bigint NOT NULL,
	line      text NOT NULL,
	PRIMARY KEY (operation, entry)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);

-- The events that operations wait for while nobody carries them.
CREATE TABLE {schema}.awaited (
	event     text PRIMARY KEY,
	operation text NOT NULL REFERENCES {schema}.operations ON DELETE CASCADE,
	pairs     integer NOT NULL, -- of the event, still open
	named     integer NOT NULL DEFAULT 0 -- by notifications, so far
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX awaited_operation ON {schema}.awaited (operation);

-- Which notifications are being handled, and which are done. first_at is
-- indexed rather than done_at so that finishing one is a HOT update.
CREATE TABLE {schema}.inbox (
	key           text PRIMARY KEY,
	first_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	claim         bigint NOT NULL,
	claimed_until timestamptz NOT NULL,
	done_at       timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX inbox_first ON {schema}.inbox (first_at);

-- Notifications as hints for those who wait, on whatever machine. They may be
-- lost (the status of an event is the truth), so they cost no write-ahead log.
CREATE UNLOGGED TABLE {schema}.hints (
	id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at       timestamptz NOT NULL DEFAULT clock_timestamp(),
	key      text NOT NULL UNIQUE,
	uid      text NOT NULL,
	event    text NOT NULL,
	elements integer NOT NULL,
	body     text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX hints_at ON {schema}.hints (at);
CREATE INDEX hints_event ON {schema}.hints (event) WHERE event <> '';

-- The pace of an organizational unit, and the slots that processes hold of it.
-- A slot that a process holds is one request in any second. Both tables are
-- rewritten in place all the time and hold no more than a few rows per active unit.
CREATE TABLE {schema}.paces (
	unit         text PRIMARY KEY,
	rate         integer NOT NULL,
	paused_until timestamptz,
	used_at      timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE TABLE {schema}.slots (
	unit   text NOT NULL REFERENCES {schema}.paces ON DELETE CASCADE,
	holder bigint NOT NULL, -- a process
	slots  integer NOT NULL,
	need   integer NOT NULL, -- what it could use now
	since  timestamptz NOT NULL, -- when it began to wait for its first slot, or got it
	until  timestamptz NOT NULL, -- when they are free again if nothing is heard of it
	PRIMARY KEY (unit, holder)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- share_pace is one exchange of a process with the others about a unit: what it
-- needs (requests waiting and under way), what it would take, and what it
-- cannot give back yet, as the service may have seen them less than a second ago.
CREATE FUNCTION {schema}.share_pace(
	a_unit text, a_holder bigint, a_need integer, a_ask integer, a_busy integer,
	a_lease interval, a_rate integer, a_pause interval,
	OUT allowed integer, OUT current_rate integer, OUT pause interval, OUT crowded boolean
) LANGUAGE plpgsql AS $$
DECLARE
	right_now timestamptz;
	paused    timestamptz;
	held      integer;
	others    integer;
	hungry    boolean;
	fair      integer;
	waits     timestamptz; -- who waits longest for a first slot, the caller not counted
BEGIN
	-- The row of the unit is the lock of the exchange, held for microseconds.
	SELECT rate, paused_until INTO current_rate, paused FROM {schema}.paces WHERE unit = a_unit FOR UPDATE;
	IF NOT FOUND THEN
		INSERT INTO {schema}.paces (unit, rate) VALUES (a_unit, coalesce(a_rate, 15)) ON CONFLICT DO NOTHING;
		SELECT rate, paused_until INTO current_rate, paused FROM {schema}.paces WHERE unit = a_unit FOR UPDATE;
	END IF;
	right_now := clock_timestamp(); -- not before the lock is ours
	IF a_pause > interval '0' THEN
		paused := greatest(paused, right_now + a_pause);
	END IF;
	IF a_rate IS NOT NULL AND a_rate <> current_rate OR a_pause > interval '0' THEN
		current_rate := coalesce(a_rate, current_rate);
		UPDATE {schema}.paces SET rate = current_rate, paused_until = paused, used_at = right_now WHERE unit = a_unit;
	END IF;
	pause := greatest(paused - right_now, interval '0');

	DELETE FROM {schema}.slots WHERE unit = a_unit AND until < right_now AND holder <> a_holder;
	SELECT coalesce(sum(slots), 0), count(*) FILTER (WHERE need > 0), coalesce(bool_or(need > slots), false),
			min(since) FILTER (WHERE slots = 0)
		INTO held, others, hungry, waits
		FROM {schema}.slots WHERE unit = a_unit AND holder <> a_holder;

	allowed := least(a_ask, current_rate - held);
	IF hungry THEN
		-- Nobody takes more than a fair share from those who want.
		fair := current_rate / (others + 1);
		allowed := least(allowed, fair);
		IF allowed <= 0 AND a_busy = 0 AND a_need > 0 AND held < current_rate AND (waits IS NULL OR waits >= coalesce(
			(SELECT since FROM {schema}.slots WHERE unit = a_unit AND holder = a_holder AND slots = 0), right_now)) THEN
			allowed := 1; -- more processes than slots: in turns
		END IF;
	END IF;
	allowed := greatest(allowed, 0);
	crowded := hungry OR allowed < a_need;
	IF a_need = 0 THEN
		allowed := 0;
		DELETE FROM {schema}.slots WHERE unit = a_unit AND holder = a_holder;
		UPDATE {schema}.paces SET used_at = right_now
			WHERE unit = a_unit AND used_at < right_now - interval '1 hour';
	ELSE
		-- What is busy counts, also beyond what is allowed from now on.
		INSERT INTO {schema}.slots AS s (unit, holder, slots, need, since, until)
			VALUES (a_unit, a_holder, greatest(allowed, a_busy), a_need, right_now, right_now + a_lease)
			ON CONFLICT (unit, holder) DO UPDATE SET
				slots = excluded.slots, need = excluded.need, until = excluded.until,
				since = CASE WHEN s.slots = 0 AND excluded.slots = 0 THEN s.since ELSE excluded.since END;
	END IF;
END $$;
