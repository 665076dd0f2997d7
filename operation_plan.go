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

// tables hold each asset, user and device of an operation once; everything
// else refers to them by index, so that a million pairs stay small.
type tables struct {
	kind     kind
	assets   []AssetID     // of subscriptions: the Adam ID in decimal; none for kinds without assets
	users    []string      // clientUserIds
	devices  []string      // serialNumbers
	requests []UserRequest // of create and update, parallel to users
	renewing bool
	deferred bool
	pairs    []batch.Pair // until they are cut; nil for a plain product

	assetIndex  index[AssetID]
	userIndex   index[string]
	deviceIndex index[string]
}

// index finds the place of a value in its table.
type index[T comparable] map[T]int32

// intern returns the index of v in the table, adding it if it is new.
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

func (t *tables) asset(id AssetID) (int32, error) {
	if !isAdamID(id.AdamID) {
		return 0, invalidf("an Adam ID that is no number: %q", shorten(id.AdamID, 20))
	}
	if id.PricingParam == "" {
		id.PricingParam = PricingSTDQ
	}
	if err := checkName("pricingParam", string(id.PricingParam)); err != nil {
		return 0, err
	}
	return intern(&t.assets, &t.assetIndex, id), nil
}

// isAdamID tells a positive decimal number: another spelling would not be found
// again in what the service says.
func isAdamID(id string) bool {
	n, err := strconv.ParseInt(id, 10, 64)
	return err == nil && n > 0 && formatAdamID(n) == id
}

func (t *tables) user(id string) (int32, error) {
	if err := checkName("clientUserId", id); err != nil {
		return 0, err
	}
	return intern(&t.users, &t.userIndex, id), nil
}

func (t *tables) device(serial string) (int32, error) {
	if err := checkName("serialNumber", serial); err != nil {
		return 0, err
	}
	// No serial number has any, but lists of them do; and the service is known to
	// take serial numbers that do not exist. What it took can be taken back.
	if t.kind == associateAssets && strings.ContainsFunc(serial, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' }) {
		return 0, invalidf("a serialNumber with white space in it")
	}
	return intern(&t.devices, &t.deviceIndex, serial), nil
}

// checkName refuses an empty name, and one that JSON would turn into another. The
// name itself is personal data and stays out of the error.
func checkName(what, name string) error {
	switch {
	case name == "":
		return invalidf("an empty %s", what)
	case !utf8.ValidString(name):
		return invalidf("a %s that is not UTF-8", what)
	}
	return nil
}

// at says which of many could not be taken.
func at(what string, i int, err error) error {
	if err != nil {
		err = fmt.Errorf("%w (%s[%d])", err, what, i)
	}
	return err
}

func (t *tables) addTargets(users, devices []string) error {
	for i, id := range users {
		if _, err := t.user(id); err != nil {
			return at("ClientUserIDs", i, err)
		}
	}
	for i, serial := range devices {
		if _, err := t.device(serial); err != nil {
			return at("SerialNumbers", i, err)
		}
	}
	if len(t.users)+len(t.devices) == 0 {
		return invalidf("an empty change: neither users nor devices")
	}
	return nil
}

func (t *tables) addAssetChange(c AssetChange) error {
	for i, id := range c.Assets {
		if _, err := t.asset(id); err != nil {
			return at("Assets", i, err)
		}
	}
	targets := len(c.ClientUserIDs) + len(c.SerialNumbers)
	if (len(c.Assets) > 0 || len(c.Pairs) == 0) && targets == 0 {
		return invalidf("an empty change: neither users nor devices")
	}
	if targets > 0 {
		if len(c.Assets) == 0 {
			return invalidf("an empty change: no assets for the users and devices")
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
			return at("Pairs", i, err)
		}
		if (p.ClientUserID == "") == (p.SerialNumber == "") {
			return at("Pairs", i, invalidf("a pair needs a clientUserId or a serialNumber, and not both"))
		}
		if p.ClientUserID != "" {
			u, err := t.user(p.ClientUserID)
			if err != nil {
				return at("Pairs", i, err)
			}
			t.pairs = append(t.pairs, batch.UserPair(a, u))
		} else {
			d, err := t.device(p.SerialNumber)
			if err != nil {
				return at("Pairs", i, err)
			}
			t.pairs = append(t.pairs, batch.DevicePair(a, d))
		}
	}
	return nil
}

func (t *tables) addSubscriptionChange(c SubscriptionChange) error {
	for i, id := range c.AdamIDs {
		if _, err := t.asset(AssetID{AdamID: formatAdamID(id)}); err != nil {
			return at("AdamIDs", i, err)
		}
	}
	if (len(c.AdamIDs) > 0 || len(c.Pairs) == 0) && len(c.ClientUserIDs) == 0 {
		return invalidf("an empty change: no users")
	}
	if len(c.ClientUserIDs) > 0 {
		if len(c.AdamIDs) == 0 {
			return invalidf("an empty change: no subscriptions for the users")
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
			return at("Pairs", i, err)
		}
		u, err := t.user(p.ClientUserID)
		if err != nil {
			return at("Pairs", i, err)
		}
		t.pairs = append(t.pairs, batch.UserPair(a, u))
	}
	return nil
}

// makeRoom sizes the indexes for a long list in which nearly every pair has a
// target of its own, by a sample of it: growing them is most of the work then.
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

// productToPairs spells out the product that the tables stand for so far, to
// make room for single pairs beside it.
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

func (t *tables) addUserIDs(c UserChange) error {
	if len(c.Users) > 0 {
		return invalidf("Retire takes ClientUserIDs, not Users")
	}
	return t.addTargets(c.ClientUserIDs, nil)
}

func (t *tables) addUserRequests(c UserChange) error {
	users := c.Users
	if len(c.ClientUserIDs) > 0 {
		return invalidf("Create and Update take Users, not ClientUserIDs")
	}
	if len(users) == 0 {
		return invalidf("an empty change: no users")
	}
	for n, r := range users {
		i, err := t.user(r.ClientUserID)
		switch {
		case err != nil:
			return at("Users", n, err)
		case !utf8.ValidString(r.Email + r.ManagedAppleID):
			return at("Users", n, invalidf("an address that is not UTF-8"))
		case int(i) == len(t.requests):
			t.requests = append(t.requests, r)
		case t.requests[i] != r:
			return at("Users", n, invalidf("two different requests for one clientUserId"))
		}
	}
	return nil
}

// take adds a pair of another operation.
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
	if len(o.requests) > 0 && t.kind != retireUsers && int(user) == len(t.requests) {
		t.requests = append(t.requests, o.requests[u])
	}
	t.pairs = append(t.pairs, batch.UserPair(asset, user))
}

// cut makes requests of the pairs, or of the whole product.
func (t *tables) buildParts(l batch.Limits) []batch.Part {
	if t.pairs != nil {
		parts := batch.Pairs(t.pairs, l)
		t.pairs = nil
		return parts
	}
	return batch.Product(max(1, len(t.assets)), len(t.users), len(t.devices), l)
}

// body is the request of a part.
func (t *tables) body(p batch.Part) any {
	users, devices := valuesAt(t.users, p.Users), valuesAt(t.devices, p.Devices)
	switch t.kind {
	case associateAssets, disassociateAssets:
		return struct {
			Assets        []AssetID `json:"assets"`
			ClientUserIDs []string  `json:"clientUserIds,omitzero"`
			SerialNumbers []string  `json:"serialNumbers,omitzero"`
		}{valuesAt(t.assets, p.Assets), users, devices}
	case revokeAssets:
		return struct {
			ClientUserIDs []string `json:"clientUserIds,omitzero"`
			SerialNumbers []string `json:"serialNumbers,omitzero"`
		}{users, devices}
	case associateSubscriptions, disassociateSubscriptions:
		r := subscriptionRequest{ClientUserIDs: users}
		for _, a := range p.Assets {
			id, _ := strconv.ParseInt(t.assets[a].AdamID, 10, 64) // made by formatAdamID
			r.AdamIDs = append(r.AdamIDs, id)
		}
		if t.kind == associateSubscriptions {
			r.Renewing = &t.renewing
		} else if t.deferred {
			r.Deferred = &t.deferred
		}
		return r
	default:
		requests := valuesAt(t.requests, p.Users)
		if t.kind == retireUsers {
			for _, id := range users {
				requests = append(requests, UserRequest{ClientUserID: id})
			}
		}
		return struct {
			Users []UserRequest `json:"users"`
		}{requests}
	}
}

// pick returns the values at the indices; nil for none.
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

// buildIndexes makes the indexes of an operation that was resumed.
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
