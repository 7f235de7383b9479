// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"strings"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// q22 takes the folders out of the URLs of bids.
func q22(s *site) {
	s.bids(model.Channel|model.URL).
		To(s.out, rows(writeFolders))
}

func writeFolders(dst []byte, b model.Bid) ([]byte, error) {
	_, rest := part(b.URL) // https:
	_, rest = part(rest)   // nothing, between two slashes
	_, rest = part(rest)   // host
	first, rest := part(rest)
	second, rest := part(rest)
	third, _ := part(rest)
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Text(`,"channel":`, b.Channel)
	w.Text(`,"dir1":`, first)
	w.Text(`,"dir2":`, second)
	w.Text(`,"dir3":`, third)
	return w.End()
}

// part cuts off what is before the next slash.
func part(path string) (before, rest string) {
	before, rest, _ = strings.Cut(path, "/")
	return before, rest
}
