// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// q16 is q15 for each channel, with the minute of the last bid.
func q16(s *site) {
	byChannel := s.bids(model.Channel).
		WithValue(bidNumbers).
		KeyBy("by-channel", func(b model.Bid) channelDay { return channelDay{b.Channel, dayOf(b.DateTime)} }, channelDays)
	counted(byChannel).
		MapWithKey(func(k channelDay, c Counts) channelCounts { return channelCounts{k, c} }).
		To(s.out, rows(writeChannelCounts))
}

type channelCounts struct {
	channelDay
	Counts
}

func writeChannelCounts(dst []byte, c channelCounts) ([]byte, error) {
	w := model.Write(dst)
	w.Text(`{"channel":`, c.channel)
	w.Time(`,"day":`, c.day*dayMillis, time.DateOnly)
	w.Time(`,"minute":`, c.last, minuteLayout)
	c.write(&w)
	return w.End()
}
