// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
)

// dice makes the random choices of one event.
type dice struct{ rand.PCG }

func newDice(seed uint64, n int64) *dice {
	d := &dice{}
	d.Seed(seed, uint64(n))
	return d
}

// below returns a number from 0 to n-1.
func (d *dice) below(n int64) int64 {
	high, _ := bits.Mul64(d.Uint64(), uint64(n))
	return int64(high)
}

func pick(d *dice, from []string) string { return from[d.below(int64(len(from)))] }

// person chooses a person that event n refers to. One in cold is anyone who is active or will soon be there; the others
// are the hot one, which has this place in the newest hundred.
func (d *dice) person(n, cold, hotPlace int64) int64 {
	people := peopleAt(n)
	if d.below(cold) > 0 {
		return (people-1)/hotEvery*hotEvery + hotPlace
	}
	active := min(people, activePeople)
	return people - active + d.below(active+idsAhead)
}

// auction chooses the auction that bid n is for.
func (d *dice) auction(n int64) int64 {
	newest := auctionsAt(n) - 1
	if d.below(coldAuctions) > 0 {
		return newest / hotEvery * hotEvery
	}
	oldest := max(newest-openAuctions, 0)
	return oldest + d.below(newest-oldest+1+idsAhead)
}

// price returns cents: from a dollar to a million, with equal chances for each order of magnitude.
func (d *dice) price() int64 {
	u := float64(d.Uint64()>>11) / (1 << 53)
	return int64(math.Round(100 * math.Pow(10, 6*u)))
}

// words returns 3 to most-1 letters and spaces, without those at the ends.
func (d *dice) words(most int64) string {
	var room [128]byte
	text := d.text(room[:0], most, ' ')
	for len(text) > 0 && text[0] == ' ' {
		text = text[1:]
	}
	for len(text) > 0 && text[len(text)-1] == ' ' {
		text = text[:len(text)-1]
	}
	return string(text)
}

// text appends 3 to most-1 letters, of which one in 13 is replaced by gap.
func (d *dice) text(dst []byte, most int64, gap byte) []byte {
	for range 3 + d.below(most-3) {
		if d.below(13) == 0 {
			dst = append(dst, gap)
		} else {
			dst = append(dst, 'a'+byte(d.below(26)))
		}
	}
	return dst
}

func (d *dice) url() string {
	u := []byte("https://www.nexmark.com/")
	for range 3 {
		u = append(d.text(u, 5, '_'), '/')
	}
	return string(append(u, "item.htm?query=1"...))
}

// card returns the number of a credit card.
func (d *dice) card() string {
	number := []byte("0000 0000 0000 0000")
	for i, c := range number {
		if c == '0' {
			number[i] += byte(d.below(10))
		}
	}
	return string(number)
}

// extra returns letters: average of them, give or take a fifth.
func (d *dice) extra(average int) string {
	if average <= 0 {
		return ""
	}
	fifth := int64(math.Round(float64(average) * 0.2))
	size := int64(average) - fifth
	if fifth > 0 {
		size += d.below(2 * fifth)
	}
	var room [auctionBytes*2 + 8]byte
	for i := int64(0); i < size; i += 8 {
		binary.LittleEndian.PutUint64(room[i:], letters(d.Uint64()))
	}
	return string(room[:size])
}

// letters makes a letter of each byte of a random number: (byte × 26) / 256 counts from 'a' on. Every second byte is
// taken out first, so that each has room for its product.
func letters(random uint64) uint64 {
	const everySecond, a = 0x00ff00ff00ff00ff, 0x0101010101010101 * 'a'
	low := random & everySecond * 26 >> 8 & everySecond
	high := random >> 8 & everySecond * 26 &^ everySecond
	return (high | low) + a
}
