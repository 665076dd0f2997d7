package appsandbooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

type notificationBody struct {
	Notification json.RawMessage  `json:"notification"`
	ID           string           `json:"notificationId"`
	Type         NotificationType `json:"notificationType"`
	UID          string           `json:"uId"`
}

// parseNotification keeps data.
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

// parse reads any form of a notification.
func (n *Notification) parse(data []byte) error {
	var b notificationBody
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	if b.Type == "" {
		return errors.New("no notificationType")
	}
	if b.ID == "" && b.Type != NotificationTest {
		return errors.New("no notificationId")
	}
	*n = Notification{ID: b.ID, Type: b.Type, UID: b.UID, Raw: b.Notification}
	_ = n.decodePayload() // Raw stands
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	maps.DeleteFunc(all, func(key string, _ json.RawMessage) bool { return isEnvelope(key) })
	if len(all) > 0 {
		n.Other = all
	}
	return nil
}

// isEnvelope tells whether encoding/json takes a key for one of the envelope's.
func isEnvelope(key string) bool {
	return slices.ContainsFunc([]string{"notification", "notificationId", "notificationType", "uId"},
		func(k string) bool { return strings.EqualFold(k, key) })
}

// parsePlain reads a notification of the form in which the service writes
// them: the envelope has its four fields once each, with strings of ASCII
// without escapes. It spares encoding/json two more passes over a payload of a
// hundred elements. False says nothing about the notification.
func (n *Notification) parsePlain(data []byte) bool {
	id, typ, uid, payload, ok := splitPlain(data)
	if !ok || len(typ) == 0 || len(id) == 0 {
		return false
	}
	*n = Notification{ID: string(id), Type: NotificationType(typ), UID: string(uid), Raw: payload}
	return n.decodePayload() == nil
}

// splitPlain takes a plain envelope apart. It finds the end of the payload,
// which is valid JSON if the whole is, and does not check it.
func splitPlain(data []byte) (id, typ, uid, payload []byte, ok bool) {
	i := skipSpace(data, 0)
	for more := byte('{'); ; more = ',' {
		if i == len(data) || data[i] != more {
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
	end := i < len(data) && data[i] == '}' && skipSpace(data, i+1) == len(data)
	return id, typ, uid, payload, end && payload != nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// plainString is the string that begins at i, and where it ends; nil if it has
// anything in it that needs a thought.
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

// skipObject is where the object that begins at i ends; i if it does not.
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
