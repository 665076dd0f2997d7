package appsandbooks

import (
	"net/url"
	"strconv"
)

// query builds a query string. Its methods skip zero values and nil.
type query url.Values

func (q query) values() url.Values { return url.Values(q) }

func (q query) text(key, v string) query {
	if v != "" {
		url.Values(q).Set(key, v)
	}
	return q
}

func (q query) flag(key string, v bool) query {
	if v {
		url.Values(q).Set(key, "true")
	}
	return q
}

func (q query) boolean(key string, v *bool) query {
	if v != nil {
		url.Values(q).Set(key, strconv.FormatBool(*v))
	}
	return q
}

func (q query) number(key string, v *int) query {
	if v != nil {
		url.Values(q).Set(key, strconv.Itoa(*v))
	}
	return q
}

func (q query) ids(key string, v []int64) query {
	for _, id := range v {
		url.Values(q).Add(key, strconv.FormatInt(id, 10))
	}
	return q
}

func (q query) texts(key string, v []string) query {
	for _, s := range v {
		url.Values(q).Add(key, s)
	}
	return q
}
