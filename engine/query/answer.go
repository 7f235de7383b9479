// SPDX-License-Identifier: Apache-2.0

package query

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"net/http"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/partition"
)

// Part says which state one task's rows of an answer are from.
type Part struct {
	Task     partition.TaskID `json:"task"`
	Worker   string           `json:"worker"` // its endpoint
	Role     Role             `json:"role"`
	Position Position         `json:"position"`
	// AsOf is when the worker looked, by its clock.
	AsOf time.Time `json:"asOf"`
	// Staleness is how far a standby is behind.
	Staleness *Staleness `json:"staleness,omitempty"`
}

// Staleness says how far the state of an answer is behind that of the task's owner, as far as its worker knows.
type Staleness struct {
	Records int64   `json:"records"` // changelog records not applied yet
	Seconds float64 `json:"seconds"` // since the standby was last up with the owner
}

// Row is an entry of a store.
type Row struct {
	inspect.Row
	raw  bool
	text jsontext.Value // as JSON, unless raw
}

// rowBytes is about what an encoded row takes beside its key and value.
const rowBytes = 100

func (r *Row) size() int64 {
	if !r.raw {
		return int64(len(r.text))
	}
	size := func(v any) int {
		b, _ := v.([]byte)
		return len(b)
	}
	return int64(rowBytes + size(r.Key) + size(r.SubKey) + size(r.Value))
}

// rawRow is a row whose key and value are as they are encoded; in JSON, in base64.
type rawRow struct {
	Task   partition.TaskID `json:"task"`
	Key    []byte           `json:"key"`
	SubKey *[]byte          `json:"subKey,omitzero"`
	Time   time.Time        `json:"time,omitzero"`
	Value  *[]byte          `json:"value"`
}

// MarshalJSONTo implements json.MarshalerTo.
func (r *Row) MarshalJSONTo(e *jsontext.Encoder) error {
	if !r.raw {
		return e.WriteValue(r.text)
	}
	raw := rawRow{Task: r.Task, Time: r.Time}
	raw.Key, _ = r.Key.([]byte)
	if sub, ok := r.SubKey.([]byte); ok {
		raw.SubKey = &sub
	}
	if value, ok := r.Value.([]byte); ok {
		raw.Value = &value
	}
	return json.MarshalEncode(e, raw)
}

// parsed reads a row that another worker has written.
func (r *Row) parsed(text jsontext.Value, raw bool) error {
	if r.raw = raw; !raw {
		r.text = text.Clone()
		return nil
	}
	var row rawRow
	if err := json.Unmarshal(text, &row); err != nil {
		return err
	}
	r.Task, r.Key, r.Time, r.Timed = row.Task, row.Key, row.Time, !row.Time.IsZero()
	if row.SubKey != nil {
		r.SubKey = *row.SubKey
	}
	if row.Value != nil {
		r.Value = *row.Value
	}
	return nil
}

// Text is the row as JSON: task, partition, key, subKey, time and value, or with Query.Raw the same with encoded bytes in
// base64.
func (r *Row) Text() (jsontext.Value, error) {
	if !r.raw {
		return r.text, nil
	}
	return json.Marshal(r)
}

// Answer is what a query finds. One about a key is of one task, which is its Part; one about many is of Parts.
type Answer struct {
	Store string
	Part
	Parts []Part
	// Rows are in the order of encoded entries within a task, task after task.
	Rows []Row
	// Next is the page that goes on where the answer ends; empty if there is no more.
	Next string
	// Token stands for the positions of the answer. A later query that has it as its minimum sees the same state or a
	// later one.
	Token string

	epochs map[partition.TaskID]uint64
	last   []byte // entry key of the last row that was looked at
	more   bool
}

// size is about how many bytes the rows take.
func (a *Answer) size() (n int64) {
	for i := range a.Rows {
		n += a.Rows[i].size()
	}
	return n
}

// keyAnswer is the answer about a key, as JSON.
type keyAnswer struct {
	Store string            `json:"store"`
	Key   jsontext.Value    `json:"key,omitzero"`
	Value jsontext.Value    `json:"value,omitzero"` // of a store with one entry per key
	Time  *jsontext.Value   `json:"time,omitzero"`
	Rows  *[]jsontext.Value `json:"rows,omitzero"` // of others
	Next  string            `json:"nextPageToken,omitempty"`
	Part
	Token string `json:"token"`
}

// scanAnswer is the answer about many keys, as JSON.
type scanAnswer struct {
	Store string           `json:"store"`
	Rows  []jsontext.Value `json:"rows"`
	Next  string           `json:"nextPageToken,omitempty"`
	Parts []Part           `json:"parts"`
	Token string           `json:"token"`
}

// rowParts are the members of a row that a keyAnswer takes over.
type rowParts struct {
	Key   jsontext.Value  `json:"key"`
	Value jsontext.Value  `json:"value"`
	Time  *jsontext.Value `json:"time"`
}

// texts are the rows as JSON.
func (a *Answer) texts() ([]jsontext.Value, error) {
	list := make([]jsontext.Value, len(a.Rows))
	for i := range a.Rows {
		var err error
		if list[i], err = a.Rows[i].Text(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// document is the answer to q as JSON; a *Problem if it has no rows and is about a key.
func (a *Answer) document(q *Query) (any, error) {
	rows, err := a.texts()
	if err != nil {
		return nil, err
	}
	if q.Key == nil {
		return &scanAnswer{a.Store, rows, a.Next, a.Parts, a.Token}, nil
	}
	if len(rows) == 0 && a.Next == "" {
		p := api.Problemf(http.StatusNotFound, codeNoKey, "store %s has no such key at the position of the answer", a.Store)
		p.More = map[string]any{"store": a.Store, "task": a.Task, "worker": a.Worker, "role": a.Role, "position": a.Position, "asOf": a.AsOf, "token": a.Token}
		if a.Staleness != nil {
			p.More["staleness"] = a.Staleness
		}
		return nil, p
	}
	doc := &keyAnswer{Store: a.Store, Part: a.Part, Next: a.Next, Token: a.Token}
	if !q.one() {
		doc.Rows = &rows
		return doc, nil
	}
	var row rowParts
	if err := json.Unmarshal(rows[0], &row); err != nil {
		return nil, err
	}
	doc.Key, doc.Value, doc.Time = row.Key, row.Value, row.Time
	return doc, nil
}

// one says whether the query is about one entry at most.
func (q *Query) one() bool {
	return q.store.single() || q.AsOf != nil || q.store.Kind.Mapped() && q.SubKey != nil
}

// parseAnswer reads the answer of another worker to q, which asked for raw or JSON rows as q says.
func parseAnswer(q *Query, body []byte) (*Answer, error) {
	a := &Answer{}
	if q.Key == nil {
		var doc scanAnswer
		if err := json.Unmarshal(body, &doc); err != nil {
			return nil, err
		}
		a.Store, a.Parts, a.Next, a.Token = doc.Store, doc.Parts, doc.Next, doc.Token
		return a, a.parseRows(doc.Rows, q.Raw)
	}
	var doc keyAnswer
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	a.Store, a.Part, a.Next, a.Token = doc.Store, doc.Part, doc.Next, doc.Token
	if doc.Rows != nil {
		return a, a.parseRows(*doc.Rows, q.Raw)
	}
	row := map[string]any{"task": doc.Task, "partition": doc.Task.Partition, "key": doc.Key, "value": doc.Value}
	if doc.Time != nil {
		row["time"] = *doc.Time
	}
	text, err := json.Marshal(row, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	return a, a.parseRows([]jsontext.Value{text}, q.Raw)
}

func (a *Answer) parseRows(rows []jsontext.Value, raw bool) error {
	a.Rows = make([]Row, len(rows))
	for i, text := range rows {
		if err := a.Rows[i].parsed(text, raw); err != nil {
			return err
		}
	}
	return nil
}

// parseAbsent reads the problem that says that there is no such key.
func parseAbsent(body []byte) (*Answer, error) {
	var doc struct {
		Store string `json:"store"`
		Part
		Token string `json:"token"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	return &Answer{Store: doc.Store, Part: doc.Part, Token: doc.Token}, nil
}
