// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"strings"
	"testing"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// t0 is 2026-01-01T23:59:50Z: ten seconds before midnight, at the start of a window.
const t0 = 1767311990000

const (
	url      = "https://www.nexmark.com/a/b_/c/item.htm?query=1"
	withID   = url + "&channel_id=77"
	idFirst  = "channel_id=88&x=1/2/3/4/5/6"
	day1     = "2026-01-01"
	day2     = "2026-01-02"
	midnight = t0 + 10_000
)

// small is a world in which everything can be counted by hand. Its bids, by their numbers below, are made at 1999, 2000,
// 6000, 6001, 9999, 10000 and 12500 milliseconds.
func small() Input {
	return Input{
		People: []model.Person{
			{ID: 1, Name: "Ann", City: "Bend", State: "OR", DateTime: t0},
			{ID: 2, Name: "Bob", City: "Kent", State: "WA", DateTime: t0 + 1000},
			{ID: 3, Name: "Cid", City: "Boise", State: "ID", DateTime: midnight},
		},
		Auctions: []model.Auction{
			{ID: 10, ItemName: "i10", Description: "d10", InitialBid: 1, Reserve: 2, Seller: 1, Category: 10, DateTime: t0 + 2000, Expires: t0 + 6000, Extra: "x10"},
			{ID: 11, ItemName: "i11", Description: "d11", InitialBid: 3, Reserve: 4, Seller: 3, Category: 10, DateTime: t0 + 3000, Expires: t0 + 20000, Extra: "x11"},
			{ID: 12, ItemName: "i12", Description: "d12", InitialBid: 5, Reserve: 6, Seller: 2, Category: 11, DateTime: t0 + 12000, Expires: t0 + 13000, Extra: "x12"},
			{ID: 123, ItemName: "i123", Description: "d123", InitialBid: 7, Reserve: 8, Seller: 99, Category: 10, DateTime: t0 + 11000, Expires: t0 + 15000, Extra: "x123"},
		},
		Bids: bids(),
	}
}

func bids() []model.Bid {
	return []model.Bid{
		{Auction: 10, Bidder: 5, Price: 9_999, Channel: "Apple", URL: url, DateTime: t0 + 1999, Extra: "e0"},
		{Auction: 10, Bidder: 5, Price: 500_000, Channel: "Apple", URL: url, DateTime: t0 + 2000, Extra: "e1"},
		{Auction: 10, Bidder: 6, Price: 500_000, Channel: "channel-1", URL: withID, DateTime: t0 + 6000, Extra: "e2"},
		{Auction: 10, Bidder: 6, Price: 2_000_000, Channel: "channel-2", URL: url, DateTime: t0 + 6001, Extra: "abccd"},
		{Auction: 11, Bidder: 5, Price: 1_000_001, Channel: "baidu", URL: url, DateTime: t0 + 9999, Extra: "e4"},
		{Auction: 123, Bidder: 7, Price: 100, Channel: "channel-3", URL: idFirst, DateTime: midnight, Extra: "e5"},
		{Auction: 12, Bidder: 5, Price: 7, Channel: "Apple", URL: url, DateTime: t0 + 12500, Extra: "e6"},
	}
}

// row makes numbers int64.
func row(values ...any) Row {
	for i, v := range values {
		if n, ok := v.(int); ok {
			values[i] = int64(n)
		}
	}
	return values
}

// whole is the row of all of a bid, with more behind it.
func whole(bid int, more ...any) Row {
	b := bids()[bid]
	return row(append([]any{b.Auction, b.Bidder, b.Price, b.Channel, b.URL, b.DateTime, b.Extra}, more...)...)
}

// window5 is a row of q5.
func window5(start, auction, num int) Row { return row(auction, num, t0+start, t0+start+10_000) }

var expected = map[string][]Row{
	"q0": {
		row(10, 5, 9_999, t0+1999, "e0"), row(10, 5, 500_000, t0+2000, "e1"), row(10, 6, 500_000, t0+6000, "e2"), row(10, 6, 2_000_000, t0+6001, "abccd"),
		row(11, 5, 1_000_001, t0+9999, "e4"), row(123, 7, 100, midnight, "e5"), row(12, 5, 7, t0+12500, "e6"),
	},
	"q1": {
		row(10, 5, 9079.092, t0+1999, "e0"), row(10, 5, 454000.0, t0+2000, "e1"), row(10, 6, 454000.0, t0+6000, "e2"), row(10, 6, 1816000.0, t0+6001, "abccd"),
		row(11, 5, 908000.908, t0+9999, "e4"), row(123, 7, 90.8, midnight, "e5"), row(12, 5, 6.356, t0+12500, "e6"),
	},
	"q2": {row(123, 100)},
	"q3": {row("Ann", "Bend", "OR", 10), row("Cid", "Boise", "ID", 11)},
	// The mean of category 10 is that of 500,000 and 1,000,001.
	"q4": {row(10, 750_000), row(11, 7)},
	"q5": {
		window5(-8000, 10, 1), window5(-6000, 10, 2), window5(-4000, 10, 2), window5(-2000, 10, 4), window5(0, 10, 4), window5(2000, 10, 3),
		window5(4000, 10, 2), window5(6000, 10, 2), window5(8000, 11, 1), window5(8000, 123, 1), window5(8000, 12, 1),
		window5(10_000, 123, 1), window5(10_000, 12, 1), window5(12_000, 12, 1),
	},
	"q6": {row(1, 500_000), row(3, 1_000_001), row(2, 7)},
	"q7": {row(10, 6, 2_000_000, t0+6001, "abccd"), row(123, 7, 100, midnight, "e5")},
	"q8": {row(1, "Ann", t0)},
	"q9": {
		row(10, "i10", "d10", 1, 2, t0+2000, t0+6000, 1, 10, "x10", 10, 5, 500_000, t0+2000, "e1"),
		row(11, "i11", "d11", 3, 4, t0+3000, t0+20000, 3, 10, "x11", 11, 5, 1_000_001, t0+9999, "e4"),
		row(12, "i12", "d12", 5, 6, t0+12000, t0+13000, 2, 11, "x12", 12, 5, 7, t0+12500, "e6"),
	},
	"q10": {
		row(10, 5, 9_999, t0+1999, "e0", day1, "23:59"), row(10, 5, 500_000, t0+2000, "e1", day1, "23:59"), row(10, 6, 500_000, t0+6000, "e2", day1, "23:59"),
		row(10, 6, 2_000_000, t0+6001, "abccd", day1, "23:59"), row(11, 5, 1_000_001, t0+9999, "e4", day1, "23:59"),
		row(123, 7, 100, midnight, "e5", day2, "00:00"), row(12, 5, 7, t0+12500, "e6", day2, "00:00"),
	},
	"q11": {row(5, 4, t0+1999, t0+22500), row(6, 2, t0+6000, t0+16001), row(7, 1, midnight, t0+20_000)},
	"q12": {row(5, 4, 0, 0), row(6, 2, 0, 0), row(7, 1, 0, 0)},
	"q13": {
		row(10, 5, 9_999, t0+1999, "10"), row(10, 5, 500_000, t0+2000, "10"), row(10, 6, 500_000, t0+6000, "10"), row(10, 6, 2_000_000, t0+6001, "10"),
		row(11, 5, 1_000_001, t0+9999, "11"), row(123, 7, 100, midnight, "123"), row(12, 5, 7, t0+12500, "12"),
	},
	"q14": {row(10, 6, 1816000.0, "nightTime", t0+6001, "abccd", 2)},
	"q15": {row(day1, 5, 1, 2, 2, 2, 1, 2, 2, 2, 1, 1, 2), row(day2, 2, 2, 0, 0, 2, 2, 0, 0, 2, 2, 0, 0)},
	"q16": {
		row("Apple", day1, "23:59", 2, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0), row("channel-1", day1, "23:59", 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0),
		row("channel-2", day1, "23:59", 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1), row("baidu", day1, "23:59", 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1),
		row("channel-3", day2, "00:00", 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0), row("Apple", day2, "00:00", 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0),
	},
	"q17": {
		row(10, day1, 4, 1, 2, 1, 9_999, 2_000_000, 752_499, 3_009_999), row(11, day1, 1, 0, 0, 1, 1_000_001, 1_000_001, 1_000_001, 1_000_001),
		row(123, day2, 1, 1, 0, 0, 100, 100, 100, 100), row(12, day2, 1, 1, 0, 0, 7, 7, 7, 7),
	},
	"q18": {whole(1), whole(3), whole(4), whole(5), whole(6)},
	"q19": {whole(3, 1), whole(1, 2), whole(2, 3), whole(0, 4), whole(4, 1), whole(5, 1), whole(6, 1)},
	"q20": {
		whole(0, "i10", "d10", 1, 2, t0+2000, t0+6000, 1, 10, "x10"), whole(1, "i10", "d10", 1, 2, t0+2000, t0+6000, 1, 10, "x10"),
		whole(2, "i10", "d10", 1, 2, t0+2000, t0+6000, 1, 10, "x10"), whole(3, "i10", "d10", 1, 2, t0+2000, t0+6000, 1, 10, "x10"),
		whole(4, "i11", "d11", 3, 4, t0+3000, t0+20000, 3, 10, "x11"), whole(5, "i123", "d123", 7, 8, t0+11000, t0+15000, 99, 10, "x123"),
	},
	"q21": {
		row(10, 5, 9_999, "Apple", "0"), row(10, 5, 500_000, "Apple", "0"), row(10, 6, 500_000, "channel-1", "77"), row(11, 5, 1_000_001, "baidu", "3"),
		row(123, 7, 100, "channel-3", "88"), row(12, 5, 7, "Apple", "0"),
	},
	"q22": {
		row(10, 5, 9_999, "Apple", "a", "b_", "c"), row(10, 5, 500_000, "Apple", "a", "b_", "c"), row(10, 6, 500_000, "channel-1", "a", "b_", "c"),
		row(10, 6, 2_000_000, "channel-2", "a", "b_", "c"), row(11, 5, 1_000_001, "baidu", "a", "b_", "c"), row(123, 7, 100, "channel-3", "4", "5", "6"),
		row(12, 5, 7, "Apple", "a", "b_", "c"),
	},
}

func find(t *testing.T, name string) Query {
	t.Helper()
	q, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func wantRows(t *testing.T, name string, in Input, want []Row) {
	t.Helper()
	q := find(t, name)
	if d := q.Compare(want, q.Evaluate(in)); d.Missing+d.Unexpected > 0 {
		t.Errorf("%s gives other rows than were computed by hand:\n%s", name, d)
	}
}

func TestEveryQueryGivesWhatWasComputedByHand(t *testing.T) {
	t.Parallel()
	for _, q := range queries {
		want, ok := expected[q.Name]
		if !ok {
			t.Errorf("nothing was computed for %s", q.Name)
		}
		wantRows(t, q.Name, small(), want)
	}
}

func TestTheOrderOfTopicsAndPartitionsDoesNotMatter(t *testing.T) {
	t.Parallel()
	in := small()
	// As if auctions 10, 12 and 11, 123 were in two partitions.
	in.Bids = append(in.Bids[4:6:6], append(in.Bids[:4:4], in.Bids[6])...)
	in.Auctions[0], in.Auctions[3] = in.Auctions[3], in.Auctions[0]
	in.People[0], in.People[2] = in.People[2], in.People[0]
	for _, q := range queries {
		wantRows(t, q.Name, in, expected[q.Name])
	}
}

func TestOfEqualTimesTheLaterRecordIsTheLastBid(t *testing.T) {
	t.Parallel()
	in := Input{Bids: []model.Bid{{Auction: 1, Bidder: 2, Price: 9, DateTime: t0}, {Auction: 1, Bidder: 2, Price: 3, DateTime: t0}}}
	wantRows(t, "q18", in, []Row{row(1, 2, 3, "", "", t0, "")})
}

func TestOfEqualBidsTheEarlierRanksHigher(t *testing.T) {
	t.Parallel()
	var in Input
	var want []Row
	for i := range 12 { // of which the two last do not rank
		in.Bids = append(in.Bids, model.Bid{Auction: 1, Bidder: int64(i), Price: 5, DateTime: t0})
		if i < 10 {
			want = append(want, row(1, i, 5, "", "", t0, "", i+1))
		}
	}
	wantRows(t, "q19", in, want)
}

func TestBidsTenSecondsApartAreInOneSession(t *testing.T) {
	t.Parallel()
	var in Input
	for _, at := range []int64{0, 10_000, 20_001} {
		in.Bids = append(in.Bids, model.Bid{Bidder: 1, DateTime: t0 + at})
	}
	wantRows(t, "q11", in, []Row{row(1, 2, t0, t0+20_000), row(1, 1, t0+20_001, t0+30_001)})
}

func TestAllHighestBidsOfAWindowCount(t *testing.T) {
	t.Parallel()
	var in Input
	for i, at := range []int64{0, 9_999, 10_000} {
		in.Bids = append(in.Bids, model.Bid{Auction: int64(i), Price: 4, DateTime: t0 + at})
	}
	wantRows(t, "q7", in, []Row{row(0, 0, 4, t0, ""), row(1, 0, 4, t0+9_999, ""), row(2, 0, 4, t0+10_000, "")})
}

func TestTheMeanOfASellerIsOfTheTenAuctionsThatEndLast(t *testing.T) {
	t.Parallel()
	var in Input
	for i := range int64(12) { // ids in the opposite order of their ends; 12 without a bid
		id := 20 - i
		in.Auctions = append(in.Auctions, model.Auction{ID: id, Seller: 1, DateTime: t0, Expires: t0 + 100 + i})
		if i != 11 {
			in.Bids = append(in.Bids, model.Bid{Auction: id, Price: 1 + i*10, DateTime: t0})
		}
	}
	// Sold for 1, 11, 21 ... 101, of which the first is too long ago.
	wantRows(t, "q6", in, []Row{row(1, (11+21+31+41+51+61+71+81+91+101)/10)})
}

func TestThePartsOfADay(t *testing.T) {
	t.Parallel()
	var in Input
	var want []Row
	for hour, part := range map[int]string{0: "nightTime", 6: "nightTime", 7: "otherTime", 8: "dayTime", 18: "dayTime", 19: "otherTime", 20: "nightTime"} {
		at := int64(midnight + hour*3_600_000)
		in.Bids = append(in.Bids, model.Bid{Price: 2_000_000, DateTime: at})
		want = append(want, row(0, 0, 1816000.0, part, at, "", 0))
	}
	for _, price := range []int64{1_101_321, 1_101_322, 55_066_079, 55_066_080} { // around 1e6/0.908 and 5e7/0.908
		in.Bids = append(in.Bids, model.Bid{Price: price, DateTime: midnight})
	}
	want = append(want, row(0, 0, 1000000.376, "nightTime", midnight, "", 0), row(0, 0, 49999999.732, "nightTime", midnight, "", 0))
	wantRows(t, "q14", in, want)
}

func TestTheSideInputEndsAtTenThousand(t *testing.T) {
	t.Parallel()
	wantRows(t, "q13", Input{Bids: []model.Bid{{Auction: 20_042}}}, []Row{row(20_042, 0, 0, 0, "42")})
}

func record(partition int32, key, value string) Record {
	r := Record{Partition: partition, Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	return r
}

func TestOfAnUpsertTheLastValueOfEachKeyCounts(t *testing.T) {
	t.Parallel()
	q := find(t, "q4")
	got, err := q.Read([]Record{record(0, "a", `{"id":1,"final":2}`), record(1, "b", `{"id":2,"final":3}`), record(0, "a", `{"final":4,"id":1}`), record(1, "b", "")})
	if d := q.Compare([]Row{row(1, 4)}, got); err != nil || d.Missing+d.Unexpected > 0 {
		t.Errorf("error %v, difference:\n%s", err, d)
	}
	if _, err := q.Read([]Record{record(0, "a", `{"id":1,"final":2}`), record(1, "a", `{"id":1,"final":2}`)}); err == nil {
		t.Error("a key in two partitions was accepted")
	}
}

func TestOneRecordMayStandForTheRowsOfAWindow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value string
		want  []Row
	}{
		"q5": {`{"auctions":[7,8],"num":2,"starttime":0,"endtime":10000}`, []Row{row(7, 2, 0, 10000), row(8, 2, 0, 10000)}},
		"q7": {`{"bids":[{"auction":1,"bidder":2,"price":3,"dateTime":4,"extra":"x"},{"auction":5,"bidder":6,"price":3,"dateTime":7,"extra":""}]}`,
			[]Row{row(1, 2, 3, 4, "x"), row(5, 6, 3, 7, "")}},
	} {
		q := find(t, name)
		got, err := q.Read([]Record{record(0, "", c.value)})
		if d := q.Compare(c.want, got); err != nil || d.Missing+d.Unexpected > 0 {
			t.Errorf("%s: error %v, difference:\n%s", name, err, d)
		}
	}
}

func TestWindowsOfTheClockAreAddedUp(t *testing.T) {
	t.Parallel()
	q := find(t, "q12")
	got, err := q.Read([]Record{record(0, "", `{"bidder":5,"bid_count":1,"starttime":3,"endtime":4}`), record(0, "", `{"bidder":5,"bid_count":3,"starttime":4,"endtime":5}`)})
	if d := q.Compare([]Row{row(5, 4, 0, 0)}, got); err != nil || d.Missing+d.Unexpected > 0 {
		t.Errorf("error %v, difference:\n%s", err, d)
	}
}

func TestRecordsOfAnotherFormAreRefused(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`{"auction":1}`:                    `no member "price"`,
		`{"auction":1,"price":2,"more":3}`: "3 members, want 2",
		`{"auction":1,"price":"2"}`:        `member "price" is no int`,
		`{"auction":1,"price":2.5}`:        `member "price" is no int`,
		`[1]`:                              "no JSON object",
		``:                                 "no JSON object",
	} {
		if _, err := find(t, "q2").Read([]Record{record(3, "k", value)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives the error %v, want one with %q", value, err, want)
		}
	}
}

func TestADifferenceShowsWhatIsMissingAndWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	q := find(t, "q1")
	a, b := row(1, 2, 1000.0, 4, "same"), row(1, 2, 2.5, 4, strings.Repeat("long ", 9))
	d := q.Compare([]Row{a, a, b}, []Row{row(1, 2, 1000.0000001, 4, "same"), row(1, 2, 1000.1, 4, "same"), b, b})
	want := []string{
		`+ auction 1, bidder 2, price 2.5, dateTime 4, extra "long long long long  ..."`,
		`- auction 1, bidder 2, price 1000, dateTime 4, extra "same"`,
		`+ auction 1, bidder 2, price 1000.1, dateTime 4, extra "same"`,
	}
	if d.Missing != 1 || d.Unexpected != 2 || d.String() != strings.Join(want, "\n") {
		t.Errorf("got %d missing, %d unexpected:\n%s\nwant 1, 2:\n%s", d.Missing, d.Unexpected, d, strings.Join(want, "\n"))
	}
	var many []Row
	for i := range 30 {
		many = append(many, row(i, 0, 0.0, 0, ""))
	}
	if d := q.Compare(nil, many); d.Unexpected != 30 || !strings.HasSuffix(d.String(), "\n... and 10 more") {
		t.Errorf("30 rows too much are shown as\n%s", d)
	}
}

// TestThePublishedNumberOfBidsHolds compares with the count that Apache Beam publishes for 100,000 events. Its other
// counts depend on which few ids are hot.
func TestThePublishedNumberOfBidsHolds(t *testing.T) {
	t.Parallel()
	in := Generate(model.NewGenerator(1, 10_000, model.DefaultBase), 0, 100_000)
	if got := len(find(t, "q1").Evaluate(in)); got != 92_000 {
		t.Errorf("q1 gives %d rows, want 92000", got)
	}
}
