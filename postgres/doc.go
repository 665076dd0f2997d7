/*
Package postgres shares the work of many machines through PostgreSQL: it
implements what package appsandbooks leaves to the vendor who runs more than one
process for the same organizational units.

  - [Store.Put] and [Store.Claim] keep operations with their journals. One
    process at a time carries an operation; when it dies, another goes on from
    the last entry, and what the dead one may still write is refused.
  - [Store.Begin], [Store.End] and [Store.Done] make the hooks of a
    notification succeed on one machine only.
  - [Store.Notify], [Store.Watch] and [Store.Run] bring a notification that
    reached one machine to whoever waits for it on another.
  - [Store.Limiter] shares maxRequestPerSecond and the pause of a Retry-After.

Everything is in one schema of its own, made and kept up to date by
[Store.Migrate]. Leases and pauses go by the database's clock. Content tokens and
notification secrets are never stored.

# A process

	store, err := postgres.New(pool)
	...
	if err := store.Migrate(ctx); err != nil { ... }
	go store.Run(ctx)

	handler, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{
		Notify:  store.Notify, // wakes waiters on all machines
		Deduper: store,
		Any: func(ctx context.Context, n *appsandbooks.Notification) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				// ... what the notification means to us, in tx ...
				return store.Done(ctx, tx, n)
			})
		},
	}, secrets...)

	client, err := appsandbooks.NewClient("", appsandbooks.WithTokenSource(lookUp),
		appsandbooks.WithLimiter(store.Limiter(uid)))

# An operation

Plan it and keep it, in the transaction that also enqueues the job that carries it:

	op, err := client.Assets.Associate(ctx, change, appsandbooks.WithPlanOnly())
	...
	err = store.Put(ctx, tx, uid, op)

Carry it a step, on whatever machine the job runs:

	claim, err := store.Claim(ctx, id) // ErrHeld: somebody else carries it
	...
	op, err := claim.Resume(client)
	...
	next, err := op.Step(claim.Context())
	err = claim.Release(ctx, op, next, err) // then come again at next, unless it is zero

Or wait on the spot, with op.Wait(claim.Context()): a notification that reaches
any of the machines wakes it.
*/
package postgres
