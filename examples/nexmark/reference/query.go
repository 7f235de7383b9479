// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// Input is everything that happened. Where the order of two events of one time counts, it is that of the slice; events
// of one partition must be in their order.
type Input struct {
	People   []model.Person
	Auctions []model.Auction
	Bids     []model.Bid
}

// Row is one result: an int64, a string or a float64 for each field of its query.
type Row []any

// Kind is the type of a field.
type Kind string

// The kinds of fields.
const (
	Int     Kind = "int"
	Text    Kind = "string"
	Decimal Kind = "decimal" // a number that is compared with a tolerance; a query has one at most
)

// Field is a member of a query's result.
type Field struct {
	Name string
	Kind Kind
}

// Query is one of the suite.
type Query struct {
	Name   string
	Fields []Field
	// Upsert says that the key of a record identifies a row. Otherwise each record is a row.
	Upsert bool

	evaluate func(Input) []Row
	// lists is a member that may stand for many rows: an array of values of the field that as names, or of objects with
	// several fields.
	lists, as string
	// settle makes comparable what differs from run to run; nil: nothing does.
	settle func([]Row) []Row
}

// Find returns the query of a name such as q5.
func Find(name string) (Query, error) {
	for _, q := range queries {
		if q.Name == name {
			return q, nil
		}
	}
	return Query{}, fmt.Errorf("query %q is not known: it is one of q0 to q%d", name, len(queries)-1)
}

// Evaluate returns the rows that the query must give.
func (q Query) Evaluate(in Input) []Row {
	in.People = byTime(in.People, func(p model.Person) int64 { return p.DateTime })
	in.Auctions = byTime(in.Auctions, func(a model.Auction) int64 { return a.DateTime })
	in.Bids = byTime(in.Bids, func(b model.Bid) int64 { return b.DateTime })
	return q.evaluate(in)
}

func byTime[T any](events []T, at func(T) int64) []T {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b T) int { return cmp.Compare(at(a), at(b)) })
	return events
}

// fields parses a list such as "auction int, price decimal".
func fields(list string) []Field {
	var all []Field
	for f := range strings.SplitSeq(list, ", ") {
		name, kind, _ := strings.Cut(f, " ")
		all = append(all, Field{name, Kind(kind)})
	}
	return all
}

const (
	ranks = "total_bids int, rank1_bids int, rank2_bids int, rank3_bids int, " +
		"total_bidders int, rank1_bidders int, rank2_bidders int, rank3_bidders int, " +
		"total_auctions int, rank1_auctions int, rank2_auctions int, rank3_auctions int"
	wholeBid = "auction int, bidder int, price int, channel string, url string, dateTime int, extra string"
)

// queries are all, in the order of their numbers.
var queries = []Query{
	{Name: "q0", evaluate: q0, Fields: fields("auction int, bidder int, price int, dateTime int, extra string")},
	{Name: "q1", evaluate: q1, Fields: fields("auction int, bidder int, price decimal, dateTime int, extra string")},
	{Name: "q2", evaluate: q2, Fields: fields("auction int, price int")},
	{Name: "q3", evaluate: q3, Fields: fields("name string, city string, state string, id int")},
	{Name: "q4", evaluate: q4, Fields: fields("id int, final int"), Upsert: true},
	{Name: "q5", evaluate: q5, Fields: fields("auction int, num int, starttime int, endtime int"), lists: "auctions", as: "auction"},
	{Name: "q6", evaluate: q6, Fields: fields("seller int, avg_price int"), Upsert: true},
	{Name: "q7", evaluate: q7, Fields: fields("auction int, bidder int, price int, dateTime int, extra string"), lists: "bids"},
	{Name: "q8", evaluate: q8, Fields: fields("id int, name string, stime int")},
	{Name: "q9", evaluate: q9, Upsert: true, Fields: fields("id int, itemName string, description string, initialBid int, reserve int, " +
		"dateTime int, expires int, seller int, category int, extra string, auction int, bidder int, price int, bid_dateTime int, bid_extra string")},
	{Name: "q10", evaluate: q10, Fields: fields("auction int, bidder int, price int, dateTime int, extra string, dt string, hm string")},
	{Name: "q11", evaluate: q11, Fields: fields("bidder int, bid_count int, starttime int, endtime int")},
	{Name: "q12", evaluate: q12, Fields: fields("bidder int, bid_count int, starttime int, endtime int"), settle: sumCounts},
	{Name: "q13", evaluate: q13, Fields: fields("auction int, bidder int, price int, dateTime int, value string")},
	{Name: "q14", evaluate: q14, Fields: fields("auction int, bidder int, price decimal, bidTimeType string, dateTime int, extra string, c_counts int")},
	{Name: "q15", evaluate: q15, Fields: fields("day string, " + ranks), Upsert: true},
	{Name: "q16", evaluate: q16, Fields: fields("channel string, day string, minute string, " + ranks), Upsert: true},
	{Name: "q17", evaluate: q17, Upsert: true, Fields: fields("auction int, day string, total_bids int, rank1_bids int, rank2_bids int, " +
		"rank3_bids int, min_price int, max_price int, avg_price int, sum_price int")},
	{Name: "q18", evaluate: q18, Fields: fields(wholeBid), Upsert: true},
	{Name: "q19", evaluate: q19, Fields: fields(wholeBid + ", rank_number int"), Upsert: true},
	{Name: "q20", evaluate: q20, Fields: fields("auction int, bidder int, price int, channel string, url string, bid_dateTime int, " +
		"bid_extra string, itemName string, description string, initialBid int, reserve int, auction_dateTime int, expires int, " +
		"seller int, category int, auction_extra string")},
	{Name: "q21", evaluate: q21, Fields: fields("auction int, bidder int, price int, channel string, channel_id string")},
	{Name: "q22", evaluate: q22, Fields: fields("auction int, bidder int, price int, channel string, dir1 string, dir2 string, dir3 string")},
}
