// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"strings"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// q21 gives bids the id of their channel: that of a table, or else that of the URL. Bids without either are dropped.
func q21(s *site) {
	s.bids(model.Channel|model.URL).
		FlatMap(identify).
		To(s.out, rows(writeChannelBid))
}

// channelBid is a bid with the id of its channel.
type channelBid struct {
	model.Bid
	id string
}

func identify(b model.Bid, yield func(channelBid)) {
	if id, ok := knownChannel(b.Channel); ok {
		yield(channelBid{b, id})
	} else if id, ok := channelOf(b.URL); ok {
		yield(channelBid{b, id})
	}
}

func knownChannel(name string) (id string, ok bool) {
	for i, known := range [...]string{"apple", "google", "facebook", "baidu"} {
		if strings.EqualFold(name, known) {
			return "0123"[i : i+1], true
		}
	}
	return "", false
}

// channelOf returns the parameter channel_id, which is at the very beginning or behind an ampersand.
func channelOf(url string) (id string, ok bool) {
	const name = "channel_id="
	rest, ok := strings.CutPrefix(url, name)
	if !ok {
		if _, rest, ok = strings.Cut(url, "&"+name); !ok {
			return "", false
		}
	}
	id, _, _ = strings.Cut(rest, "&")
	return id, true
}

func writeChannelBid(dst []byte, b channelBid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Text(`,"channel":`, b.Channel)
	w.Text(`,"channel_id":`, b.id)
	return w.End()
}
