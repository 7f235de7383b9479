// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"cmp"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Record is a record of the topic of the results. A nil value is null.
type Record struct {
	Partition  int32
	Offset     int64
	Key, Value []byte
}

// Read returns the rows that the records of a topic amount to. Records of one partition must be in their order.
func (q Query) Read(records []Record) ([]Row, error) {
	if q.Upsert {
		var err error
		if records, err = newest(records); err != nil {
			return nil, err
		}
	}
	var rows []Row
	for _, r := range records {
		of, err := q.rows(r.Value)
		if err != nil {
			return nil, fmt.Errorf("record %d of partition %d: %w", r.Offset, r.Partition, err)
		}
		rows = append(rows, of...)
	}
	if q.settle != nil {
		rows = q.settle(rows)
	}
	return rows, nil
}

// newest keeps the last record of each key, unless it is a deletion.
func newest(records []Record) ([]Record, error) {
	last := map[string]Record{}
	for _, r := range records {
		if old, ok := last[string(r.Key)]; ok && old.Partition != r.Partition {
			return nil, fmt.Errorf("record %d of partition %d has the key of record %d of partition %d: the records of a key must be in one partition",
				r.Offset, r.Partition, old.Offset, old.Partition)
		}
		last[string(r.Key)] = r
	}
	var kept []Record
	for _, r := range last {
		if r.Value != nil {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

// rows returns the rows of one value.
func (q Query) rows(value []byte) ([]Row, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members); err != nil {
		return nil, fmt.Errorf("the value is no JSON object: %w", err)
	}
	list, ok := members[q.lists]
	if !ok || q.lists == "" {
		r, err := q.row(members)
		return []Row{r}, err
	}
	delete(members, q.lists)
	var elements []jsontext.Value
	if err := json.Unmarshal(list, &elements); err != nil {
		return nil, fmt.Errorf("member %q is no array: %w", q.lists, err)
	}
	var rows []Row
	for _, e := range elements {
		if q.as != "" {
			members[q.as] = e
		} else {
			members = nil
			if err := json.Unmarshal(e, &members); err != nil {
				return nil, fmt.Errorf("an element of %q is no object: %w", q.lists, err)
			}
		}
		r, err := q.row(members)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (q Query) row(members map[string]jsontext.Value) (Row, error) {
	r := make(Row, len(q.Fields))
	for i, f := range q.Fields {
		v, ok := members[f.Name]
		if !ok {
			return nil, fmt.Errorf("there is no member %q", f.Name)
		}
		var err error
		switch f.Kind {
		case Int:
			r[i], err = strconv.ParseInt(string(v), 10, 64)
		case Decimal:
			r[i], err = strconv.ParseFloat(string(v), 64)
		default:
			var s string
			err = json.Unmarshal(v, &s)
			r[i] = s
		}
		if err != nil {
			return nil, fmt.Errorf("member %q is no %s: %w", f.Name, f.Kind, err)
		}
	}
	if len(members) != len(q.Fields) {
		return nil, fmt.Errorf("there are %d members, want %d", len(members), len(q.Fields))
	}
	return r, nil
}

// Difference is what two sets of rows do not have in common.
type Difference struct {
	Missing    int // wanted and not found
	Unexpected int // found and not wanted
	// Lines are the first of both in readable form, missing ones behind a minus and unexpected ones behind a plus, rows
	// with equal fields in front next to each other.
	Lines []string
}

// maxLines is how many lines of a difference are kept.
const maxLines = 20

// tolerance is the relative difference of decimals that counts as none.
const tolerance = 1e-9

// Compare returns the difference of two multisets of rows.
func (q Query) Compare(want, got []Row) Difference {
	w, g := q.lines(want), q.lines(got)
	var d Difference
	note := func(n *int, sign string, l line) {
		*n++
		if len(d.Lines) < maxLines {
			d.Lines = append(d.Lines, sign+" "+q.show(l.row))
		}
	}
	for len(w) > 0 || len(g) > 0 {
		order := 0
		switch {
		case len(w) == 0:
			order = 1
		case len(g) == 0:
			order = -1
		default:
			order = w[0].compare(g[0])
		}
		switch {
		case order < 0:
			note(&d.Missing, "-", w[0])
			w = w[1:]
		case order > 0:
			note(&d.Unexpected, "+", g[0])
			g = g[1:]
		default:
			w, g = w[1:], g[1:]
		}
	}
	return d
}

// line is a row in a form that sorts.
type line struct {
	exact   string // all fields but the decimal
	decimal float64
	row     Row
}

// compare calls decimals equal that are within the tolerance.
func (l line) compare(m line) int {
	if c := strings.Compare(l.exact, m.exact); c != 0 {
		return c
	}
	if math.Abs(l.decimal-m.decimal) <= tolerance*max(math.Abs(l.decimal), math.Abs(m.decimal)) {
		return 0
	}
	return cmp.Compare(l.decimal, m.decimal)
}

func (q Query) lines(rows []Row) []line {
	lines := make([]line, len(rows))
	for i, r := range rows {
		l := line{row: r}
		var exact []byte
		for j, f := range q.Fields {
			if f.Kind == Decimal {
				l.decimal = r[j].(float64)
				continue
			}
			exact = append(appendValue(exact, r[j]), '\n')
		}
		l.exact = string(exact)
		lines[i] = l
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(strings.Compare(a.exact, b.exact), cmp.Compare(a.decimal, b.decimal))
	})
	return lines
}

func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	default:
		return strconv.AppendQuote(dst, v.(string))
	}
}

// show writes a row for people, long texts cut.
func (q Query) show(r Row) string {
	var b []byte
	for i, f := range q.Fields {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, f.Name...), ' ')
		v := r[i]
		if s, ok := v.(string); ok && len(s) > 24 {
			v = s[:20] + " ..."
		}
		b = appendValue(b, v)
	}
	return string(b)
}

// String is the lines, and how many more there are.
func (d Difference) String() string {
	text := strings.Join(d.Lines, "\n")
	if more := d.Missing + d.Unexpected - len(d.Lines); more > 0 {
		text += fmt.Sprintf("\n... and %d more", more)
	}
	return text
}
