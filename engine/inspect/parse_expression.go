// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/streamd/streamd/engine/config"
)

var functionNames = []string{"count", "sum", "min", "max", "avg"}

// reserved are the words that begin something else than an operand.
var reserved = strings.Fields("select from where group by having order limit as and or not like in between is asc desc")

func (p *parser) expression() (expression, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.leave()
	return p.chain(func() (expression, error) { return p.chain(p.negation, "and") }, "or")
}

// chain reads operands with operators of one strength between them, from left to right.
func (p *parser) chain(operand func() (expression, error), operators ...string) (expression, error) {
	left, err := operand()
	for err == nil {
		i := slices.IndexFunc(operators, p.tok.is)
		if i < 0 {
			return left, nil
		}
		if err = p.advance(); err != nil {
			break
		}
		if err = p.deeper(); err != nil { // a long chain is a deep tree
			break
		}
		defer p.leave()
		var right expression
		if right, err = operand(); err == nil {
			left = &operation{operators[i], left, right}
		}
	}
	return nil, err
}

func (p *parser) negation() (expression, error) {
	not, err := p.take("not")
	if err != nil {
		return nil, err
	}
	if !not {
		return p.comparison()
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.leave()
	x, err := p.negation()
	return &prefixed{"not", x}, err
}

// comparisons are the operators as written, with what they are called inside.
var comparisons = map[string]string{"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

func (p *parser) comparison() (expression, error) {
	left, err := p.sum()
	if err != nil {
		return nil, err
	}
	if op, ok := comparisons[p.tok.text]; ok && p.tok.kind == symbolToken {
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := p.sum()
		return &operation{op, left, right}, err
	}
	is, err := p.take("is")
	if err != nil {
		return nil, err
	}
	not, err := p.take("not")
	if err != nil {
		return nil, err
	}
	if is {
		return negated(not, &isNull{left}), p.expect("null")
	}
	x, found, err := p.membership(left)
	if err != nil {
		return nil, err
	}
	if not && !found {
		return nil, p.fail(p.tok, "expected LIKE, IN or BETWEEN after NOT, found %v", p.tok)
	}
	return negated(not, x), nil
}

func negated(not bool, x expression) expression {
	if not {
		return &prefixed{"not", x}
	}
	return x
}

// membership reads LIKE, IN or BETWEEN if one follows; else it returns left.
func (p *parser) membership(left expression) (x expression, found bool, err error) {
	switch {
	case p.tok.is("like"):
		if err = p.advance(); err != nil {
			return nil, true, err
		}
		pattern := p.tok
		if pattern.kind != textToken {
			return nil, true, p.fail(pattern, "expected a pattern in quotation marks after LIKE, found %v", pattern)
		}
		return &like{left, []rune(pattern.text)}, true, p.advance()
	case p.tok.is("in"):
		if err = p.advance(); err != nil {
			return nil, true, err
		}
		list, err := p.bracketed()
		return &in{left, list}, true, err
	case p.tok.is("between"):
		if err = p.advance(); err != nil {
			return nil, true, err
		}
		low, err := p.sum()
		if err == nil {
			err = p.expect("and")
		}
		if err != nil {
			return nil, true, err
		}
		high, err := p.sum()
		return &between{left, low, high}, true, err
	}
	return left, false, nil
}

// bracketed reads a list in brackets.
func (p *parser) bracketed() (list []expression, err error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	err = p.list(func() error {
		x, err := p.expression()
		list = append(list, x)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, p.expect(")")
}

func (p *parser) sum() (expression, error) {
	return p.chain(func() (expression, error) { return p.chain(p.operand, "*", "/", "%") }, "+", "-")
}

func (p *parser) operand() (expression, error) {
	t := p.tok
	switch {
	case t.is("-"):
		return p.negative()
	case t.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		return x, p.expect(")")
	case t.kind == numberToken:
		return &literal{number(t.text)}, p.advance()
	case t.kind == textToken:
		return &literal{t.text}, p.advance()
	case t.is("null"):
		return &literal{nil}, p.advance()
	case t.is("true"), t.is("false"):
		return &literal{t.is("true")}, p.advance()
	case t.kind == nameToken && !slices.ContainsFunc(reserved, t.is):
		return p.named()
	}
	return nil, p.fail(t, "expected a column, a function or a value, found %v", t)
}

func (p *parser) negative() (expression, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.leave()
	x, err := p.operand()
	if l, ok := x.(*literal); ok && err == nil {
		if v := calculate("-", int64(0), l.value); v != nil {
			return &literal{v}, nil
		}
	}
	return &prefixed{"-", x}, err
}

// named reads a column, a path or a function.
func (p *parser) named() (expression, error) {
	name := p.tok
	if err := p.advance(); err != nil {
		return nil, err
	}
	lower := strings.ToLower(name.text)
	if p.tok.is("(") {
		return p.function(name, lower)
	}
	if !slices.Contains(columnNames, lower) {
		return nil, p.noColumn(name, lower)
	}
	p.q.columns = append(p.q.columns, token{text: lower, start: name.start})
	x := &path{base: column{lower}}
	for {
		step, found, err := p.step()
		if err != nil {
			return nil, err
		}
		if !found {
			break
		}
		x.steps = append(x.steps, step)
	}
	if len(x.steps) == 0 {
		return &x.base, nil
	}
	return x, nil
}

func (p *parser) noColumn(name token, lower string) error {
	if slices.Contains(functionNames, lower) {
		return p.fail(name, "%s is a function: write %s(…)", lower, lower)
	}
	hint := "columns are " + strings.Join(columnNames, ", ") + "; a member of a value is value." + name.text
	if near := config.Nearest(lower, columnNames); near != "" && near != lower {
		hint = "did you mean " + near + "? A member of a value is value." + name.text
	}
	return p.fail(name, "there is no column %q: %s", name.text, hint)
}

// step reads .name or [place] if one follows.
func (p *parser) step() (step any, found bool, err error) {
	if dot, err := p.take("."); dot || err != nil {
		t := p.tok
		if err == nil && t.kind != nameToken && t.kind != quotedToken {
			err = p.fail(t, "expected the name of a member after the dot, found %v", t)
		}
		if err != nil {
			return nil, false, err
		}
		return t.text, true, p.advance()
	}
	if opened, err := p.take("["); !opened || err != nil {
		return nil, false, err
	}
	t := p.tok
	switch t.kind {
	case textToken:
		step = t.text
	case numberToken:
		if step, err = strconv.Atoi(t.text); err != nil {
			return nil, false, p.fail(t, "%q is not a place in a list: the first is 0", t.text)
		}
	default:
		return nil, false, p.fail(t, "expected a place in a list or the name of a member in quotation marks, found %v", t)
	}
	if err := p.advance(); err != nil {
		return nil, false, err
	}
	return step, true, p.expect("]")
}

func (p *parser) function(name token, lower string) (expression, error) {
	if !slices.Contains(functionNames, lower) {
		hint := "functions are " + strings.Join(functionNames, ", ")
		if near := config.Nearest(lower, functionNames); near != "" {
			hint = "did you mean " + near + "?"
		}
		return nil, p.fail(name, "there is no function %q: %s", name.text, hint)
	}
	if p.aggregates != "" {
		return nil, p.fail(name, "%s is over many rows: %s", lower, p.aggregates)
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	sum := &aggregate{function: lower, slot: len(p.q.sums)}
	p.q.sums = append(p.q.sums, sum)
	if p.tok.is("distinct") {
		return nil, p.fail(p.tok, "there is no DISTINCT: group by the expression, and count the groups")
	}
	if p.tok.is("*") {
		if lower != "count" {
			return nil, p.fail(p.tok, "%s needs an expression; only count takes *", lower)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		return sum, p.expect(")")
	}
	p.aggregates = "it cannot be within another one"
	x, err := p.expression()
	p.aggregates = ""
	if err != nil {
		return nil, err
	}
	sum.x = x
	return sum, p.expect(")")
}
