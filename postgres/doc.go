/*
Package postgres shares the work for organizational units between several
processes. The shared data is in a PostgreSQL database. The package implements
the interfaces of package appsandbooks for this case.

A [Store] has four parts:

  - [Operations] stores operations with their journals. One process at a time
    has the lease of an operation and runs it. When that process dies, another
    process continues from the last journal entry, and the database refuses all
    later writes of the dead process.
  - [Inbox] records which notifications are handled. A hook for a notification
    then succeeds in one process only.
  - [Wakeups] passes a notification that reaches one process to the operations
    that wait for it in other processes.
  - [Limiter] shares the pace of an organizational unit: maxRequestPerSecond and
    the pause of a Retry-After.

All tables are in one schema, which [Store.Migrate] creates and updates. Leases
and pauses use the clock of the database. Content tokens and notification secrets
are never stored.

# A process

	store, err := postgres.New(pool)
	...
	if err := store.Migrate(ctx); err != nil { ... }
	go store.Run(ctx)

	handler, err := appsandbooks.NewNotificationHandler(
		func(ctx context.Context, n *appsandbooks.Notification) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				// ... handle the notification in tx ...
				return store.Inbox().MarkHandled(ctx, tx, n)
			})
		},
		appsandbooks.WithNotificationSecrets(secrets...),
		appsandbooks.WithNotify(store.Wakeups().Notify), // wakes the operations in all processes
		appsandbooks.WithDeduper(store.Inbox()))

	client, err := appsandbooks.NewClient("", appsandbooks.WithTokenSource(lookUp),
		appsandbooks.WithLimiter(store.Limiter(uid)))

# An operation

Plan the operation. Save it in the transaction that also enqueues its job:

	op, err := client.Assets.Associate(ctx, change, appsandbooks.WithPlanOnly())
	...
	err = store.Operations().Save(ctx, tx, op)

Run one step, in the process that runs the job:

	lease, err := store.Operations().Lease(ctx, id) // ErrLeaseHeld: another process has it
	...
	op, err := lease.Resume(client)
	...
	err = op.Step(lease.Context())
	err = lease.Release(ctx, op, err)
	next, more := op.Next() // run the next step at next, if more is true

Instead of steps, op.Wait(lease.Context()) runs the operation for as long as there is
something to wait for. A notification that reaches any of the processes wakes it.
*/
package postgres
