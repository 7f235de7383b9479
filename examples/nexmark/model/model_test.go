// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"encoding/json/v2"
	"fmt"
	"hash/fnv"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
)

// sample is a stretch of the stream, sorted by kind.
type sample struct {
	people   []Person
	auctions []Auction
	bids     []Bid
	times    []int64
	bytes    [kinds]int // of the values
}

func sampleOf(t testing.TB, g *Generator, from, to int64) sample {
	t.Helper()
	var s sample
	for n := from; n < to; n++ {
		at := g.Time(n)
		s.times = append(s.times, at)
		switch KindOf(n) {
		case KindPerson:
			s.people = append(s.people, g.Person(n, at))
		case KindAuction:
			s.auctions = append(s.auctions, g.Auction(n, at))
		case KindBid:
			s.bids = append(s.bids, g.Bid(n, at))
		}
		s.bytes[KindOf(n)] += len(value(t, g, n))
	}
	return s
}

func value(t testing.TB, g *Generator, n int64) []byte {
	_, v, err := g.AppendValue(nil, n, g.Time(n))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const events = 100_000

func standard() *Generator { return NewGenerator(1, 10_000, DefaultBase) }

func TestOfFiftyEventsOneIsAPersonAndThreeAreAuctions(t *testing.T) {
	t.Parallel()
	s := sampleOf(t, standard(), 0, events)
	got := [kinds]int{len(s.people), len(s.auctions), len(s.bids)}
	if want := [kinds]int{events / 50, events / 50 * 3, events / 50 * 46}; got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i, p := range s.people {
		if p.ID != int64(1000+i) {
			t.Fatalf("person %d has id %d", i, p.ID)
		}
	}
	for i, a := range s.auctions {
		if a.ID != int64(1000+i) {
			t.Fatalf("auction %d has id %d", i, a.ID)
		}
	}
}

func TestTimesFollowTheRate(t *testing.T) {
	t.Parallel()
	s := sampleOf(t, standard(), 0, 1000)
	for n, at := range s.times {
		if want := DefaultBase.UnixMilli() + int64(n/10); at != want {
			t.Fatalf("event %d is at %d, want %d", n, at, want)
		}
	}
	slow := NewGenerator(1, 3, time.UnixMilli(0))
	if got := []int64{slow.Time(0), slow.Time(1), slow.Time(2), slow.Time(3), slow.Time(3_000_000)}; !cmp.Equal(got, []int64{0, 333, 666, 1000, 1_000_000_000}) {
		t.Fatalf("at 3 a second events are at %v", got)
	}
}

// share tells how often a condition holds among items.
func share[T any](items []T, holds func(T) bool) float64 {
	n := 0
	for _, it := range items {
		if holds(it) {
			n++
		}
	}
	return float64(n) / float64(len(items))
}

func near(t *testing.T, what string, got, want, by float64) {
	t.Helper()
	if math.Abs(got-want) > by {
		t.Errorf("%s: got %.4f, want %.4f ± %.4f", what, got, want, by)
	}
}

func TestReferencesAreHotAsOftenAsTheySay(t *testing.T) {
	t.Parallel()
	s := sampleOf(t, standard(), 0, events)
	// A hundredth of the other references meet the hot id by chance.
	near(t, "bids on a hot auction", share(s.bids, func(b Bid) bool { return (b.Auction-1000)%100 == 0 }), 0.5+0.5/100, 0.006)
	near(t, "hot bidders", share(s.bids, func(b Bid) bool { return (b.Bidder-1000)%100 == 1 }), 0.75+0.25/100, 0.005)
	near(t, "hot sellers", share(s.auctions, func(a Auction) bool { return (a.Seller-1000)%100 == 0 }), 0.75+0.25/100, 0.02)
	near(t, "hot channels", share(s.bids, func(b Bid) bool { return len(b.Channel) < 8 || b.Channel == "Facebook" }), 0.5, 0.005)
	near(t, "channels that the URL names", share(s.bids, func(b Bid) bool { return bytes.Contains([]byte(b.URL), []byte("&channel_id=")) }), 0.45, 0.01)
	for _, a := range s.auctions {
		if a.Category < 10 || a.Category > 14 {
			t.Fatalf("auction %d has category %d", a.ID, a.Category)
		}
	}
	for c := int64(10); c < 15; c++ {
		near(t, fmt.Sprint("category ", c), share(s.auctions, func(a Auction) bool { return a.Category == c }), 0.2, 0.02)
	}
}

func TestReferencesStayNearWhatExists(t *testing.T) {
	t.Parallel()
	g := standard()
	ahead := 0
	for n := int64(0); n < events; n++ {
		people, auctions := n/50+1, auctionsAt(n)
		switch KindOf(n) {
		case KindAuction:
			seller := g.Auction(n, 0).Seller - 1000
			if seller < max(people-1000, 0) && seller != (people-1)/100*100 || seller >= people+10 {
				t.Fatalf("event %d: seller %d among %d people", n, seller, people)
			}
		case KindBid:
			b := g.Bid(n, 0)
			auction, bidder := b.Auction-1000, b.Bidder-1000
			if auction < max(auctions-101, 0) || auction >= auctions+10 {
				t.Fatalf("event %d: auction %d among %d", n, auction, auctions)
			}
			if bidder < max(people-1000, 0) || bidder >= people+10 {
				t.Fatalf("event %d: bidder %d among %d people", n, bidder, people)
			}
			if auction >= auctions {
				ahead++
			}
		}
	}
	near(t, "bids before their auction", float64(ahead)/(events*46/50), 0.5*10/111, 0.003)
}

func TestPricesHaveEqualChancesInEachOrderOfMagnitude(t *testing.T) {
	t.Parallel()
	s := sampleOf(t, standard(), 0, events)
	for low := 2; low < 8; low++ {
		from, to := math.Pow10(low), math.Pow10(low+1)
		got := share(s.bids, func(b Bid) bool { return float64(b.Price) >= from && float64(b.Price) < to })
		near(t, fmt.Sprintf("prices from 1e%d to 1e%d", low, low+1), got, 1.0/6, 0.005)
	}
	for _, a := range s.auctions {
		if a.InitialBid < 100 || a.Reserve < a.InitialBid+100 {
			t.Fatalf("auction %d begins at %d and sells from %d", a.ID, a.InitialBid, a.Reserve)
		}
	}
}

func TestAuctionsAreOpenForAHundredOthersOnAverage(t *testing.T) {
	t.Parallel()
	s := sampleOf(t, standard(), 0, events)
	sum := int64(0)
	for _, a := range s.auctions {
		if a.Expires <= a.DateTime {
			t.Fatalf("auction %d expires at %d, which is not after %d", a.ID, a.Expires, a.DateTime)
		}
		sum += a.Expires - a.DateTime
	}
	near(t, "milliseconds", float64(sum)/float64(len(s.auctions)), 100*50/3/10.0, 3)
}

func TestEventsHaveTheSizesOfTheSuite(t *testing.T) {
	t.Parallel()
	s := sampleOf(t, standard(), 0, events)
	near(t, "bytes of a person", float64(s.bytes[KindPerson])/float64(len(s.people)), 303, 2)
	near(t, "bytes of an auction", float64(s.bytes[KindAuction])/float64(len(s.auctions)), 619, 2)
	near(t, "bytes of a bid", float64(s.bytes[KindBid])/float64(len(s.bids)), 242, 2)
}

func TestAnEventDependsOnSeedAndNumberOnly(t *testing.T) {
	t.Parallel()
	forward, backward, other := standard(), standard(), NewGenerator(2, 10_000, DefaultBase)
	differ := 0
	for n := int64(0); n < 1000; n++ {
		value(t, backward, 999-n) // leaves no trace
		a, b := value(t, forward, n), value(t, backward, n)
		if !bytes.Equal(a, b) {
			t.Fatalf("event %d is %s once and %s again", n, a, b)
		}
		if !bytes.Equal(a, value(t, other, n)) {
			differ++
		}
	}
	if differ != 1000 {
		t.Fatalf("%d of 1000 events differ with another seed", differ)
	}
}

// TestTheStreamOfASeedNeverChanges holds what published results rest on. A change of the generator that changes these
// values makes other events of the same seed.
func TestTheStreamOfASeedNeverChanges(t *testing.T) {
	t.Parallel()
	g := standard()
	for n, want := range map[int64]string{
		0:     `{"id":1000,"name":"Kate Shultz","emailAddress":"opdb@wuvz.com","creditCard":"5113 8427 2417 6947","city":"Boise","state":"WA","dateTime":1767311940000,"extra":"tjapgqwjmuuzijmlznzzznvexdnqssftoryzisramnyrqrdpzhhjrykzftfxgqiacwxwginnzfkgehadbdjnmnabamhfyzofqyxvvfqgnjfliuusgjphsjzfiqjqcw"}`,
		1:     `{"id":1000,"itemName":"whvojjadjhtjypv dug","description":"jexlwpfwucahjojyaesinwxepgqjyz keio rkyukcdzyt  aapbrhhephuwpl","initialBid":6640,"reserve":1324333,"dateTime":1767311940000,"expires":1767311940069,"seller":1000,"category":14,"extra":"zmpzibdnctbacqkgpoywuwxnpggogrmvtansjbkefzvtwbouzkhsdzjolwxrtumigicoqkpzepbhiejknfamklndlqpbaknggcrhtkcjgdrxvlxiclfdkcdeqdzrnjjagebbxsbfcqogfvrbmuculzhlsexmnodjshrkqyymdtnwhzcnijfmdkuigxgrhotiimbluvwigpwkxyjwclsslvnoelfuzyofyqibnetlgtfvbdwlwdotzysfaheyvxjcxxvqnphnayfbnioxngdmfczjusviqrnztaedahmgsjbwtxrxjpbeqjiatuikrmxvkzhghsqxpxfnejuuawsttobeckusmpsftvdxsfyh"}`,
		4:     `{"auction":1002,"bidder":1002,"price":72658853,"channel":"Apple","url":"https://www.nexmark.com/qwq/ers/w_r_/item.htm?query=1","dateTime":1767311940000,"extra":"wqdbyrupdgcpomsqrmrfliwkqbcsduosbmjkueyputruimgrqmgdpzfmtdmxtgnpwudo"}`,
		49999: `{"auction":3900,"bidder":1596,"price":50403877,"channel":"channel-3614","url":"https://www.nexmark.com/flb/l_d/ain/item.htm?query=1&channel_id=2020605952","dateTime":1767311944999,"extra":"egchjuxvubplqospaflevxweserfqnisbuugpdixxjwuitawtyamshsneamungmligvo"}`,
	} {
		if got := string(value(t, g, n)); got != want {
			t.Errorf("event %d:\n got %s\nwant %s", n, got, want)
		}
	}
	h := fnv.New64a()
	for n := int64(0); n < 100_000; n++ {
		h.Write(value(t, g, n))
	}
	if got, want := h.Sum64(), uint64(0x6af1d6f95e69ecc9); got != want {
		t.Errorf("the first 100,000 events of seed 1 have the hash %#x, want %#x", got, want)
	}
}

func TestLettersAreSpreadOverTheAlphabet(t *testing.T) {
	t.Parallel()
	var counts [256]int
	d := newDice(1, 1)
	const words = 20_000
	for range words {
		for _, c := range letterBytes(letters(d.Uint64())) {
			counts[c]++
		}
	}
	for c, n := range counts {
		if inside := c >= 'a' && c <= 'z'; !inside && n > 0 {
			t.Fatalf("%q comes %d times", rune(c), n)
		} else if inside {
			near(t, string(rune(c)), float64(n)/(8*words), 1.0/26, 0.0045)
		}
	}
}

func letterBytes(w uint64) (b [8]byte) {
	for i := range b {
		b[i] = byte(w >> (8 * i))
	}
	return b
}

// same holds that a codec writes and reads what codec.JSON does.
func same[T comparable](t *testing.T, c codec.Codec[T], v T) {
	t.Helper()
	viaJSON := codec.JSON[T]()
	if c.ID() != viaJSON.ID() {
		t.Fatalf("id %q, want %q", c.ID(), viaJSON.ID())
	}
	got, err := c.Append([]byte("x"), v)
	want, _ := viaJSON.Append([]byte("x"), v)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("error %v, wrote\n%s, codec.JSON writes\n%s", err, got, want)
	}
	if back, err := c.Decode(got[1:]); err != nil || back != v {
		t.Fatalf("error %v (-written +read):\n%s", err, cmp.Diff(v, back))
	}
}

func TestCodecsWriteAndReadWhatCodecJSONDoes(t *testing.T) {
	t.Parallel()
	s := sampleOf(t, standard(), 0, 500)
	for _, p := range append(s.people, Person{}, Person{Name: `a"b\`, City: "Zürich", Extra: "\t"}) {
		same(t, People, p)
	}
	for _, a := range append(s.auctions, Auction{}, Auction{ID: -1, ItemName: "\n"}) {
		same(t, Auctions, a)
	}
	for _, b := range append(s.bids, Bid{}, Bid{Price: math.MinInt64, URL: "\u2028"}) {
		same(t, Bids, b)
	}
}

func TestTextsThatAreNotWantedStayEmpty(t *testing.T) {
	t.Parallel()
	b, a := standard().Bid(4, 5), standard().Auction(1, 5)
	src, _ := Bids.Append(nil, b)
	b.Channel, b.URL = "", ""
	if got, err := BidsWith(Extra).Decode(src); err != nil || got != b {
		t.Errorf("bid: error %v (-want +got):\n%s", err, cmp.Diff(b, got))
	}
	src, _ = Auctions.Append(nil, a)
	a.ItemName, a.Description, a.Extra = "", "", ""
	if got, err := AuctionsWith(NoTexts).Decode(src); err != nil || got != a {
		t.Errorf("auction: error %v (-want +got):\n%s", err, cmp.Diff(a, got))
	}
}

func TestTheWriterWritesValidJSON(t *testing.T) {
	t.Parallel()
	w := Write([]byte("x"))
	w.Int(`{"a":`, -7)
	w.Thousandths(`,"b":`, -1005)
	w.Thousandths(`,"c":`, 90_800_000_123)
	w.Text(`,"d":`, "\"")
	got, err := w.End()
	if want := `x{"a":-7,"b":-1.005,"c":90800000.123,"d":"\""}`; err != nil || string(got) != want {
		t.Fatalf("got %s, error %v, want %s", got, err, want)
	}
	var back map[string]any
	if err := json.Unmarshal(got[1:], &back); err != nil {
		t.Fatal(err)
	}
	w = Write(nil)
	w.Text(`{"a":`, "\xff")
	w.Text(`,"b":`, "fine")
	if _, err := w.End(); err == nil {
		t.Fatal("invalid UTF-8 was written")
	}
}

func BenchmarkGenerate(b *testing.B) {
	g := standard()
	var buf []byte
	n := int64(0)
	for b.Loop() {
		var err error
		if _, buf, err = g.AppendValue(buf[:0], n, g.Time(n)); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

func BenchmarkDecodeBid(b *testing.B) {
	src := value(b, standard(), 4)
	for name, c := range map[string]codec.Codec[Bid]{"all": Bids, "extra": BidsWith(Extra), "numbers": BidsWith(NoTexts), "json": codec.JSON[Bid]()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Decode(src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
