// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// each makes at most one row of each bid; nil is none.
func each(bids []model.Bid, row func(model.Bid) Row) []Row {
	var rows []Row
	for _, b := range bids {
		if r := row(b); r != nil {
			rows = append(rows, r)
		}
	}
	return rows
}

func utc(millis int64) time.Time { return time.UnixMilli(millis).UTC() }

func dayOf(millis int64) string { return utc(millis).Format(time.DateOnly) }

func minuteOf(millis int64) string { return utc(millis).Format("15:04") }

// euros is what a price in dollars is in euros.
func euros(price int64) float64 { return float64(price*908) / 1000 }

// q0: all bids.
func q0(in Input) []Row {
	return each(in.Bids, func(b model.Bid) Row { return Row{b.Auction, b.Bidder, b.Price, b.DateTime, b.Extra} })
}

// q1: prices in euros.
func q1(in Input) []Row {
	return each(in.Bids, func(b model.Bid) Row { return Row{b.Auction, b.Bidder, euros(b.Price), b.DateTime, b.Extra} })
}

// q2: bids on some auctions.
func q2(in Input) []Row {
	return each(in.Bids, func(b model.Bid) Row {
		if b.Auction%123 != 0 {
			return nil
		}
		return Row{b.Auction, b.Price}
	})
}

// q10: bids with the day and minute that name the file which they would go to.
func q10(in Input) []Row {
	return each(in.Bids, func(b model.Bid) Row {
		return Row{b.Auction, b.Bidder, b.Price, b.DateTime, b.Extra, dayOf(b.DateTime), minuteOf(b.DateTime)}
	})
}

// q13: bids with the row of a table that has a text for each number below 10000.
func q13(in Input) []Row {
	return each(in.Bids, func(b model.Bid) Row {
		return Row{b.Auction, b.Bidder, b.Price, b.DateTime, strconv.FormatInt(b.Auction%10000, 10)}
	})
}

// q14: bids of a million to fifty million, exclusive, with the part of the day and the number of letters c.
func q14(in Input) []Row {
	return each(in.Bids, func(b model.Bid) Row {
		if b.Price*908 <= 1_000_000*1000 || b.Price*908 >= 50_000_000*1000 {
			return nil
		}
		part := "otherTime"
		switch hour := utc(b.DateTime).Hour(); {
		case 8 <= hour && hour <= 18:
			part = "dayTime"
		case hour <= 6 || hour >= 20:
			part = "nightTime"
		}
		return Row{b.Auction, b.Bidder, euros(b.Price), part, b.DateTime, b.Extra, int64(strings.Count(b.Extra, "c"))}
	})
}

var channelParameter = regexp.MustCompile(`(&|^)channel_id=([^&]*)`)

// q21: the id of the channel, of a table or of the URL.
func q21(in Input) []Row {
	table := map[string]string{"apple": "0", "google": "1", "facebook": "2", "baidu": "3"}
	return each(in.Bids, func(b model.Bid) Row {
		id, ok := table[strings.ToLower(b.Channel)]
		if !ok {
			found := channelParameter.FindStringSubmatch(b.URL)
			if found == nil {
				return nil
			}
			id = found[2]
		}
		return Row{b.Auction, b.Bidder, b.Price, b.Channel, id}
	})
}

// q22: folders of the URL.
func q22(in Input) []Row {
	return each(in.Bids, func(b model.Bid) Row {
		parts := strings.Split(b.URL, "/")
		return Row{b.Auction, b.Bidder, b.Price, b.Channel, parts[3], parts[4], parts[5]}
	})
}
