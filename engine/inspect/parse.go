// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/streamd/streamd/engine/config"
)

// Limits of a query's text.
const (
	maxQueryBytes = 1 << 16
	maxDepth      = 200 // of expressions within each other
)

// Query is a parsed SELECT over one store.
//
//	SELECT * | expression [AS name], …
//	FROM store
//	[WHERE condition] [GROUP BY expression, …] [HAVING condition]
//	[ORDER BY expression [ASC | DESC], …] [LIMIT number]
//
// Columns are key, subkey, time, value, task and partition; value.a.b[0] is a part of a JSON value. Operators are, from
// the weakest: OR, AND, NOT, comparisons with LIKE, IN, BETWEEN and IS NULL, + and -, * / %. Functions are count, sum,
// min, max and avg. GROUP BY and ORDER BY also take the number of a selected expression, or its name after AS. Texts stand
// in ' or ", names with other characters than letters, digits and _ in `.
type Query struct {
	query   string
	from    string
	items   []item
	where   expression
	groups  []key
	having  expression
	order   []key
	limit   int // -1: none
	sums    []*aggregate
	columns []token // that are used, with their places
}

// item is a selected expression.
type item struct {
	x     expression // nil: all columns
	name  string
	start int
}

// key is what rows are grouped or sorted by.
type key struct {
	x          expression
	ordinal    int // of an item, from 1; 0: none
	descending bool
	start      int
}

// From is the name of the store.
func (q *Query) From() string { return q.from }

// Parse reads a query. An error is a SyntaxError.
func Parse(query string) (*Query, error) {
	p := &parser{lexer: lexer{query: query}, q: &Query{query: query, limit: -1}}
	if len(query) > maxQueryBytes {
		return nil, p.lexer.fail(0, "a query of %d bytes: the longest has %d", len(query), maxQueryBytes)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.query(); err != nil {
		return nil, err
	}
	return p.q, p.q.resolve()
}

type parser struct {
	lexer lexer
	tok   token
	last  int // where the token before ended
	q     *Query
	depth int
	// aggregates says why there is no aggregate here; empty: there may be one.
	aggregates string
}

// deeper enters an expression within another one, leave leaves it.
func (p *parser) deeper() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail(p.tok, "more than %d expressions within each other", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) fail(t token, format string, args ...any) error {
	return p.lexer.fail(t.start, format, args...)
}

func (p *parser) advance() (err error) {
	p.last = p.tok.end
	p.tok, err = p.lexer.next()
	return err
}

// take goes on if the token is the word.
func (p *parser) take(word string) (bool, error) {
	if !p.tok.is(word) {
		return false, nil
	}
	return true, p.advance()
}

// takeAll goes on over words that stand together.
func (p *parser) takeAll(first, second string) (bool, error) {
	if ok, err := p.take(first); !ok || err != nil {
		return false, err
	}
	return true, p.expect(second)
}

func (p *parser) expect(words ...string) error {
	for _, w := range words {
		if p.tok.is(w) {
			return p.advance()
		}
	}
	return p.fail(p.tok, "expected %s, found %v%s", strings.ToUpper(strings.Join(words, " or ")), p.tok, p.near(words))
}

// near proposes a word for a misspelt one.
func (p *parser) near(words []string) string {
	if p.tok.kind != nameToken {
		return ""
	}
	var upper []string
	for _, w := range words {
		upper = append(upper, strings.ToUpper(w))
	}
	if n := config.Nearest(strings.ToUpper(p.tok.text), upper); n != "" {
		return ": did you mean " + n + "?"
	}
	return ""
}

func (p *parser) query() error {
	if err := p.expect("select"); err != nil {
		return err
	}
	if p.tok.is("distinct") {
		return p.fail(p.tok, "there is no DISTINCT: use GROUP BY with the same expressions")
	}
	if err := p.list(p.item); err != nil {
		return err
	}
	if !p.tok.is("from") {
		return p.expect("from")
	}
	name, err := p.lexer.storeName()
	if err != nil {
		return err
	}
	p.q.from = name.text
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.is(",") || p.tok.is("join") {
		return p.fail(p.tok, "a query is over one store: export the others and join them with another tool")
	}
	for _, clause := range []func() error{p.whereClause, p.groupClause, p.havingClause, p.orderClause, p.limitClause} {
		if err := clause(); err != nil {
			return err
		}
	}
	if p.tok.kind != endToken {
		clauses := []string{"where", "group", "having", "order", "limit"}
		return p.fail(p.tok, "expected the end of the query or a clause, found %v%s", p.tok, p.near(clauses))
	}
	return nil
}

func (p *parser) list(one func() error) error {
	for {
		if err := one(); err != nil {
			return err
		}
		if more, err := p.take(","); !more || err != nil {
			return err
		}
	}
}

func (p *parser) item() error {
	start := p.tok.start
	if all, err := p.take("*"); all || err != nil {
		p.q.items = append(p.q.items, item{start: start})
		return err
	}
	x, err := p.expression()
	if err != nil {
		return err
	}
	it := item{x: x, start: start, name: strings.TrimSpace(p.lexer.query[start:p.last])}
	if named, err := p.take("as"); err != nil {
		return err
	} else if named {
		if p.tok.kind != nameToken && p.tok.kind != quotedToken && p.tok.kind != textToken {
			return p.fail(p.tok, "expected a name after AS, found %v", p.tok)
		}
		it.name = p.tok.text
		if err := p.advance(); err != nil {
			return err
		}
	}
	p.q.items = append(p.q.items, it)
	return nil
}

func (p *parser) whereClause() error {
	found, err := p.take("where")
	if !found || err != nil {
		return err
	}
	p.aggregates = "WHERE is about single rows: use HAVING for groups"
	p.q.where, err = p.expression()
	p.aggregates = ""
	return err
}

func (p *parser) groupClause() error {
	found, err := p.takeAll("group", "by")
	if !found || err != nil {
		return err
	}
	p.aggregates = "rows cannot be grouped by what is known of groups only"
	err = p.list(func() error {
		k, err := p.key()
		p.q.groups = append(p.q.groups, k)
		return err
	})
	p.aggregates = ""
	return err
}

func (p *parser) havingClause() error {
	found, err := p.take("having")
	if !found || err != nil {
		return err
	}
	p.q.having, err = p.expression()
	return err
}

func (p *parser) orderClause() error {
	found, err := p.takeAll("order", "by")
	if !found || err != nil {
		return err
	}
	return p.list(func() error {
		k, err := p.key()
		if err != nil {
			return err
		}
		if k.descending, err = p.take("desc"); err == nil && !k.descending {
			_, err = p.take("asc")
		}
		p.q.order = append(p.q.order, k)
		return err
	})
}

func (p *parser) limitClause() error {
	found, err := p.take("limit")
	if !found || err != nil {
		return err
	}
	n, err := strconv.Atoi(p.tok.text)
	if p.tok.kind != numberToken || err != nil {
		return p.fail(p.tok, "expected a whole number of rows after LIMIT, found %v", p.tok)
	}
	p.q.limit = n
	return p.advance()
}

// key reads what to group or sort by: a number or a name of an item, or an expression.
func (p *parser) key() (key, error) {
	first := p.tok
	names := len(p.q.columns)
	k := key{start: first.start}
	if first.kind == quotedToken || first.kind == nameToken && p.q.named(first.text) > 0 {
		ordinal := p.q.named(first.text)
		mark := p.lexer
		if err := p.advance(); err != nil {
			return k, err
		}
		if ordinal > 0 && !p.tok.is(".") && !p.tok.is("[") && !p.tok.is("(") && !p.operates() {
			k.ordinal = ordinal
			return k, nil
		}
		p.lexer, p.tok = mark, first
	}
	x, err := p.expression()
	if err != nil {
		return k, err
	}
	k.x = x
	if l, ok := x.(*literal); ok {
		n, whole := l.value.(int64)
		if !whole || n < 1 || n > int64(len(p.q.items)) {
			return k, p.fail(first, "expected an expression, or the number of a selected one, 1 to %d", len(p.q.items))
		}
		k.x, k.ordinal = nil, int(n)
		p.q.columns = p.q.columns[:names]
	}
	return k, nil
}

// operates says whether the token goes on with an expression.
func (p *parser) operates() bool {
	return p.tok.kind == symbolToken && !p.tok.is(",") && !p.tok.is(")") ||
		slices.ContainsFunc([]string{"like", "in", "between", "is", "and", "or", "not"}, p.tok.is)
}

// named returns the number of the item that has a name after AS, or stands there as written; 0 if there is none.
func (q *Query) named(name string) int {
	return slices.IndexFunc(q.items, func(it item) bool { return it.x != nil && strings.EqualFold(it.name, name) }) + 1
}

// resolve puts the selected expressions where their numbers are, and checks what groups allow.
func (q *Query) resolve() error {
	for _, keys := range [][]key{q.groups, q.order} {
		for i := range keys {
			if k := &keys[i]; k.ordinal > 0 {
				it := q.items[k.ordinal-1]
				if it.x == nil {
					return q.fail(k.start, "number %d is *, which is several columns: name one", k.ordinal)
				}
				k.x = it.x
			}
		}
	}
	if !q.isGrouped() {
		return nil
	}
	for _, k := range q.groups {
		if containsSum(k.x) {
			return q.fail(k.start, "rows cannot be grouped by what is known of groups only")
		}
	}
	for i := range q.items {
		it := &q.items[i]
		if it.x == nil {
			return q.fail(it.start, "* is every column, and there are groups: name what GROUP BY names")
		}
		if err := q.inGroup(&it.x, it.start); err != nil {
			return err
		}
	}
	if q.having != nil {
		if err := q.inGroup(&q.having, 0); err != nil {
			return err
		}
	}
	for i := range q.order {
		k := &q.order[i]
		if k.ordinal > 0 {
			k.x = q.items[k.ordinal-1].x
			continue
		}
		if err := q.inGroup(&k.x, k.start); err != nil {
			return err
		}
	}
	return nil
}

func (q *Query) isGrouped() bool { return len(q.groups) > 0 || len(q.sums) > 0 || q.having != nil }

func (q *Query) fail(offset int, format string, args ...any) error {
	return &SyntaxError{q.query, offset, fmt.Sprintf(format, args...)}
}

func containsSum(x expression) bool {
	if _, ok := x.(*aggregate); ok {
		return true
	}
	return slices.ContainsFunc(x.parts(), func(p *expression) bool { return containsSum(*p) })
}

// inGroup makes an expression one over groups.
func (q *Query) inGroup(x *expression, start int) error {
	if _, done := (*x).(*grouped); done {
		return nil
	}
	text := (*x).text()
	for i, k := range q.groups {
		if k.x.text() == text {
			*x = &grouped{text, i}
			return nil
		}
	}
	name := ""
	switch e := (*x).(type) {
	case *column:
		name = e.name
	case *path:
		name = strings.ReplaceAll(e.text(), `"`, "")
	}
	if name != "" {
		return q.fail(start, "%s is not the same in all rows of a group: add it to GROUP BY, or use a function such as min(%s)", name, name)
	}
	for _, part := range (*x).parts() {
		if err := q.inGroup(part, start); err != nil {
			return err
		}
	}
	return nil
}
