// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"slices"
)

// ErrTooLarge says that a query would have to hold more than its limit.
var ErrTooLarge = errors.New("more than the limit of memory")

// QueryBytes is the most that a query holds: groups, or rows that are to be sorted.
const QueryBytes = 64 << 20

// Executor evaluates a query over the rows of a store: Add each, then Finish.
type Executor struct {
	q       *Query
	items   []expression
	names   []string
	emit    func([]any) error
	scope   scope
	held    int // bytes
	emitted int
	groups  map[string]*group
	inOrder []*group // as they came
	tops    topRows
	scratch []byte
}

// NewExecutor begins a query over a store. emit gets the values of each row of the result, to keep. A column that the store
// does not have is a SyntaxError.
func (q *Query) NewExecutor(s *Store, emit func([]any) error) (*Executor, error) {
	has := map[string]bool{subKeyColumn: s.HasSubKey(), timeColumn: s.Timed()}
	for _, c := range q.columns {
		if there, depends := has[c.text]; depends && !there {
			return nil, q.fail(c.start, "store %s has no %s", s.Name, c.text)
		}
	}
	e := &Executor{q: q, emit: emit, groups: map[string]*group{}}
	for _, it := range q.items {
		if it.x != nil {
			e.items, e.names = append(e.items, it.x), append(e.names, it.name)
			continue
		}
		for _, name := range columnNames {
			if there, depends := has[name]; !depends || there {
				e.items, e.names = append(e.items, &column{name}), append(e.names, name)
			}
		}
	}
	e.names = distinctNames(e.names)
	e.tops = topRows{keys: q.order}
	if q.isGrouped() && len(q.groups) == 0 {
		e.group(nil) // one of all rows, also if there are none
	}
	return e, nil
}

// distinctNames gives the second of a name the number 2, and so on.
func distinctNames(names []string) []string {
	seen := map[string]int{}
	for i, n := range names {
		if seen[n]++; seen[n] > 1 {
			names[i] = fmt.Sprintf("%s_%d", n, seen[n])
		}
	}
	return names
}

// Columns are the names of the result's columns.
func (e *Executor) Columns() []string { return e.names }

// Add takes a row. ErrStop says that no more is needed.
func (e *Executor) Add(r Row) error {
	e.scope.begin(r)
	if e.q.where != nil && flat(e.q.where.eval(&e.scope)) != true {
		return nil
	}
	if e.q.isGrouped() {
		return e.addToGroup()
	}
	return e.result()
}

// result takes a row of the result.
func (e *Executor) result() error {
	if e.q.limit == 0 || e.q.limit > 0 && len(e.q.order) == 0 && e.emitted >= e.q.limit {
		return ErrStop
	}
	values := make([]any, len(e.items))
	for i, x := range e.items {
		values[i] = x.eval(&e.scope)
	}
	if len(e.q.order) == 0 {
		e.emitted++
		if err := e.emit(values); err != nil {
			return err
		}
		if e.emitted == e.q.limit {
			return ErrStop
		}
		return nil
	}
	row := topRow{values: values, by: make([]any, len(e.q.order)), number: e.tops.next}
	e.tops.next++
	for i, k := range e.q.order {
		row.by[i] = flat(k.x.eval(&e.scope))
	}
	return e.keep(row)
}

// keep holds a row until all are known: all of them, or with a LIMIT the first ones in order.
func (e *Executor) keep(row topRow) error {
	if e.q.limit > 0 && len(e.tops.rows) == e.q.limit {
		if e.tops.compare(row, e.tops.rows[0]) >= 0 {
			return nil
		}
		e.held += row.size() - e.tops.rows[0].size()
		e.tops.rows[0] = row
		heap.Fix(&e.tops, 0)
	} else {
		e.held += row.size()
		heap.Push(&e.tops, row)
	}
	return e.check("rows that are to be sorted", len(e.tops.rows), "add a LIMIT or a narrower WHERE")
}

func (e *Executor) check(what string, n int, todo string) error {
	if e.held <= QueryBytes {
		return nil
	}
	return fmt.Errorf("the query must hold %d %s, which take %w of %d bytes: %s, or export the store for another tool", n, what, ErrTooLarge, QueryBytes, todo)
}

func (e *Executor) addToGroup() error {
	keys := make([]any, len(e.q.groups))
	for i, k := range e.q.groups {
		keys[i] = flat(k.x.eval(&e.scope))
	}
	g := e.group(keys)
	for i, sum := range e.q.sums {
		var v any = true
		if sum.x != nil {
			v = flat(sum.x.eval(&e.scope))
		}
		e.held += g.sums[i].add(sum.function, v)
	}
	return e.check("groups", len(e.inOrder), "group by something that has fewer values, or add a narrower WHERE")
}

// group finds or makes the group of the keys.
func (e *Executor) group(keys []any) *group {
	e.scratch = e.scratch[:0]
	for _, k := range keys {
		e.scratch = appendIdentity(e.scratch, k)
	}
	if g, ok := e.groups[string(e.scratch)]; ok {
		return g
	}
	g := &group{keys: keys, sums: make([]aggregation, len(e.q.sums))}
	e.groups[string(e.scratch)] = g
	e.inOrder = append(e.inOrder, g)
	const overhead = 160 // of the map, the lists and the pointers
	e.held += overhead + len(e.scratch) + len(g.sums)*80
	for _, k := range keys {
		e.held += sizeOf(k)
	}
	return g
}

// Finish emits what has waited for the last row.
func (e *Executor) Finish() error {
	for _, g := range e.inOrder {
		e.scope.group = g
		if e.q.having != nil && flat(e.q.having.eval(&e.scope)) != true {
			continue
		}
		err := e.result()
		if errors.Is(err, ErrStop) {
			break
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(e.tops.rows, e.tops.compare)
	for _, row := range e.tops.rows {
		err := e.emit(row.values)
		if errors.Is(err, ErrStop) {
			break
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// topRow is a row of the result that waits for its place.
type topRow struct {
	values, by []any
	number     int // in the order in which rows came
}

func (r topRow) size() int {
	n := 96
	for _, list := range [][]any{r.values, r.by} {
		for _, v := range list {
			n += sizeOf(v)
		}
	}
	return n
}

// topRows is a heap whose first row is the last in order.
type topRows struct {
	keys []key
	rows []topRow
	next int
}

func (t *topRows) compare(a, b topRow) int {
	for i, k := range t.keys {
		order := sorted(a.by[i], b.by[i])
		if k.descending {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(a.number, b.number)
}

// Len implements heap.Interface.
func (t *topRows) Len() int { return len(t.rows) }

// Less implements heap.Interface.
func (t *topRows) Less(i, j int) bool { return t.compare(t.rows[i], t.rows[j]) > 0 }

// Swap implements heap.Interface.
func (t *topRows) Swap(i, j int) { t.rows[i], t.rows[j] = t.rows[j], t.rows[i] }

// Push implements heap.Interface.
func (t *topRows) Push(row any) { t.rows = append(t.rows, row.(topRow)) }

// Pop implements heap.Interface.
func (t *topRows) Pop() any {
	last := t.rows[len(t.rows)-1]
	t.rows = t.rows[:len(t.rows)-1]
	return last
}

// group is what is known of rows that have something in common.
type group struct {
	keys []any
	sums []aggregation
}

// aggregation is the state of one function over the rows of a group. What is nothing does not count; what is no number
// does not count for sum and avg.
type aggregation struct {
	count, numbers int64
	whole          int64
	float          float64
	inexact        bool // the sum is float, since it is not whole or takes more than 64 bits
	edge           any  // the smallest or the largest so far
}

// add returns by how much the memory has grown.
func (a *aggregation) add(function string, v any) int {
	if v == nil {
		return 0
	}
	a.count++
	switch function {
	case "sum", "avg":
		a.addNumber(v)
	case "min", "max":
		if order := sorted(v, a.edge); a.edge == nil || (order < 0) == (function == "min") && order != 0 {
			grown := sizeOf(v) - sizeOf(a.edge)
			a.edge = v
			return grown
		}
	}
	return 0
}

func (a *aggregation) addNumber(v any) {
	f, ok := asFloat(v)
	if !ok {
		return
	}
	a.numbers++
	if n, whole := v.(int64); whole && !a.inexact {
		if sum, fits := wholeNumbers("+", a.whole, n); fits {
			a.whole = sum
			return
		}
	}
	if !a.inexact {
		a.float, a.inexact = float64(a.whole), true
	}
	a.float += f
}

func (a *aggregation) result(function string) any {
	switch {
	case function == "count":
		return a.count
	case function == "min" || function == "max":
		return a.edge
	case a.numbers == 0:
		return nil
	case function == "avg":
		return a.sum() / float64(a.numbers)
	case a.inexact:
		return a.float
	}
	return a.whole
}

func (a *aggregation) sum() float64 {
	if a.inexact {
		return a.float
	}
	return float64(a.whole)
}
