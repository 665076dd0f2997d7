package records_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/appsandbooks/appsandbooks/internal/records"
)

type record struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
}

func field(r *record, key []byte) records.Field {
	switch string(key) {
	case "id":
		return records.Field{To: &r.ID}
	case "kind":
		return records.Field{To: &r.Kind, Repeats: true}
	}
	return records.Field{}
}

// fast decodes the member "list" of a JSON object with package records. It returns false
// if package records does not support the object.
func fast(body []byte) ([]record, bool) {
	before, array, after, ok := records.Cut(body, "list")
	if !ok {
		return nil, false
	}
	all, ok := records.Decode(array, field)
	if !ok {
		return nil, false
	}
	rest := append(append(bytes.Clone(before), "null"...), after...)
	var other struct{}
	return all, json.Unmarshal(rest, &other) == nil
}

var samples = []struct {
	body string
	fast bool
}{
	{`{"list":[]}`, true},
	{`{"list":[{}]}`, true},
	{`{"list":[{"id":"1","kind":"a"},{"kind":"a","id":"2"},{"id":"3"}],"more":{"x":[1,"]",{"y":"\""}]}}`, true},
	{" {\n \"more\" : [ ] , \"n\" : 1 , \"s\":\"}\", \"list\" : [ { \"id\" : \"1\" , \"kind\" : null } ] } ", true},
	{`{"list":[{"id":"grün","kind":"日本"}]}`, true},
	{`{"list":[{"id":"1","id":"2"}]}`, true},
	{`{"list":[{"id":"a\u0062"}]}`, false},
	{"{\"list\":[{\"id\":\"\xff\"}]}", false},
	{"{\"list\":[{\"id\":\"\n\"}]}", false},
	{`{"list":[{"ID":"1"}]}`, false},
	{`{"list":[{"id":1}]}`, false},
	{`{"list":[{"id":"1","new":"2"}]}`, false},
	{`{"list":[null]}`, false},
	{`{"list":null}`, false},
	{`{"list":[{"id":"1"},]}`, false},
	{`{"list":[{"id":"1",}]}`, false},
	{`{"list":[{"id":"1"} {"id":"2"}]}`, false},
	{`{"list":[{"id":"1"}`, false},
	{`{"list":[{"id":"1"}]`, false},
	{`{"list":[{"id":"1"}]]}`, false},
	{`{"list":[{"id":nulll}]}`, false},
	{`{"list":[{"id":"1"}],"list":[{"id":"2"}]}`, false},
	{`{"list":[{"id":"1"}],"LIST":[{"id":"2"}]}`, false},
	{`{"list":[{"id":"1"}],"list":null}`, false},
	{`{"list":[{"id":"1"}],"li\u0073t":null}`, false},
	{`{"LIST":[{"id":"1"}],"list":[]}`, false},
	{`{"list":[{"id":"1"}],"liſt":[]}`, false},
	{`{"list":[{"id":"1"}}}`, false},
	{`{"n":tru,"list":[]}`, false},
	{`{"n":[}],"list":[]}`, false},
	{`{"list":[{"id":"1"`, false},
	{`{"list"`, false},
	{`[]`, false},
	{``, false},
}

// Package records accepts or refuses each sample as stated. An accepted sample is decoded
// as by encoding/json.
func TestDecode(t *testing.T) {
	for _, s := range samples {
		if _, ok := fast([]byte(s.body)); ok != s.fast {
			t.Errorf("%s: fast: %t", s.body, ok)
		}
		compare(t, []byte(s.body))
	}
	compare(t, []byte(`{"list":[`+strings.Repeat(`{"id":"1","kind":"a"},`, 9999)+`{}]}`))
}

// compare checks that package records, if it accepts a body, decodes it as encoding/json
// does.
func compare(t *testing.T, body []byte) {
	t.Helper()
	got, ok := fast(body)
	if !ok {
		return
	}
	var want struct {
		List []record `json:"list"`
	}
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatalf("%q was accepted: %v", body, err)
	}
	if !reflect.DeepEqual(got, want.List) {
		t.Fatalf("%q\ngot  %q\nwant %q", body, got, want.List)
	}
}

// Whenever package records accepts a body, its result is equal to that of encoding/json.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.body))
	}
	f.Fuzz(compare)
}

// The strings of a record do not share the memory of the page. Equal values share
// a string.
func TestDecode_strings(t *testing.T) {
	body := []byte(`{"list":[{"id":"1","kind":"a"},{"id":"2","kind":"a"}]}`)
	all, ok := fast(body)
	if !ok {
		t.Fatal("the sample was refused")
	}
	clear(body)
	if all[0] != (record{"1", "a"}) || all[1] != (record{"2", "a"}) {
		t.Errorf("%q share the memory of the page", all)
	}
	if unsafe.StringData(all[0].Kind) != unsafe.StringData(all[1].Kind) {
		t.Error("equal values have two strings")
	}
}

// The memory that decoding a page takes depends on the number of records, not on the
// length of the page.
func TestDecode_memory(t *testing.T) {
	body := []byte(`{"list":[` + strings.Repeat(`{},`, 16) + `{"id":"` + strings.Repeat("x", 1<<20) + `"}]}`)
	all, ok := fast(body)
	if !ok || len(all) != 17 {
		t.Fatal(ok, len(all))
	}
	if cap(all) > 8192 {
		t.Errorf("room for %d records", cap(all))
	}
}
