package appsandbooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"strconv"

	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// A lookup is what the service's lists show of some pairs. A pair that is in none of the
// maps is not listed.
type lookup struct {
	seen map[batch.Pair]bool // pairs that a list shows
	// unseen has the pairs that the lists neither prove nor disprove. They are users with
	// a ManagedAppleID: the list of users does not show whose account it is.
	unseen map[batch.Pair]bool
	// unread has the pairs that may be listed or not: their lists changed while they were
	// read, or were not read.
	unread map[batch.Pair]bool
}

// lookUp reads the lists that show the pairs. If it returns an error, the lookup contains what
// it has found so far. The error is [ErrOtherUnit] if a page comes from another
// organizational unit. A list that changed while it was read is no error.
//
// Broad lists show many pairs: one list for each asset, or one list without a filter. Narrow
// lists show the pairs of one target, or one pair. Nearly all narrow lists have one page, and
// a page cannot change while it is read. lookUp chooses the lists with fewer pages. If a broad
// list has changed, lookUp reads it once more, and not again.
//
// lookUp reads at most [maxNarrowLists] narrow lists, in the order of the pairs. If the broad
// lists change all the time, the remaining pairs are unread, so that the caller can use the
// result before it continues with them.
func (op *Operation) lookUp(ctx context.Context, pairs []batch.Pair) (lookup, error) {
	s := &search{
		op: op, reader: op.tables.info.lists, narrowLeft: maxNarrowLists, targets: map[batch.Pair]int{},
		lookup: lookup{seen: map[batch.Pair]bool{}, unseen: map[batch.Pair]bool{}, unread: make(map[batch.Pair]bool, len(pairs))},
	}
	for _, p := range pairs {
		if !s.unread[p] {
			s.unread[p] = true
			s.targets[targetOf(p)]++
		}
	}
	err := s.run(ctx, pairs)
	return s.lookup, err
}

// replace sets the result for the pair p to that of a later lookup.
func (l lookup) replace(p batch.Pair, later lookup) {
	for _, sets := range [][2]map[batch.Pair]bool{{l.seen, later.seen}, {l.unseen, later.unseen}, {l.unread, later.unread}} {
		delete(sets[0], p)
		if sets[1][p] {
			sets[0][p] = true
		}
	}
}

// lookUpAll repeats lookUp for the unread pairs, as long as their number falls.
func (op *Operation) lookUpAll(ctx context.Context, pairs []batch.Pair) (lookup, error) {
	found, err := op.lookUp(ctx, pairs)
	for err == nil && len(found.unread) > 0 {
		rest := make([]batch.Pair, 0, len(found.unread))
		for _, p := range pairs {
			if found.unread[p] {
				rest = append(rest, p)
			}
		}
		var more lookup
		more, err = op.lookUp(ctx, rest)
		maps.Copy(found.seen, more.seen)
		maps.Copy(found.unseen, more.unseen)
		found.unread = more.unread
		if len(more.unread) == len(rest) {
			break
		}
	}
	return found, err
}

const (
	// maxBroadLists is the largest number of lists of one asset that are read. If there are
	// more assets, one list without a filter is read.
	maxBroadLists = 200
	// maxNarrowLists is the largest number of narrow lists that one lookUp reads.
	maxNarrowLists = 1000
	// fewTargets is the largest number of targets for which only narrow lists are read, if the
	// broad list has no filter. That list is long in most units.
	fewTargets = 5
	// maxBroadRounds is how often the broad lists are read at most.
	maxBroadRounds = 2
	// narrowPerPage is how many narrow lists are read instead of one page of a broad list
	// that changed. It is more than 1, because the broad list can change again.
	narrowPerPage = 3
	// maxPagesLeft limits the announced number of pages, so that sums do not overflow.
	maxPagesLeft = 1 << 20
)

// A search is a lookup in progress.
type search struct {
	lookup  // unread has all pairs without a result
	op      *Operation
	reader  listReader
	targets map[batch.Pair]int // number of unread pairs of each target; the key is the result of targetOf
	// narrowLeft is how many narrow lists may still be read.
	narrowLeft int
}

// targetOf returns the same value for all pairs of a target.
func targetOf(p batch.Pair) batch.Pair {
	if u, ok := p.User(); ok {
		return batch.UserPair(0, u)
	}
	return batch.DevicePair(0, p.Device())
}

// A listQuery is one list that is read, and the progress of its reading.
type listQuery struct {
	scope
	pairs   []batch.Pair // the pairs that the list can show
	missing int          // number of unread pairs among them
	read    int          // number of pages that were read
	left    int          // number of pages that were not read; for a list by cursor, an estimate
	next    string       // ListOptions.Start of the next page
	index   int          // index of the next page
	version string       // of the first page
	changed bool         // the list changed while it was read, or ended too early
}

// A scope selects records of a list: those with the asset of a pair, with the target of a
// pair, with both, or all records.
type scope struct {
	pair     batch.Pair
	byAsset  bool
	byTarget bool
}

// asset returns the asset of the scope, or no asset if the scope does not select by it.
func (s scope) asset(t *tables) (id AssetID) {
	if s.byAsset {
		id = t.assets[s.pair.Asset()]
	}
	return id
}

// target returns the user or the device of the scope. Both are empty if the scope does not
// select by target.
func (s scope) target(t *tables) (user, device string) {
	if !s.byTarget {
		return "", ""
	}
	if u, ok := s.pair.User(); ok {
		return t.users[u], ""
	}
	return "", t.devices[s.pair.Device()]
}

// run reads lists until each pair has a result, or until narrowLeft is 0.
func (s *search) run(ctx context.Context, pairs []batch.Pair) error {
	broadPages := 0 // number of pages of the broad lists, when they were read last
	for round := 1; ; round++ {
		pairs = s.unreadOf(pairs)
		if len(pairs) == 0 {
			return nil
		}
		broad := s.broadQueries(pairs)
		few := len(broad) // narrow lists cost no more pages, because each broad list has at least one page
		if !broad[0].byAsset {
			few = fewTargets
		}
		if round > maxBroadRounds || len(s.targets) <= max(few, narrowPerPage*broadPages) {
			return s.readNarrow(ctx, pairs)
		}
		if err := s.readBroad(ctx, broad); err != nil {
			return err
		}
		broadPages = 0
		for _, q := range broad {
			broadPages += max(1, q.read+q.left)
		}
	}
}

// unreadOf returns the pairs that are still unread, in the same order.
func (s *search) unreadOf(pairs []batch.Pair) []batch.Pair {
	rest := make([]batch.Pair, 0, min(len(pairs), len(s.unread)))
	for _, p := range pairs {
		if s.unread[p] {
			rest = append(rest, p)
		}
	}
	return rest
}

// settle records that the pair p has a result.
func (s *search) settle(p batch.Pair) {
	if !s.unread[p] {
		return
	}
	delete(s.unread, p)
	t := targetOf(p)
	if s.targets[t]--; s.targets[t] == 0 {
		delete(s.targets, t)
	}
}

// add adds what a record of the list q shows.
func (s *search) add(q *listQuery, p batch.Pair, e evidence) {
	if e == evidenceNone || !s.unread[p] {
		return
	}
	if e == evidenceProof {
		s.seen[p] = true
	} else {
		s.unseen[p] = true
	}
	s.settle(p)
	q.missing--
}

// endList settles the pairs of the list q that are not listed, after its last page. If the list
// changed, they stay unread.
func (s *search) endList(q *listQuery) {
	if q.changed {
		return
	}
	for _, p := range q.pairs {
		s.settle(p)
	}
}

// broadQueries returns the broad lists for the pairs: one list for each asset, or one list
// without a filter if the lists cannot be filtered by asset, or if there are too many assets.
func (s *search) broadQueries(pairs []batch.Pair) []*listQuery {
	everything := []*listQuery{{pairs: pairs, missing: len(pairs)}}
	if !s.reader.hasAssets() {
		return everything
	}
	var all []*listQuery
	byAsset := map[int32]*listQuery{}
	for _, p := range pairs {
		q := byAsset[p.Asset()]
		if q == nil {
			if len(all) == maxBroadLists {
				return everything
			}
			q = &listQuery{scope: scope{pair: p, byAsset: true}}
			byAsset[p.Asset()], all = q, append(all, q)
		}
		q.pairs = append(q.pairs, p)
		q.missing++
	}
	return all
}

// readBroad reads the first pages of the broad lists, which announce how many pages follow. Then
// it reads the rest of each list, unless narrow lists for its unread pairs have fewer
// pages. It stops when narrow lists for all unread pairs have fewer pages than
// the rest of all broad lists.
func (s *search) readBroad(ctx context.Context, broad []*listQuery) error {
	left := len(broad) // number of pages that the rest costs, as far as it is known
	for _, q := range broad {
		if err := s.reader.readFirst(ctx, s, q); err != nil {
			return err
		}
		left += min(q.left, s.narrowerLists(q)) - 1
		if left > len(s.targets) && len(s.targets) <= s.narrowLeft {
			return nil
		}
	}
	for _, q := range broad {
		if s.continues(q, 0) {
			if err := s.reader.readRest(ctx, s, q); err != nil {
				return err
			}
		}
	}
	return nil
}

// readNarrow reads the narrow lists for the pairs.
func (s *search) readNarrow(ctx context.Context, pairs []batch.Pair) error {
	var groups [][]batch.Pair // the pairs of one target each, in the order of the pairs
	position := map[batch.Pair]int{}
	for _, p := range pairs {
		i, ok := position[targetOf(p)]
		if !ok {
			i = len(groups)
			position[targetOf(p)], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	for _, group := range groups {
		if len(group) > 1 || !s.reader.hasAssets() {
			if err := s.readNarrowList(ctx, scope{pair: group[0], byTarget: true}, group); err != nil {
				return err
			}
			if !s.reader.hasAssets() {
				continue
			}
		}
		for _, p := range s.unreadOf(group) {
			if err := s.readNarrowList(ctx, scope{pair: p, byAsset: true, byTarget: true}, []batch.Pair{p}); err != nil {
				return err
			}
		}
	}
	return nil
}

// readNarrowList reads the list of a scope, unless narrowLeft is 0.
func (s *search) readNarrowList(ctx context.Context, sc scope, pairs []batch.Pair) error {
	if s.narrowLeft == 0 {
		return nil
	}
	s.narrowLeft--
	q := &listQuery{scope: sc, pairs: pairs, missing: len(pairs)}
	err := s.reader.readFirst(ctx, s, q)
	if err == nil && s.continues(q, 0) {
		err = s.reader.readRest(ctx, s, q)
	}
	return err
}

// narrowerLists returns how many narrower lists can replace the rest of the list q. It returns
// [math.MaxInt] if no narrower lists exist, or if they may not be read.
func (s *search) narrowerLists(q *listQuery) int {
	n := q.missing // one list for each pair
	switch {
	case q.byTarget && q.byAsset == s.reader.hasAssets():
		return math.MaxInt
	case !q.byTarget:
		n = min(n, len(s.targets)) // one list for each target
	}
	if n > s.narrowLeft {
		return math.MaxInt
	}
	return n
}

// continues reports whether the rest of the list q is read. It is not read if the list has
// shown all its pairs, or if narrower lists have fewer pages than the rest. ahead is how many
// pages of the rest are requested already.
func (s *search) continues(q *listQuery, ahead int) bool {
	return q.missing > 0 && q.left > 0 && q.left-ahead <= s.narrowerLists(q)
}

// evidence is what a record of a list shows of a pair.
type evidence int

const (
	evidenceNone  evidence = iota // evidenceNone means that the record does not show the pair.
	evidenceProof                 // evidenceProof means that the record proves the pair.
	evidenceOpen                  // evidenceOpen means that the record neither proves nor disproves the pair.
)

// A listReader reads the lists that show the pairs of one kind of operation.
type listReader interface {
	// hasAssets reports whether the lists can be filtered by asset.
	hasAssets() bool
	// readFirst reads the first page of the list q.
	readFirst(ctx context.Context, s *search, q *listQuery) error
	// readRest reads the other pages of the list q, as long as search.continues returns true.
	readRest(ctx context.Context, s *search, q *listQuery) error
}

// A pairList is a listReader for a list with records of type T.
type pairList[T any] struct {
	list     *list[T]
	byAsset  bool                                             // the result of hasAssets
	query    func(t *tables, s scope) url.Values              // query returns the filter that selects a scope.
	evidence func(t *tables, record T) (batch.Pair, evidence) // evidence returns what a record shows.
}

func (l pairList[T]) hasAssets() bool { return l.byAsset }

func (l pairList[T]) readFirst(ctx context.Context, s *search, q *listQuery) error {
	// Do not use list.pages, because it reads ahead before the number of pages is known here.
	page, err := l.list.read(ctx, s.op.client, l.query(&s.op.tables, q.scope), "", transport.Turn{})
	switch {
	case err != nil:
		return err
	case l.list.cursor:
		err = errIfBlank(page.answer)
	case page.Index != 0:
		err = fmt.Errorf("%w: page 0 was requested, but page %d came", ErrNoProgress, page.Index)
	default:
		err = errIfBlankPage(page.answer, page.answer.meta())
	}
	if err != nil {
		return err
	}
	q.version = page.VersionID
	return l.addPage(s, q, page.Page)
}

func (l pairList[T]) readRest(ctx context.Context, s *search, q *listQuery) error {
	ahead := 0
	if !l.list.cursor {
		ahead = readAheadPages
	}
	filter := l.query(&s.op.tables, q.scope)
	for page, err := range l.list.pages(ctx, s.op.client, filter, ListOptions{Start: q.next}) {
		if q.read == 1 && errors.Is(err, ErrInvalidPageIndex) || errors.Is(err, ErrInvalidCursor) {
			q.changed = true // the list became shorter
			return nil
		}
		if err == nil {
			err = l.addPage(s, q, page)
		}
		if err != nil {
			return err
		}
		if q.left > 0 && !s.continues(q, ahead) {
			return nil
		}
	}
	return nil
}

// addPage adds what a page shows, and updates the progress of the list q. It returns
// [ErrOtherUnit] if the page comes from another organizational unit.
func (l pairList[T]) addPage(s *search, q *listQuery, page *Page[T]) error {
	if err := s.op.compareUnit(page.UID); err != nil {
		return err
	}
	for _, record := range page.Items {
		p, e := l.evidence(&s.op.tables, record)
		s.add(q, p, e)
	}
	page.Changed = page.Changed || versionsDiffer(q.version, page.VersionID)
	index, complete := page.completeAt(q.index, l.list.cursor)
	q.index, q.changed, q.next = index, q.changed || !complete, page.Next
	q.read++
	switch {
	case q.next == "":
		q.left = 0
		s.endList(q)
	case l.list.cursor:
		// The service does not tell how many pages follow. Assume as many as were read. Then
		// the list costs at most twice as many pages as narrower lists.
		q.left = q.read
	default:
		q.left = min(max(1, page.TotalPages-index), maxPagesLeft)
	}
	return nil
}

func userQuery(t *tables, s scope) url.Values {
	user, _ := s.target(t)
	return UserFilter{ActiveOnly: true, ClientUserID: user}.query()
}

func seatQuery(t *tables, s scope) url.Values {
	var f SubscriptionAssignmentFilter
	if s.byAsset {
		id, _ := strconv.ParseInt(s.asset(t).AdamID, 10, 64) // formatted by formatAdamID
		f.AdamIDs = []int64{id}
	}
	if user, _ := s.target(t); user != "" {
		f.ClientUserIDs = []string{user}
	}
	return f.query()
}

func assignmentQuery(t *tables, s scope) url.Values {
	asset := s.asset(t)
	f := AssignmentFilter{AdamID: asset.AdamID, PricingParam: asset.PricingParam}
	f.ClientUserID, f.SerialNumber = s.target(t)
	return f.query()
}

// activeAssignmentQuery is assignmentQuery for showActiveAssignment, which needs the users'
// status.
func activeAssignmentQuery(t *tables, s scope) url.Values {
	return query(assignmentQuery(t, s)).flag("includeUserState", len(t.users) > 0).values()
}

// isRetired reports whether a user with status s is retired.
func isRetired(s UserStatus) bool { return s == UserRetired || s == UserDeleted }

// showUser shows that a user is not retired.
func showUser(t *tables, u User) (batch.Pair, evidence) {
	i, ok := t.userIndex[u.ClientUserID]
	if !ok || isRetired(u.Status) {
		return 0, evidenceNone
	}
	return batch.UserPair(0, i), evidenceProof
}

// showUpdate shows whether a user has the values that the operation sets. The list does not
// show the Managed Apple Account, only whether the user is associated with an account.
func showUpdate(t *tables, u User) (batch.Pair, evidence) {
	p, e := showUser(t, u)
	if e == evidenceNone {
		return p, e
	}
	r := t.userRequests[t.userIndex[u.ClientUserID]]
	switch {
	case r.Email != "" && u.Email != r.Email:
		return p, evidenceNone
	case r.ManagedAppleID == "":
		return p, evidenceProof
	case u.Status == UserRegistered: // the service associates a ManagedAppleID at once
		return p, evidenceNone
	}
	return p, evidenceOpen
}

// showSeat shows that a seat is assigned.
func showSeat(t *tables, s SubscriptionAssignment) (batch.Pair, evidence) {
	a, ok := t.assetIndex[AssetID{formatAdamID(s.AdamID), PricingSTDQ}]
	u, known := t.userIndex[s.ClientUserID]
	if !ok || !known {
		return 0, evidenceNone
	}
	return batch.UserPair(a, u), evidenceProof
}

// showRenewingSeat shows that a seat is assigned and renews, or does not renew, as the
// operation wants.
func showRenewingSeat(t *tables, s SubscriptionAssignment) (batch.Pair, evidence) {
	if s.Renewing != t.renewing {
		return 0, evidenceNone
	}
	return showSeat(t, s)
}

// showAssignment shows that an asset is assigned.
func showAssignment(t *tables, s Assignment) (batch.Pair, evidence) {
	asset, ok := t.assetIndex[AssetID{s.AdamID, cmp.Or(s.PricingParam, PricingSTDQ)}]
	if !ok {
		return 0, evidenceNone
	}
	return showTarget(t, asset, s)
}

// showActiveAssignment shows that an asset is assigned to a device, or to a user who is not
// retired. A book stays assigned to a retired user, and a new user can have the same
// clientUserId.
func showActiveAssignment(t *tables, s Assignment) (batch.Pair, evidence) {
	if isRetired(s.UserStatus) {
		return 0, evidenceNone
	}
	return showAssignment(t, s)
}

// showAnyAssignment shows that any asset is assigned to the target. The pairs of a Revoke have
// no asset.
func showAnyAssignment(t *tables, s Assignment) (batch.Pair, evidence) { return showTarget(t, 0, s) }

// showTarget shows the pair of an asset, and of the target of an assignment.
func showTarget(t *tables, asset int32, s Assignment) (batch.Pair, evidence) {
	if u, ok := t.userIndex[s.ClientUserID]; ok && s.ClientUserID != "" {
		return batch.UserPair(asset, u), evidenceProof
	}
	if d, ok := t.deviceIndex[s.SerialNumber]; ok && s.SerialNumber != "" {
		return batch.DevicePair(asset, d), evidenceProof
	}
	return 0, evidenceNone
}
