package ledger

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// A What is the kind of a fact.
type What string

// A fact is one of these. The comment of the package has the phases between which each of
// them moves a request.
const (
	Begun      What = "begun"      // Begun means that the request is about to be sent.
	Accepted   What = "accepted"   // Accepted means that the service made an event of the request.
	TurnedAway What = "turnedAway" // TurnedAway means that nothing began, and the request can be sent again.
	Refused    What = "refused"    // Refused means that nothing began, and the request is not sent again.
	Strayed    What = "strayed"    // Strayed means that another organizational unit accepted the request.
	Cut        What = "cut"        // Cut means that smaller requests take the place of the request.
	GotLost    What = "lost"       // GotLost means that no usable answer came.
	Polling    What = "polling"    // Polling means that the status of the event is about to be read.
	Noticed    What = "noticed"    // Noticed means that notifications make a poll worthwhile.
	Polled     What = "polled"     // Polled means that a poll did not show an end: PENDING, or an error.
	TooLong    What = "tooLong"    // TooLong means that the event was pending, or its polls failed, for the stall time.
	Gone       What = "gone"       // Gone means that the service has not found the event for a long time.
	Ended      What = "ended"      // Ended means that the event has a final status.
	Named      What = "named"      // Named means that notifications gave the outcome of every pair.
	Reading    What = "reading"    // Reading means that the lists are about to be read.
	Unread     What = "unread"     // Unread means that the lists could not be read.
	ReadBack   What = "readBack"   // ReadBack means that the lists were read. The reading began after the last fact about the request and about its doubts.
	Resent     What = "resent"     // Resent means that the pairs that the lists do not show are sent again.
	Verified   What = "verified"   // Verified means that the lists confirm the change of pairs that had not succeeded.
	Resumed    What = "resumed"    // Resumed means that a process continues the saved operation.
	Halted     What = "halted"     // Halted means that the operation stopped sending.
	Retried    What = "retried"    // Retried means that the failed pairs are with another operation.
	Undone     What = "undone"     // Undone means that another operation undoes the succeeded pairs.
)

// A Fact is one thing that happened to a request, or to the whole operation. Which fields
// it has depends on What. Its JSON form is one line of the journal.
type Fact struct {
	What    What      `json:"fact"`
	Number  int       `json:"n,omitzero"` // the number of this fact among the facts of the ledger, from 1; 0 if it is not counted
	Request int       `json:"request"`    // 0 for a fact about the whole operation
	At      time.Time `json:"at"`
	// Aged is how much time has passed since the last result of the request, as far as the
	// clocks can be trusted.
	Aged      time.Duration `json:"aged,omitzero"`
	Due       time.Time     `json:"due,omitzero"`       // when the request needs something again
	NotBefore time.Time     `json:"notBefore,omitzero"` // earliest time of the next poll
	Asks      bool          `json:"asks,omitzero"`      // of polling: the request for the status is about to be sent
	Event     string        `json:"event,omitzero"`     // of accepted and strayed
	Why       Reason        `json:"why,omitzero"`
	Unsure    bool          `json:"unsure,omitzero"` // an earlier attempt of the request may have begun
	// Failing is true for a poll without a usable answer, and NotFound if its answer was
	// that there is no such event.
	Failing  bool `json:"failing,omitzero"`
	NotFound bool `json:"notFound,omitzero"`
	// Rest is the verdict of the pairs that are not in Pairs. If it is not set, those pairs
	// keep their verdicts.
	Rest    Verdict       `json:"rest,omitzero"`
	Pairs   []Group       `json:"pairs,omitzero"`
	Torn    bool          `json:"torn,omitzero"`    // the reading is incomplete: the lists must be read again
	Pieces  []Piece       `json:"pieces,omitzero"`  // of cut and resent: the requests that take the place of the request
	Limits  bool          `json:"limits,omitzero"`  // of cut: the request was too large
	Bisects bool          `json:"bisects,omitzero"` // of cut: to find the invalid items
	Learned *batch.Limits `json:"learned,omitzero"` // of cut: smaller limits than the announced ones
	Rules   *Rules        `json:"rules,omitzero"`   // of resumed: the rules from now on, if they have changed
	To      string        `json:"to,omitzero"`      // of retried and undone: the id of the other operation
}

// A Piece is a request that takes the place of a part of another request. It is queued,
// unless it has an outcome.
type Piece struct {
	batch.Part
	Outcome Outcome // Failed: the piece was refused. Succeeded: the lists show its pairs.
	Why     Reason  // why the piece was refused
}

// savedPiece is the JSON form of a piece.
type savedPiece struct {
	Assets  Runs    `json:"assets,omitzero"`
	Users   Runs    `json:"users,omitzero"`
	Devices Runs    `json:"devices,omitzero"`
	Outcome Outcome `json:"outcome,omitzero"`
	Why     Reason  `json:"why,omitzero"`
}

// MarshalJSON returns the JSON form of the piece.
func (p Piece) MarshalJSON() ([]byte, error) {
	return json.Marshal(savedPiece{ToRuns(p.Assets), ToRuns(p.Users), ToRuns(p.Devices), p.Outcome, p.Why})
}

// UnmarshalJSON reads the JSON form of a piece.
func (p *Piece) UnmarshalJSON(data []byte) error {
	var s savedPiece
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	part, err := restorePart(s.Assets, s.Users, s.Devices)
	*p = Piece{part, s.Outcome, s.Why}
	return err
}

// MarshalJSON returns the fact with its times in UTC.
func (f Fact) MarshalJSON() ([]byte, error) {
	type plain Fact
	f.At, f.Due, f.NotBefore = utc(f.At), utc(f.Due), utc(f.NotBefore)
	return json.Marshal(plain(f))
}

// check returns an error if the fact lacks something, or holds what no fact holds.
func (f Fact) check() error {
	needsEvent := f.What == Accepted || f.What == Strayed
	needsReason := slices.Contains([]What{Refused, Strayed, GotLost, TooLong}, f.What)
	switch {
	case !validTimes(f.At, f.Due, f.NotBefore):
		return illegal(f, "a time is out of range")
	case needsEvent && f.Event == "":
		return illegal(f, "it has no event")
	case needsReason && f.Why == "":
		return illegal(f, "it has no reason")
	case f.Learned != nil && !validLimits(*f.Learned):
		return illegal(f, "a learned limit is out of range")
	}
	return f.checkVerdicts()
}

// checkVerdicts returns an error if a verdict of the fact is not valid, or is missing.
func (f Fact) checkVerdicts() error {
	needsRest := f.What == Ended || f.What == Named
	if needsRest || f.Rest != (Verdict{}) {
		if !f.Rest.valid() {
			return illegal(f, "the verdict of the rest is not valid")
		}
	}
	for _, g := range f.Pairs {
		if !g.valid() {
			return illegal(f, "a verdict is not valid")
		}
	}
	for _, p := range f.Pieces {
		if (p.Outcome == Failed) != (p.Why != "") {
			return illegal(f, "the outcome of a piece does not match its reason")
		}
	}
	return nil
}

// UnmarshalJSON reads the JSON form of a fact. Its time is marked as a saved one: see
// [Request.Aged].
func (f *Fact) UnmarshalJSON(data []byte) error {
	type plain Fact
	if err := json.Unmarshal(data, (*plain)(f)); err != nil {
		return err
	}
	f.At = f.At.In(elsewhere)
	return nil
}

// A transition is how one kind of fact changes a request.
type transition struct {
	from, to []Phase
	// apply changes r, a copy of the request, and may append pieces to the ledger. It returns
	// an error before it changes the ledger. The caller checks the phases before and after.
	apply func(l *Ledger, r *Request, f *Fact) error
}

// transitions is the one table of legal transitions. A fact that is not in it is about the
// whole operation.
var transitions = map[What]transition{
	Begun:      {phases(Queued), phases(Sending), begun},
	Accepted:   {phases(Sending), phases(Pending), accepted},
	TurnedAway: {phases(Sending), phases(Queued), turnedAway},
	Refused:    {phases(Sending), phases(Settled, Disputed), refused},
	Strayed:    {phases(Sending), phases(Settled), strayed},
	Cut:        {phases(Queued, Sending), phases(Replaced), cut},
	GotLost:    {phases(Sending), phases(Lost), gotLost},
	Polling:    {phases(Pending, Overdue, Replaced), nil, polling},
	Noticed:    {phases(Pending, Overdue), nil, noticed},
	Polled:     {phases(Pending, Overdue, Replaced), nil, polled},
	TooLong:    {phases(Pending), phases(Overdue), tooLong},
	Gone:       {phases(Overdue, Replaced), phases(Disputed, Replaced), gone},
	Ended:      {phases(Pending, Overdue, Replaced), phases(Settled, Disputed, Replaced), ended},
	Named:      {phases(Pending, Overdue), phases(Settled, Disputed), ended},
	Reading:    {phases(Lost, Disputed), nil, reading},
	Unread:     {phases(Lost, Overdue, Disputed), nil, unread},
	ReadBack:   {phases(Lost, Overdue, Disputed), phases(Settled, Lost, Overdue, Disputed), readBack},
	Resent:     {phases(Lost, Overdue), phases(Replaced), resent},
	Verified:   {phases(Settled), phases(Settled), verified},
}

func phases(p ...Phase) []Phase { return p }

// allowed reports whether the transition can lead from one phase to another. Without a list
// of phases, the phase stays the same.
func (t transition) allowed(from, to Phase) bool {
	if len(t.to) == 0 {
		return to == from
	}
	return slices.Contains(t.to, to)
}
