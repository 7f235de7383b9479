// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/topology"
)

// orders are the rows that queries are tested with: key, value, second.
var orders = []struct {
	key    string
	value  string
	second int64
}{
	{"a1", `{"country":"DE","amount":10,"items":["x","y"],"paid":true}`, 1},
	{"a2", `{"country":"FR","amount":2.5,"items":[],"paid":false}`, 2},
	{"b1", `{"country":"DE","amount":9007199254740993,"note":null}`, 3},
	{"b2", `{"amount":7,"odd name":"o"}`, 4},
	{"c", `"text"`, 5},
}

func orderStore(t *testing.T) *inspect.Store {
	t.Helper()
	r := newRig(t, topology.Store{Name: "orders", Kind: topology.TableStore, KeyCodec: asText, ValueCodec: "json:Order"})
	r.commit(task(0), func(*db) error { return nil })
	r.publish(1)
	return r.store(r.open(1, nil), "orders")
}

func rows() []inspect.Row {
	var all []inspect.Row
	for i, o := range orders {
		all = append(all, inspect.Row{
			Store: "orders", Task: task(int32(i % 2)), Key: o.key, Value: jsontext.Value(o.value), Timed: true, Time: time.Unix(o.second, 0).UTC(),
		})
	}
	return all
}

// run evaluates a query and returns the values of each row of the result, with spaces between.
func run(t *testing.T, s *inspect.Store, query string, rows []inspect.Row) ([]string, error) {
	t.Helper()
	q, err := inspect.Parse(query)
	if err != nil {
		return nil, err
	}
	var got []string
	e, err := q.NewExecutor(s, func(values []any) error {
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = string(inspect.JSONOf(v))
		}
		got = append(got, strings.Join(texts, " "))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if err := e.Add(r); errors.Is(err, inspect.ErrStop) {
			break
		} else if err != nil {
			return got, err
		}
	}
	return got, e.Finish()
}

func TestQueriesSelect(t *testing.T) {
	t.Parallel()
	s := orderStore(t)
	for _, tc := range []struct {
		query string
		want  []string
	}{
		{"SELECT key FROM orders", []string{`"a1"`, `"a2"`, `"b1"`, `"b2"`, `"c"`}},
		{"select key, value.amount from orders where value.country = 'DE'", []string{`"a1" 10`, `"b1" 9007199254740993`}},
		{`SELECT key FROM orders WHERE key LIKE "a%"`, []string{`"a1"`, `"a2"`}},
		{`SELECT key FROM orders WHERE key LIKE "_1" AND NOT key = 'b1'`, []string{`"a1"`}},
		{`SELECT key FROM orders WHERE key NOT LIKE "%1" AND key NOT IN ("c", 'a2')`, []string{`"b2"`}},
		{"SELECT key FROM orders WHERE value.amount BETWEEN 3 AND 10", []string{`"a1"`, `"b2"`}},
		{"SELECT key FROM orders WHERE value.amount NOT BETWEEN 3 AND 10", []string{`"a2"`, `"b1"`}},
		{"SELECT key FROM orders WHERE value.country IS NULL", []string{`"b2"`, `"c"`}},
		{"SELECT key FROM orders WHERE value.country IS NOT NULL AND value.paid", []string{`"a1"`}},
		{"SELECT key FROM orders WHERE value.paid = false OR value.amount = 7", []string{`"a2"`, `"b2"`}},
		{"SELECT key FROM orders WHERE value.country <> 'DE'", []string{`"a2"`}},
		{"SELECT key FROM orders WHERE NOT value.country = 'DE'", []string{`"a2"`}},
		{"SELECT value.items[1], value.items[7] FROM orders WHERE key = 'a1'", []string{`"y" null`}},
		{"SELECT value.`odd name`, value[\"odd name\"] FROM orders WHERE key = 'b2'", []string{`"o" "o"`}},
		{"SELECT value.items FROM orders LIMIT 2", []string{`["x","y"]`, `[]`}},
		{"SELECT value FROM orders WHERE value = 'text'", []string{`"text"`}},
		{"SELECT value.amount + 1, value.amount * 2 - 1, -value.amount, value.amount / 4, value.amount % 3 FROM orders LIMIT 1", []string{"11 19 -10 2.5 1"}},
		{"SELECT value.amount + 1 FROM orders WHERE key = 'b1'", []string{"9007199254740994"}},
		{"SELECT 1 / 0, 'a' + 1, 1 % 0, 2 + 3 * 4, (2 + 3) * 4 FROM orders LIMIT 1", []string{"null null null 14 20"}},
		{"SELECT 9223372036854775807 + 1, -9223372036854775807 FROM orders LIMIT 1", []string{"9.223372036854776e+18 -9223372036854775807"}},
		{"SELECT key FROM orders WHERE time >= '1970-01-01T00:00:04Z'", []string{`"b2"`, `"c"`}},
		{"SELECT key FROM orders WHERE '1970-01-01T00:00:02Z' > time", []string{`"a1"`}},
		{"SELECT key, task, partition FROM orders WHERE partition = 1", []string{`"a2" "0_1" 1`, `"b2" "0_1" 1`}},
		{"SELECT * FROM orders WHERE key = 'c'", []string{`"c" "1970-01-01T00:00:05Z" "text" "0_0" 0`}},
		{"SELECT key FROM orders ORDER BY value.amount DESC, key LIMIT 3", []string{`"b1"`, `"a1"`, `"b2"`}},
		{"SELECT key, value.amount AS n FROM orders ORDER BY n", []string{`"c" null`, `"a2" 2.5`, `"b2" 7`, `"a1" 10`, `"b1" 9007199254740993`}},
		{"SELECT key FROM orders ORDER BY 1 DESC LIMIT 2", []string{`"c"`, `"b2"`}},
		{"SELECT key FROM orders LIMIT 0", nil},
		{"SELECT count(*), count(value.country), sum(value.amount), min(key), max(value.amount) FROM orders WHERE value.amount < 100", []string{`3 2 19.5 "a1" 10`}},
		{"SELECT avg(value.amount), sum(key) FROM orders WHERE key < 'b'", []string{"6.25 null"}},
		{"SELECT count(*), sum(value.amount) FROM orders WHERE key = 'none'", []string{"0 null"}},
		{"SELECT value.country, count(*) FROM orders GROUP BY value.country ORDER BY 2 DESC, 1", []string{"null 2", `"DE" 2`, `"FR" 1`}},
		{"SELECT value.country AS c, count(*) AS n FROM orders GROUP BY c HAVING count(*) > 1 ORDER BY c DESC", []string{`"DE" 2`, "null 2"}},
		{"SELECT partition, count(*) * 10 + partition FROM orders GROUP BY 1 LIMIT 1", []string{"0 30"}},
		{"SELECT sum(value.amount) FROM orders WHERE key IN ('a1', 'b1')", []string{"9007199254741003"}},
		{"SELECT count(*) FROM orders GROUP BY value.amount > 5, value.country IS NULL ORDER BY 1 DESC LIMIT 1", []string{"2"}},
	} {
		got, err := run(t, s, tc.query, rows())
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tc.query, err, diff)
		}
	}
}

func TestColumnsOfAResultHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	q, err := inspect.Parse("SELECT key, value . amount AS `how much`, key, count(*) FROM orders GROUP BY 1, 2")
	if err != nil {
		t.Fatal(err)
	}
	e, err := q.NewExecutor(orderStore(t), func([]any) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"key", "how much", "key_2", "count(*)"}, e.Columns()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMistakesInAQueryArePointedAt(t *testing.T) {
	t.Parallel()
	s := orderStore(t)
	deep := "SELECT " + strings.Repeat("(", 300) + "1"
	for _, tc := range []struct {
		query string
		texts []string
	}{
		{"", []string{"column 1", "expected SELECT, found the end"}},
		{"SELCT key FROM orders", []string{"column 1", "did you mean SELECT?"}},
		{"SELECT key FORM orders", []string{"column 12", "did you mean FROM?", "  SELECT key FORM orders\n             ^"}},
		{"SELECT kye FROM orders", []string{"column 8", "did you mean key?"}},
		{"SELECT amount FROM orders", []string{"column 8", "value.amount"}},
		{"SELECT cuont(*) FROM orders", []string{"did you mean count?"}},
		{"SELECT total(*) FROM orders", []string{"no function", "avg"}},
		{"SELECT sum(*) FROM orders", []string{"column 12", "only count takes *"}},
		{"SELECT count FROM orders", []string{"write count(…)"}},
		{"SELECT sum(count(*)) FROM orders", []string{"within another one"}},
		{"SELECT key FROM orders WHERE count(*) > 1", []string{"column 30", "HAVING"}},
		{"SELECT key FROM orders GROUP BY count(*)", []string{"cannot be grouped"}},
		{"SELECT count(*) FROM orders GROUP BY 1", []string{"cannot be grouped"}},
		{"SELECT key, count(*) FROM orders", []string{"column 8", "add it to GROUP BY"}},
		{"SELECT count(*) FROM orders ORDER BY value.amount", []string{"column 38", "value.amount is not the same"}},
		{"SELECT *, count(*) FROM orders", []string{"column 8", "* is every column"}},
		{"SELECT * FROM orders ORDER BY 1", []string{"which is several columns"}},
		{"SELECT key FROM orders ORDER BY 2", []string{"1 to 1"}},
		{"SELECT DISTINCT key FROM orders", []string{"GROUP BY"}},
		{"SELECT count(DISTINCT key) FROM orders", []string{"DISTINCT"}},
		{"SELECT key FROM orders, others", []string{"over one store"}},
		{"SELECT key FROM orders JOIN others", []string{"over one store"}},
		{"SELECT key FROM", []string{"name of a store"}},
		{"SELECT key FROM orders WHER key = 1", []string{"column 24", "did you mean WHERE?"}},
		{"SELECT key FROM orders LIMIT many", []string{"after LIMIT"}},
		{"SELECT key FROM orders LIMIT -1", []string{"after LIMIT"}},
		{"SELECT key FROM orders WHERE key LIKE 5", []string{"a pattern"}},
		{"SELECT key FROM orders WHERE key NOT = 5", []string{"after NOT"}},
		{"SELECT key FROM orders WHERE key = 'open", []string{"column 36", "has no end"}},
		{"SELECT key FROM orders WHERE key IS 5", []string{"expected NULL"}},
		{"SELECT key FROM orders WHERE key IN 5", []string{"expected ("}},
		{"SELECT key,\n\tö FROM orders", []string{"line 2, column 2", "\t^"}},
		{"SELECT key FROM orders WHERE x", []string{"column 30", "no column", "value.x"}},
		{"SELECT value.5 FROM orders", []string{"after the dot"}},
		{"SELECT value[x] FROM orders", []string{"place in a list"}},
		{"SELECT value[1.5] FROM orders", []string{"the first is 0"}},
		{"SELECT key; FROM orders", []string{"column 11", "not a part of this language"}},
		{"SELECT subkey FROM orders", []string{"column 8", "has no subkey"}},
		{deep, []string{"within each other"}},
		{strings.Repeat(" ", 1<<17), []string{"the longest has"}},
	} {
		_, err := run(t, s, tc.query, nil)
		if !errors.Is(err, inspect.ErrSyntax) {
			t.Errorf("%s: %v", tc.query, err)
			continue
		}
		for _, text := range tc.texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: missing %q in: %v", tc.query, text, err)
			}
		}
	}
}

func TestQueryHoldsNoMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	s := orderStore(t)
	var many []inspect.Row
	for n := range 70 {
		many = append(many, inspect.Row{Key: fmt.Sprint(n, strings.Repeat("x", 1<<20)), Value: jsontext.Value("1")})
	}
	for query, todo := range map[string]string{
		"SELECT key, count(*) FROM orders GROUP BY key": "group by something that has fewer values",
		"SELECT key FROM orders ORDER BY value":         "add a LIMIT",
	} {
		if _, err := run(t, s, query, many); !errors.Is(err, inspect.ErrTooLarge) || !strings.Contains(err.Error(), todo) {
			t.Errorf("%s: %v", query, err)
		}
	}
	for _, query := range []string{"SELECT key FROM orders ORDER BY value LIMIT 3", "SELECT max(key) FROM orders", "SELECT partition, min(key) FROM orders GROUP BY 1"} {
		if got, err := run(t, s, query, many); err != nil || len(got) == 0 {
			t.Errorf("%s: %d rows, %v", query, len(got), err)
		}
	}
}

// FuzzParse holds that a query is refused or evaluated, and never panics; an error points into the query.
func FuzzParse(f *testing.F) {
	for _, q := range []string{
		"SELECT key, value.amount, count(*) FROM s WHERE value.country = \"DE\" AND key LIKE 'a%' GROUP BY 1, 2 HAVING count(*) > 1 ORDER BY 2 DESC LIMIT 10",
		"SELECT * FROM `s` WHERE NOT (key IN (1, -2.5e3, null) OR time BETWEEN 'a' AND 'b') AND value[0][\"x\"] IS NOT NULL",
		"select sum(value.a + 1) * 2 as t, min(key) from a.b-c order by t, avg(value) desc",
		"SELECT key AS `order` FROM s ORDER BY `order`.x", "SELECT value.ä[99999999999999999999] FROM s",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := inspect.Parse(query)
		if err != nil {
			var syntax *inspect.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(query) || syntax.Error() == "" {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		e, err := q.NewExecutor(&inspect.Store{}, func([]any) error { return nil })
		if err != nil {
			return
		}
		for _, r := range rows() {
			if err := e.Add(r); err != nil && !errors.Is(err, inspect.ErrStop) {
				t.Fatal(err)
			}
		}
		if err := e.Finish(); err != nil {
			t.Fatal(err)
		}
	})
}
