package appsandbooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// notificationBody is the envelope of a notification: the four fields that every
// notification has.
type notificationBody struct {
	Notification json.RawMessage  `json:"notification"`
	ID           string           `json:"notificationId"`
	Type         NotificationType `json:"notificationType"`
	UID          string           `json:"uId"`
}

// parseNotification is [ParseNotification] without a copy: Raw of the result shares
// memory with data.
func parseNotification(data []byte) (*Notification, error) {
	n := new(Notification)
	if n.parsePlain(data) {
		return n, nil
	}
	if err := n.parse(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return n, nil
}

// parse parses a notification of any form with encoding/json.
func (n *Notification) parse(data []byte) error {
	var body notificationBody
	if err := json.Unmarshal(data, &body); err != nil {
		return err
	}
	if body.Type == "" {
		return errors.New("no notificationType")
	}
	if body.ID == "" && body.Type != NotificationTest {
		return errors.New("no notificationId")
	}
	*n = Notification{ID: body.ID, Type: body.Type, UID: body.UID, Raw: body.Notification}
	_ = n.decodePayload() // ignore the error: a payload that cannot be decoded is still in Raw
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	maps.DeleteFunc(fields, func(key string, _ json.RawMessage) bool { return isEnvelopeField(key) })
	if len(fields) > 0 {
		n.Other = fields
	}
	return nil
}

// isEnvelopeField reports whether encoding/json decodes a key into a field of
// notificationBody. Like encoding/json, it ignores case.
func isEnvelopeField(key string) bool {
	return slices.ContainsFunc([]string{"notification", "notificationId", "notificationType", "uId"},
		func(field string) bool { return strings.EqualFold(field, key) })
}

// parsePlain parses a notification in the form that the service usually sends: each
// field of the envelope is present at most once, no other field is present, and the
// strings are ASCII without escapes. It is faster than parse, which reads the payload
// two more times. When parsePlain returns false, the notification can still be valid;
// then parse must parse it.
func (n *Notification) parsePlain(data []byte) bool {
	id, typ, uid, payload, ok := splitPlain(data)
	if !ok || len(typ) == 0 || len(id) == 0 {
		return false
	}
	*n = Notification{ID: string(id), Type: NotificationType(typ), UID: string(uid), Raw: payload}
	return n.decodePayload() == nil
}

// splitPlain returns the fields of an envelope in the form that parsePlain describes.
// ok is false if the envelope has another form or no payload. The payload ends where
// its braces close, and may not be valid JSON: the caller must decode it.
func splitPlain(data []byte) (id, typ, uid, payload []byte, ok bool) {
	i := skipSpace(data, 0)
	for delimiter := byte('{'); ; delimiter = ',' {
		if i == len(data) || data[i] != delimiter {
			break
		}
		key, next := plainString(data, skipSpace(data, i+1))
		i = skipSpace(data, next)
		if i == len(data) || data[i] != ':' {
			return
		}
		i = skipSpace(data, i+1)
		var field *[]byte
		switch string(key) {
		case "notification":
			if payload != nil {
				return
			}
			next = skipObject(data, i)
			payload, i = data[i:next:next], skipSpace(data, next)
			if len(payload) == 0 {
				return
			}
			continue
		case "notificationId":
			field = &id
		case "notificationType":
			field = &typ
		case "uId":
			field = &uid
		}
		if field == nil || *field != nil {
			return
		}
		*field, next = plainString(data, i)
		if *field == nil {
			return
		}
		i = skipSpace(data, next)
	}
	complete := i < len(data) && data[i] == '}' && skipSpace(data, i+1) == len(data)
	return id, typ, uid, payload, complete && payload != nil
}

// skipSpace returns the index of the first byte at or after i that is not JSON white
// space, or len(data).
func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// plainString returns the content of the JSON string that begins at i, and the index
// after its closing quote. It returns nil and i if no string begins there, if the
// string does not end, or if it contains an escape, a control character or a byte that
// is not ASCII.
func plainString(data []byte, i int) (s []byte, next int) {
	if i >= len(data) || data[i] != '"' {
		return nil, i
	}
	for j := i + 1; j < len(data); j++ {
		switch c := data[j]; {
		case c == '"':
			return data[i+1 : j : j], j + 1
		case c == '\\' || c < ' ' || c > '~':
			return nil, i
		}
	}
	return nil, i
}

// skipObject returns the index after the end of the JSON object that begins at i. It
// returns i if no object begins there, or if the object does not end. It does not
// check that the object is valid.
func skipObject(data []byte, i int) int {
	depth := 0
	for j := i; j < len(data); j++ {
		switch data[j] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return j + 1
			}
		case '"':
			for j++; j < len(data) && data[j] != '"'; j++ {
				if data[j] == '\\' {
					j++
				}
			}
		}
		if depth == 0 {
			break
		}
	}
	return i
}
