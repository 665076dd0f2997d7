package appsandbooks

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

func formatAdamID(id int64) string { return strconv.FormatInt(id, 10) }

// tables hold each asset, user and device of an operation once. Requests and pairs
// refer to them by index, so that a million pairs need little memory.
type tables struct {
	kind         kind
	info         kindInfo      // of the kind
	assets       []AssetID     // assets, or the Adam IDs of subscriptions in decimal; empty for kinds without assets
	users        []string      // clientUserIds
	devices      []string      // serialNumbers
	userRequests []UserRequest // the UserRequest of each user of a Create or Update, at the user's index
	renewing     bool
	deferred     bool
	// pairs are the pairs of the change until buildParts. They are nil if every asset is
	// combined with every target.
	pairs []batch.Pair

	assetIndex  index[AssetID]
	userIndex   index[string]
	deviceIndex index[string]
}

// An index maps a value to its index in a table.
type index[T comparable] map[T]int32

// intern returns the index of the value v in a table. It adds v if the table does not
// contain it.
func intern[T comparable](table *[]T, idx *index[T], v T) int32 {
	if *idx == nil {
		*idx = index[T]{}
	}
	i, ok := (*idx)[v]
	if !ok {
		i = int32(len(*table))
		*table = append(*table, v)
		(*idx)[v] = i
	}
	return i
}

// asset checks an asset's id, adds the asset to its table and returns its index. A
// pricingParam that is not set is STDQ.
func (t *tables) asset(id AssetID) (int32, error) {
	if !isAdamID(id.AdamID) {
		return 0, invalidf("Adam ID %q is not a positive decimal number", shorten(id.AdamID, 20))
	}
	if id.PricingParam == "" {
		id.PricingParam = PricingSTDQ
	}
	if err := checkName("pricingParam", string(id.PricingParam)); err != nil {
		return 0, err
	}
	return intern(&t.assets, &t.assetIndex, id), nil
}

// isAdamID reports whether id is a positive decimal number without a sign and leading
// zeros. The service's answers use this form, and ids are compared as text.
func isAdamID(id string) bool {
	n, err := strconv.ParseInt(id, 10, 64)
	return err == nil && n > 0 && formatAdamID(n) == id
}

// user checks a clientUserId, adds it to the table of users and returns its index.
func (t *tables) user(id string) (int32, error) {
	if err := checkName("clientUserId", id); err != nil {
		return 0, err
	}
	return intern(&t.users, &t.userIndex, id), nil
}

// device checks a serialNumber, adds it to the table of devices and returns its index.
func (t *tables) device(serial string) (int32, error) {
	if err := checkName("serialNumber", serial); err != nil {
		return 0, err
	}
	// White space and invisible characters in a serial number are probably a mistake in reading
	// a list, and the service accepts serial numbers that do not exist. Only a change that adds
	// pairs refuses them, so that an assignment with such a serial number can still be removed.
	invisible := func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }
	if !t.info.removes && strings.ContainsFunc(serial, invisible) {
		return 0, invalidf("a serialNumber contains white space or an invisible character")
	}
	return intern(&t.devices, &t.deviceIndex, serial), nil
}

// checkName returns an error if name is empty, or if it is not valid UTF-8, because
// encoding it as JSON would change it. The error does not contain the name, because a
// name is personal data.
func checkName(what, name string) error {
	switch {
	case name == "":
		return invalidf("a %s is empty", what)
	case !utf8.ValidString(name):
		return invalidf("a %s is not valid UTF-8", what)
	}
	return nil
}

// withPosition adds the name of the list and the index of the invalid item to an error. It
// returns nil for nil.
func withPosition(list string, i int, err error) error {
	if err != nil {
		err = fmt.Errorf("%w (%s[%d])", err, list, i)
	}
	return err
}

// addTargets adds users and devices to their tables. It returns an error if the
// tables then have no target.
func (t *tables) addTargets(users, devices []string) error {
	for i, id := range users {
		if _, err := t.user(id); err != nil {
			return withPosition("ClientUserIDs", i, err)
		}
	}
	for i, serial := range devices {
		if _, err := t.device(serial); err != nil {
			return withPosition("SerialNumbers", i, err)
		}
	}
	if len(t.users)+len(t.devices) == 0 {
		return invalidf("the change is empty: it has no users and no devices")
	}
	return nil
}

// addAssetChange adds a change of assets: every asset with every target, and the
// pairs that the change lists one by one.
func (t *tables) addAssetChange(c AssetChange) error {
	for i, id := range c.Assets {
		if _, err := t.asset(id); err != nil {
			return withPosition("Assets", i, err)
		}
	}
	targets := len(c.ClientUserIDs) + len(c.SerialNumbers)
	if (len(c.Assets) > 0 || len(c.Pairs) == 0) && targets == 0 {
		return invalidf("the change is empty: it has no users and no devices")
	}
	if targets > 0 {
		if len(c.Assets) == 0 {
			return invalidf("the change is empty: it has users or devices, but no assets")
		}
		if err := t.addTargets(c.ClientUserIDs, c.SerialNumbers); err != nil {
			return err
		}
	}
	if len(c.Pairs) == 0 {
		return nil
	}
	t.productToPairs(len(c.Pairs))
	t.presizeIndexes(c.Pairs)
	for i, p := range c.Pairs {
		a, err := t.asset(AssetID{p.AdamID, p.PricingParam})
		if err != nil {
			return withPosition("Pairs", i, err)
		}
		if (p.ClientUserID == "") == (p.SerialNumber == "") {
			return withPosition("Pairs", i, invalidf("a pair needs either a clientUserId or a serialNumber, not both"))
		}
		if p.ClientUserID != "" {
			u, err := t.user(p.ClientUserID)
			if err != nil {
				return withPosition("Pairs", i, err)
			}
			t.pairs = append(t.pairs, batch.UserPair(a, u))
		} else {
			d, err := t.device(p.SerialNumber)
			if err != nil {
				return withPosition("Pairs", i, err)
			}
			t.pairs = append(t.pairs, batch.DevicePair(a, d))
		}
	}
	return nil
}

// addSubscriptionChange adds a change of subscriptions: every subscription with every
// user, and the pairs that the change lists one by one.
func (t *tables) addSubscriptionChange(c SubscriptionChange) error {
	for i, id := range c.AdamIDs {
		if _, err := t.asset(AssetID{AdamID: formatAdamID(id)}); err != nil {
			return withPosition("AdamIDs", i, err)
		}
	}
	if (len(c.AdamIDs) > 0 || len(c.Pairs) == 0) && len(c.ClientUserIDs) == 0 {
		return invalidf("the change is empty: it has no users")
	}
	if len(c.ClientUserIDs) > 0 {
		if len(c.AdamIDs) == 0 {
			return invalidf("the change is empty: it has users, but no subscriptions")
		}
		if err := t.addTargets(c.ClientUserIDs, nil); err != nil {
			return err
		}
	}
	if len(c.Pairs) == 0 {
		return nil
	}
	t.productToPairs(len(c.Pairs))
	for i, p := range c.Pairs {
		a, err := t.asset(AssetID{AdamID: formatAdamID(p.AdamID)})
		if err != nil {
			return withPosition("Pairs", i, err)
		}
		u, err := t.user(p.ClientUserID)
		if err != nil {
			return withPosition("Pairs", i, err)
		}
		t.pairs = append(t.pairs, batch.UserPair(a, u))
	}
	return nil
}

// presizeIndexes allocates the tables and indexes of targets for a list of at least
// 10,000 pairs in which nearly every pair has a different target. It estimates the
// sizes from a sample of 1,000 pairs. Without it, growing the indexes takes most of
// the planning time.
func (t *tables) presizeIndexes(pairs []AssetPair) {
	const sample = 1000
	if len(pairs) < 10*sample || len(t.users)+len(t.devices) > 0 {
		return
	}
	users, devices := map[string]bool{}, map[string]bool{}
	for i := range sample {
		p := &pairs[i*(len(pairs)/sample)]
		if p.ClientUserID != "" {
			users[p.ClientUserID] = true
		} else {
			devices[p.SerialNumber] = true
		}
	}
	if len(users)+len(devices) < sample*9/10 {
		return
	}
	t.userIndex = make(index[string], len(users)*(len(pairs)/sample))
	t.users = make([]string, 0, len(users)*(len(pairs)/sample))
	t.deviceIndex = make(index[string], len(devices)*(len(pairs)/sample))
	t.devices = make([]string, 0, len(devices)*(len(pairs)/sample))
}

// productToPairs sets t.pairs to every asset in the tables with every target in the
// tables, and reserves capacity for the given number of further pairs.
func (t *tables) productToPairs(more int) {
	t.pairs = make([]batch.Pair, 0, len(t.assets)*(len(t.users)+len(t.devices))+more)
	for a := range t.assets {
		for u := range t.users {
			t.pairs = append(t.pairs, batch.UserPair(int32(a), int32(u)))
		}
		for d := range t.devices {
			t.pairs = append(t.pairs, batch.DevicePair(int32(a), int32(d)))
		}
	}
}

// addUserIDs adds the clientUserIds of a Retire to the table of users.
func (t *tables) addUserIDs(c UserChange) error {
	if len(c.Users) > 0 {
		return invalidf("Retire takes ClientUserIDs, not Users")
	}
	return t.addTargets(c.ClientUserIDs, nil)
}

// addUserRequests adds the users of a Create or an Update. The same request twice
// counts once; two different requests for one clientUserId are an error.
func (t *tables) addUserRequests(c UserChange) error {
	users := c.Users
	if len(c.ClientUserIDs) > 0 {
		return invalidf("Create and Update take Users, not ClientUserIDs")
	}
	if len(users) == 0 {
		return invalidf("the change is empty: it has no users")
	}
	for n, r := range users {
		i, err := t.user(r.ClientUserID)
		switch {
		case err != nil:
			return withPosition("Users", n, err)
		case !utf8.ValidString(r.Email + r.ManagedAppleID):
			return withPosition("Users", n, invalidf("an email or a managedAppleId is not valid UTF-8"))
		case int(i) == len(t.userRequests):
			t.userRequests = append(t.userRequests, r)
		case t.userRequests[i] != r:
			return withPosition("Users", n, invalidf("two different requests for one clientUserId"))
		}
	}
	return nil
}

// addPairOf adds the pair p of another operation to t. The indexes in p refer to the
// tables o of that operation; addPairOf also adds the asset, user or device that p needs.
func (t *tables) addPairOf(o *tables, p batch.Pair) {
	var asset int32
	if len(o.assets) > 0 {
		asset = intern(&t.assets, &t.assetIndex, o.assets[p.Asset()])
	}
	u, ok := p.User()
	if !ok {
		device := intern(&t.devices, &t.deviceIndex, o.devices[p.Device()])
		t.pairs = append(t.pairs, batch.DevicePair(asset, device))
		return
	}
	user := intern(&t.users, &t.userIndex, o.users[u])
	if len(o.userRequests) > 0 && t.info.hasUserRequests && int(user) == len(t.userRequests) {
		t.userRequests = append(t.userRequests, o.userRequests[u])
	}
	t.pairs = append(t.pairs, batch.UserPair(asset, user))
}

// buildParts returns the requests (parts) for the pairs, or, if no pairs are set, for
// every asset with every target. It deletes the pairs, because the requests contain them.
func (t *tables) buildParts(l batch.Limits) []batch.Part {
	if t.pairs != nil {
		parts := batch.Pairs(t.pairs, l)
		t.pairs = nil
		return parts
	}
	return batch.Product(max(1, len(t.assets)), len(t.users), len(t.devices), l)
}

// assetBody returns the body of a request that associates or disassociates assets.
func (t *tables) assetBody(p batch.Part) any {
	return struct {
		Assets        []AssetID `json:"assets"`
		ClientUserIDs []string  `json:"clientUserIds,omitzero"`
		SerialNumbers []string  `json:"serialNumbers,omitzero"`
	}{valuesAt(t.assets, p.Assets), valuesAt(t.users, p.Users), valuesAt(t.devices, p.Devices)}
}

// targetBody returns the body of a request that names users and devices only.
func (t *tables) targetBody(p batch.Part) any {
	return struct {
		ClientUserIDs []string `json:"clientUserIds,omitzero"`
		SerialNumbers []string `json:"serialNumbers,omitzero"`
	}{valuesAt(t.users, p.Users), valuesAt(t.devices, p.Devices)}
}

// seatsBody returns the body of a request that associates subscriptions.
func (t *tables) seatsBody(p batch.Part) any {
	r := t.anySeatsBody(p)
	r.Renewing = &t.renewing
	return r
}

// seatsBackBody returns the body of a request that disassociates subscriptions.
func (t *tables) seatsBackBody(p batch.Part) any {
	r := t.anySeatsBody(p)
	if t.deferred {
		r.Deferred = &t.deferred
	}
	return r
}

// anySeatsBody returns what the bodies of all requests for subscriptions contain.
func (t *tables) anySeatsBody(p batch.Part) subscriptionRequest {
	r := subscriptionRequest{ClientUserIDs: valuesAt(t.users, p.Users)}
	for _, a := range p.Assets {
		id, _ := strconv.ParseInt(t.assets[a].AdamID, 10, 64) // formatted by formatAdamID
		r.AdamIDs = append(r.AdamIDs, id)
	}
	return r
}

// userBody returns the body of a request that creates, updates or retires users.
func (t *tables) userBody(p batch.Part) any {
	requests := valuesAt(t.userRequests, p.Users)
	if len(t.userRequests) == 0 {
		for _, id := range valuesAt(t.users, p.Users) {
			requests = append(requests, UserRequest{ClientUserID: id})
		}
	}
	return struct {
		Users []UserRequest `json:"users"`
	}{requests}
}

// valuesAt returns the values of the table at the indices. It returns nil if the
// table is empty or if no indices are given.
func valuesAt[T any](table []T, indices []int32) []T {
	if len(table) == 0 || len(indices) == 0 {
		return nil
	}
	out := make([]T, len(indices))
	for i, j := range indices {
		out[i] = table[j]
	}
	return out
}

// listsShowAbsence reports whether a pair that the lists do not show as changed was not
// changed. That is not so for a Revoke, which leaves books assigned, and for a deferred
// Disassociate of subscriptions, where a seat stays until its period ends.
func (t *tables) listsShowAbsence() bool { return !t.info.uncountable && !t.deferred }

// buildIndexes builds the indexes from the tables of a saved operation.
func (t *tables) buildIndexes() {
	buildIndex(&t.assetIndex, t.assets)
	buildIndex(&t.userIndex, t.users)
	buildIndex(&t.deviceIndex, t.devices)
}

func buildIndex[T comparable](idx *index[T], table []T) {
	*idx = make(index[T], len(table))
	for i, v := range table {
		(*idx)[v] = int32(i)
	}
}
