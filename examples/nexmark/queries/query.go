// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"errors"
	"fmt"
	"strings"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// query declares the steps of one query.
type query func(*site)

// all are the queries by name, in the order of their numbers.
var all = []struct {
	name    string
	declare query
}{
	{"q0", q0}, {"q1", q1}, {"q2", q2}, {"q3", q3}, {"q4", q4}, {"q5", q5}, {"q6", q6}, {"q7", q7}, {"q8", q8}, {"q9", q9}, {"q10", q10}, {"q11", q11}, {"q12", q12}, {"q13", q13}, {"q14", q14},
	{"q15", q15}, {"q16", q16}, {"q17", q17}, {"q18", q18}, {"q19", q19}, {"q20", q20}, {"q21", q21}, {"q22", q22},
}

// Names returns the names of all queries.
func Names() []string {
	var names []string
	for _, q := range all {
		names = append(names, q.name)
	}
	return names
}

// Pipeline returns the pipeline of a query, which reads topics and writes to out.
func Pipeline(name string, topics model.Topics, out string) (*stream.Pipeline, error) {
	for _, q := range all {
		if q.name == name {
			s := &site{Pipeline: stream.NewPipeline("nexmark-" + name), topics: topics, out: out}
			q.declare(s)
			return s.Pipeline, nil
		}
	}
	return nil, fmt.Errorf("query %q is not known: it is one of %s", name, strings.Join(Names(), " "))
}

// site is the auction site as a pipeline sees it.
type site struct {
	*stream.Pipeline
	topics model.Topics
	out    string
}

func (s *site) people() stream.Stream[int64, model.Person] {
	return stream.From(s.Pipeline, s.topics.Person, model.Key, model.People)
}

func (s *site) auctions(want model.Texts) stream.Stream[int64, model.Auction] {
	return stream.From(s.Pipeline, s.topics.Auction, model.Key, model.AuctionsWith(want))
}

// bids have their auction as key.
func (s *site) bids(want model.Texts) stream.Stream[int64, model.Bid] {
	return stream.From(s.Pipeline, s.topics.Bid, model.Key, model.BidsWith(want))
}

var errNotRead = errors.New("results are written and not read")

// rows is the codec of results, written as JSON by a function of their own.
func rows[T any](write func(dst []byte, v T) ([]byte, error)) codec.Codec[T] {
	return codec.New(codec.JSON[T]().ID(), write, func([]byte) (v T, err error) { return v, errNotRead })
}
