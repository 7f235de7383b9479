// SPDX-License-Identifier: Apache-2.0

package query

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// Query asks for entries of a store: for those of a key, or for a page of all.
type Query struct {
	Store string
	// Key, if not nil, is the encoded key, and SubKey one of its sub-keys.
	Key, SubKey []byte
	// Since and Until are the first and the last start of the windows that are asked for. Zero is no bound.
	Since, Until time.Time
	// AsOf, if not nil, asks for what a row of a versioned table was at that time.
	AsOf *time.Time
	// Prefix is what encoded keys begin with, From and To are their bounds; To is left out.
	Prefix, From, To []byte
	// Task, if not nil, is the only one to be asked. For a key it stands for a partitioner of the user's own.
	Task *partition.TaskID
	// Limit is how many rows the answer has at most; 0: as many as the worker gives.
	Limit int
	// Page goes on where an answer ended that has this as its Next.
	Page string
	// Raw asks for encoded keys and values.
	Raw bool
	// Min is what the answer must reflect: it waits for that.
	Min Minimum
	// Stale allows an answer from a standby that is behind by up to MaxStale, or by any time if that is 0, where the owner cannot
	// answer at once.
	Stale    bool
	MaxStale time.Duration
	// Timeout is how long the answer may take; 0: as long as the worker waits.
	Timeout time.Duration

	store *store
	keys  bool             // keys of a request are given as they are encoded
	begin partition.TaskID // of the page: the task with which it begins
	after []byte           // and the entry key behind which that does
}

// parameters are those that a request may have.
var parameters = map[string]func(q *Query, text string) error{
	"sub-key":    func(q *Query, text string) (err error) { q.SubKey, err = q.store.subKey(text, q.keys); return },
	"since":      func(q *Query, text string) error { return parseTime(&q.Since, text) },
	"until":      func(q *Query, text string) error { return parseTime(&q.Until, text) },
	"as-of":      func(q *Query, text string) error { q.AsOf = new(time.Time); return parseTime(q.AsOf, text) },
	"prefix":     func(q *Query, text string) error { return parseBytes(&q.Prefix, text, q.keys) },
	"from":       func(q *Query, text string) (err error) { q.From, err = q.store.key(text, q.keys); return },
	"to":         func(q *Query, text string) (err error) { q.To, err = q.store.key(text, q.keys); return },
	"task":       func(q *Query, text string) error { q.Task = new(partition.TaskID); return parseTask(q.Task, text) },
	"limit":      func(q *Query, text string) error { return parseLimit(&q.Limit, text) },
	"page-token": func(q *Query, text string) error { q.Page = text; return nil },
	"timeout":    func(q *Query, text string) error { return parseDuration(&q.Timeout, text) },
	"stale": func(q *Query, text string) error {
		if q.Stale = text == "allow"; !q.Stale && text != "never" {
			return invalid("stale is allow or never, not %.40q", text)
		}
		return nil
	},
	"max-staleness": func(q *Query, text string) error { q.Stale = true; return parseDuration(&q.MaxStale, text) },
	"min-position":  func(q *Query, text string) error { return q.Min.Require(text) },
	// parse has looked at these.
	"encoding": func(*Query, string) error { return nil },
	"keys":     func(*Query, string) error { return nil },
	"key":      func(*Query, string) error { return nil },
}

// parse reads a query from a request. hasKey says whether the path has a key.
func (c catalog) parse(name, key string, hasKey bool, params url.Values) (*Query, error) {
	st, err := c.find(name)
	if err != nil {
		return nil, err
	}
	q := &Query{Store: name, store: st}
	if q.Raw, err = either(params, "encoding", "json", "raw"); err != nil {
		return nil, err
	}
	if q.keys, err = either(params, "keys", "text", "raw"); err != nil {
		return nil, err
	}
	if hasKey {
		if q.Key, err = st.key(key, q.keys); err != nil {
			return nil, err
		}
	}
	for name, values := range params {
		set := parameters[name]
		if set == nil {
			return nil, invalid("there is no parameter %.40q", name)
		}
		if len(values) > 1 && name != "min-position" {
			return nil, invalid("%s is given %d times", name, len(values))
		}
		for _, text := range values {
			if err := set(q, text); err != nil {
				return nil, err
			}
		}
	}
	return q, q.check()
}

// either reads a parameter of two words: false is the first of them, and none.
func either(params url.Values, name, first, second string) (bool, error) {
	switch text := params.Get(name); text {
	case "", first:
		return false, nil
	case second:
		return true, nil
	default:
		return false, invalid("%s is %s or %s, not %.40q", name, first, second, text)
	}
}

// check refuses what does not go together, and reads the page.
func (q *Query) check() error {
	s := q.store
	switch {
	case q.Key == nil && (q.SubKey != nil || q.AsOf != nil):
		return invalid("sub-key and as-of are for one key")
	case q.Key != nil && (q.Prefix != nil || q.From != nil || q.To != nil):
		return invalid("prefix, from and to are for all keys, and the path has one")
	case q.AsOf != nil && s.versions == nil:
		return invalid("store %s is no versioned table, so it does not know what its rows were; as-of is for those", s.Name)
	case q.AsOf != nil && (q.AsOf.Year() < 0 || q.AsOf.Year() > 9999):
		return invalid("as-of has no calendar year")
	case (!q.Since.IsZero() || !q.Until.IsZero()) && !s.Kind.Windowed():
		return invalid("store %s has no windows; since and until are for those", s.Name)
	case q.Task != nil && q.Task.SubTopology != s.sub.ID:
		return invalid("store %s is in sub-topology %d, which task %v is not of", s.Name, s.sub.ID, *q.Task)
	case q.Page != "":
		return q.turn()
	}
	return nil
}

// pageSeparator is between a task and an entry key in the text of a page.
const pageSeparator = ":"

func pageOf(id partition.TaskID, after []byte) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte(id.String()+pageSeparator), after...))
}

// turn reads where the page begins: the scan goes on with that task. It does not narrow Task, which the caller has given.
func (q *Query) turn() error {
	text, err := base64.RawURLEncoding.DecodeString(q.Page)
	name, after, ok := strings.Cut(string(text), pageSeparator)
	id, err2 := partition.ParseTaskID(name)
	if err != nil || !ok || err2 != nil || id.SubTopology != q.store.sub.ID {
		return invalid("page-token is not the nextPageToken of an answer of this store")
	}
	q.begin, q.after = id, []byte(after)
	if q.Task != nil && *q.Task != id {
		return invalid("page-token is of task %v, and task %v is asked for", id, *q.Task)
	}
	return nil
}

// entries are the range of the store that the query asks for.
func (q *Query) entries() statestore.Range {
	r := statestore.Range{Store: statestore.StoreID(q.store.ID), Key: q.Key, Sub: q.SubKey, Prefix: q.Prefix, From: q.From, To: q.To}
	if len(q.after) > 0 {
		r.After = q.after
	}
	if !q.Since.IsZero() || !q.Until.IsZero() {
		r.Times = &statestore.TimeRange{From: -1 << 63, To: 1<<63 - 1}
		if !q.Since.IsZero() {
			r.Times.From = q.Since.UnixMilli()
		}
		if !q.Until.IsZero() {
			r.Times.To = q.Until.UnixMilli()
		}
	}
	return r
}

// path is what asks another worker for the same.
func (q *Query) path() string {
	p := url.Values{}
	set := func(name string, b []byte) {
		if b != nil {
			p.Set(name, hex.EncodeToString(b))
		}
	}
	set("sub-key", q.SubKey)
	set("prefix", q.Prefix)
	set("from", q.From)
	set("to", q.To)
	p.Set("keys", "raw")
	if q.Raw {
		p.Set("encoding", "raw")
	}
	setTime := func(name string, t time.Time) {
		if !t.IsZero() {
			p.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	setTime("since", q.Since)
	setTime("until", q.Until)
	if q.AsOf != nil {
		setTime("as-of", *q.AsOf)
	}
	if q.Task != nil {
		p.Set("task", q.Task.String())
	}
	if q.Limit > 0 {
		p.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Page != "" {
		p.Set("page-token", q.Page)
	}
	for _, text := range q.Min.texts() {
		p.Add("min-position", text)
	}
	switch {
	case q.MaxStale > 0:
		p.Set("max-staleness", q.MaxStale.String())
	case q.Stale:
		p.Set("stale", "allow")
	}
	if q.Timeout > 0 {
		p.Set("timeout", q.Timeout.String())
	}
	set("key", q.Key)
	return Path + "/" + url.PathEscape(q.Store) + "/keys?" + p.Encode()
}

func parseTime(to *time.Time, text string) error {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return invalid("%.60q is not a time such as 2026-01-31T12:00:00Z", text)
	}
	*to = t
	return nil
}

func parseDuration(to *time.Duration, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return invalid("%.60q is not a duration such as 500ms or 5s", text)
	}
	*to = d
	return nil
}

func parseTask(to *partition.TaskID, text string) error {
	id, err := partition.ParseTaskID(text)
	if err != nil {
		return invalid("%v", err)
	}
	*to = id
	return nil
}

func parseLimit(to *int, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return invalid("limit is a number of rows from 1 on, not %.40q", text)
	}
	*to = n
	return nil
}

func parseBytes(to *[]byte, text string, raw bool) (err error) {
	if raw {
		text = "0x" + text
	}
	if *to, err = inspect.ParseBytes(text); err != nil {
		return invalid("%v", err)
	}
	return nil
}

// The codes of problems.
const (
	codeInvalid   = "invalid-query"
	codeNoStore   = "no-such-store"
	codeNoKey     = "no-such-key"
	codeNotHere   = "not-the-owner"
	codeMoving    = "task-is-moving"
	codeBehind    = "position-not-reached"
	codeStale     = "too-stale"
	codeOtherLife = "other-life"
	codeTooLarge  = "answer-too-large"
	codeBusy      = "too-many-queries"
	codeNoTask    = "no-such-task"
	codeEnding    = "worker-ends"
)

// Path is where stores are in the API.
const Path = "/api/v1/stores"

// unavailable is a problem that goes away by itself.
func unavailable(code, detail string) *api.Problem {
	return &api.Problem{Status: http.StatusServiceUnavailable, Code: code, Detail: detail, Retry: time.Second}
}
