// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
)

// q16 is q15 for each channel, with the minute of the last bid.
func q16(s *site) {
	byChannel := s.bids(model.Channel).
		WithValue(bidNumbers).
		KeyBy("by-channel", func(b model.Bid) channelDay { return channelDay{b.Channel, dayOf(b.DateTime)} }, channelDays)
	counted(byChannel).
		MapWithKey(func(k channelDay, c Counts) ChannelCounts {
			minute := time.UnixMilli(c.Last).UTC().Format(minuteLayout)
			return ChannelCounts{k.channel, dayText(k.day), minute, c.row()}
		}).
		To(s.out, codec.JSON[ChannelCounts]())
}

// ChannelCounts is a result of q16.
type ChannelCounts struct {
	Channel  string `json:"channel"`
	Day      string `json:"day"`
	Minute   string `json:"minute"`
	CountRow `json:",inline"`
}
