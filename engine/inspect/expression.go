// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/json/jsontext"
	"math"
	"strconv"
	"strings"
)

// An expression is evaluated for a row, or for a group of rows. What does not apply to a value is nothing, as SQL's null:
// a path into a number, a sum of a text and a number, a comparison with nothing.
type expression interface {
	eval(s *scope) any
	// text is the same for expressions that mean the same.
	text() string
	// parts are the expressions that this one is made of, to be replaced in place.
	parts() []*expression
}

// scope is what an expression is evaluated for.
type scope struct {
	row    Row
	parsed map[string]any // columns that hold JSON, taken apart
	group  *group
}

func (s *scope) begin(r Row) {
	s.row = r
	clear(s.parsed)
}

type literal struct{ value any }

func (e *literal) eval(*scope) any      { return e.value }
func (e *literal) parts() []*expression { return nil }
func (e *literal) text() string {
	if s, ok := e.value.(string); ok {
		return strconv.Quote(s)
	}
	return Text(e.value)
}

// column is a column of the row: one of columnNames.
type column struct{ name string }

const (
	keyColumn       = "key"
	subKeyColumn    = "subkey"
	timeColumn      = "time"
	valueColumn     = "value"
	taskColumn      = "task"
	partitionColumn = "partition"
)

var columnNames = []string{keyColumn, subKeyColumn, timeColumn, valueColumn, taskColumn, partitionColumn}

func (e *column) text() string         { return e.name }
func (e *column) parts() []*expression { return nil }

func (e *column) eval(s *scope) any {
	switch e.name {
	case keyColumn:
		return s.row.Key
	case subKeyColumn:
		return s.row.SubKey
	case timeColumn:
		if s.row.Timed {
			return s.row.Time
		}
		return nil
	case taskColumn:
		return s.row.Task.String()
	case partitionColumn:
		return int64(s.row.Task.Partition)
	}
	return s.row.Value
}

// path is a part of a JSON value: steps are names (string) and places in lists (int, from 0).
type path struct {
	base  column
	steps []any
}

func (e *path) parts() []*expression { return nil }

func (e *path) text() string {
	var b strings.Builder
	b.WriteString(e.base.name)
	for _, step := range e.steps {
		if i, ok := step.(int); ok {
			b.WriteString("[" + strconv.Itoa(i) + "]")
		} else {
			b.WriteString("." + strconv.Quote(step.(string)))
		}
	}
	return b.String()
}

func (e *path) eval(s *scope) any {
	v, done := s.parsed[e.base.name]
	if !done {
		v = part(e.base.eval(s))
		if s.parsed == nil {
			s.parsed = map[string]any{}
		}
		s.parsed[e.base.name] = v
	}
	for _, step := range e.steps {
		switch step := step.(type) {
		case string:
			object, _ := v.(map[string]any)
			v = object[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// prefixed is NOT or the negative.
type prefixed struct {
	op string
	x  expression
}

func (e *prefixed) text() string         { return e.op + " (" + e.x.text() + ")" }
func (e *prefixed) parts() []*expression { return []*expression{&e.x} }

func (e *prefixed) eval(s *scope) any {
	v := flat(e.x.eval(s))
	if e.op == "not" {
		if b, ok := v.(bool); ok {
			return !b
		}
		return nil
	}
	return calculate("-", int64(0), v)
}

// operation is a comparison, a calculation, AND or OR.
type operation struct {
	op          string
	left, right expression
}

func (e *operation) text() string {
	return "(" + e.left.text() + " " + e.op + " " + e.right.text() + ")"
}
func (e *operation) parts() []*expression { return []*expression{&e.left, &e.right} }

func (e *operation) eval(s *scope) any {
	left := flat(e.left.eval(s))
	switch e.op {
	case "and", "or":
		decides := e.op == "or" // the answer that one side is enough for
		l, lok := left.(bool)
		if lok && l == decides {
			return decides
		}
		r, rok := flat(e.right.eval(s)).(bool)
		switch {
		case rok && r == decides:
			return decides
		case lok && rok:
			return !decides
		}
		return nil
	case "+", "-", "*", "/", "%":
		return calculate(e.op, left, flat(e.right.eval(s)))
	}
	order, ok := compare(left, flat(e.right.eval(s)))
	if !ok {
		return nil
	}
	switch e.op {
	case "=":
		return order == 0
	case "<>":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

// like compares with a pattern: % is any text, _ any character.
type like struct {
	x       expression
	pattern []rune
}

func (e *like) text() string {
	return "(" + e.x.text() + " like " + strconv.Quote(string(e.pattern)) + ")"
}
func (e *like) parts() []*expression { return []*expression{&e.x} }

func (e *like) eval(s *scope) any {
	switch v := flat(e.x.eval(s)).(type) {
	case string:
		return matches([]rune(v), e.pattern)
	case []byte:
		return matches([]rune(bytesText(v)), e.pattern)
	}
	return nil
}

// matches goes back only to the last %, which is enough: what came before it has matched the least there can be.
func matches(text, pattern []rune) bool {
	t, p, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '%':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '_' || pattern[p] == text[t]):
			t, p = t+1, p+1
		case star >= 0:
			mark++
			t, p = mark, star+1
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '%' {
		p++
	}
	return p == len(pattern)
}

// between says whether a value is one of low to high.
type between struct{ x, low, high expression }

func (e *between) parts() []*expression { return []*expression{&e.x, &e.low, &e.high} }

func (e *between) text() string {
	return "(" + e.x.text() + " between " + e.low.text() + " and " + e.high.text() + ")"
}

func (e *between) eval(s *scope) any {
	v := flat(e.x.eval(s))
	low, lok := compare(v, flat(e.low.eval(s)))
	high, hok := compare(v, flat(e.high.eval(s)))
	switch {
	case lok && low < 0, hok && high > 0:
		return false
	case lok && hok:
		return true
	}
	return nil
}

// in says whether a value is one of several.
type in struct {
	x    expression
	list []expression
}

func (e *in) text() string {
	texts := make([]string, len(e.list))
	for i, x := range e.list {
		texts[i] = x.text()
	}
	return "(" + e.x.text() + " in " + strings.Join(texts, ", ") + ")"
}

func (e *in) parts() []*expression {
	all := []*expression{&e.x}
	for i := range e.list {
		all = append(all, &e.list[i])
	}
	return all
}

func (e *in) eval(s *scope) any {
	v := flat(e.x.eval(s))
	if v == nil {
		return nil
	}
	unknown := false
	for _, x := range e.list {
		candidate := flat(x.eval(s))
		if order, ok := compare(v, candidate); ok && order == 0 {
			return true
		}
		unknown = unknown || candidate == nil
	}
	if unknown {
		return nil
	}
	return false
}

// isNull says whether there is nothing.
type isNull struct{ x expression }

func (e *isNull) text() string         { return "(" + e.x.text() + " is null)" }
func (e *isNull) parts() []*expression { return []*expression{&e.x} }
func (e *isNull) eval(s *scope) any    { return flat(e.x.eval(s)) == nil }

// aggregate is a function over the rows of a group.
type aggregate struct {
	function string
	x        expression // nil: count(*)
	slot     int        // in the group
}

func (e *aggregate) text() string {
	if e.x == nil {
		return e.function + "(*)"
	}
	return e.function + "(" + e.x.text() + ")"
}

func (e *aggregate) parts() []*expression { return nil }
func (e *aggregate) eval(s *scope) any    { return s.group.sums[e.slot].result(e.function) }

// grouped is what rows are grouped by, as the group has it.
type grouped struct {
	of   string
	slot int
}

func (e *grouped) text() string         { return e.of }
func (e *grouped) parts() []*expression { return nil }
func (e *grouped) eval(s *scope) any    { return s.group.keys[e.slot] }

// calculate is nothing unless both are numbers, and where the result is none.
func calculate(op string, a, b any) any {
	x, xok := a.(int64)
	y, yok := b.(int64)
	if xok && yok && op != "/" {
		if n, ok := wholeNumbers(op, x, y); ok {
			return n
		}
	}
	f, fok := asFloat(a)
	g, gok := asFloat(b)
	if !fok || !gok {
		return nil
	}
	var r float64
	switch op {
	case "+":
		r = f + g
	case "-":
		r = f - g
	case "*":
		r = f * g
	case "/":
		r = f / g
	case "%":
		r = math.Mod(f, g)
	}
	if math.IsNaN(r) || math.IsInf(r, 0) {
		return nil
	}
	return r
}

// wholeNumbers calculates without loss; not ok if the result takes more than 64 bits, or there is none.
func wholeNumbers(op string, x, y int64) (int64, bool) {
	switch op {
	case "+":
		r := x + y
		return r, (r > x) == (y > 0)
	case "-":
		r := x - y
		return r, (r < x) == (y > 0)
	case "*":
		r := x * y
		return r, x == 0 || r/x == y && !(x == -1 && y == math.MinInt64)
	}
	if y == 0 || y == -1 {
		return 0, y == -1
	}
	return x % y, true
}

// flat makes a JSON value that is no list and no object the plain value that it stands for.
func flat(v any) any {
	if text, ok := v.(jsontext.Value); ok {
		switch text.Kind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			return v
		}
		return part(v)
	}
	return v
}
