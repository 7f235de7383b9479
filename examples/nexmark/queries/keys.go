// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/streamd/streamd/operators/codec"
)

// pair is a key of two numbers.
type pair struct{ a, b int64 }

// pairs takes 16 bytes, big-endian.
var pairs = codec.New("nexmark-pair",
	func(dst []byte, p pair) ([]byte, error) {
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.a))
		return binary.BigEndian.AppendUint64(dst, uint64(p.b)), nil
	},
	func(src []byte) (pair, error) {
		if len(src) != 16 {
			return pair{}, fmt.Errorf("nexmark-pair takes 16 bytes, found %d", len(src))
		}
		return pair{int64(binary.BigEndian.Uint64(src)), int64(binary.BigEndian.Uint64(src[8:]))}, nil
	})

// channelDay is a channel on a day.
type channelDay struct {
	channel string
	day     int64
}

// channelDays takes the day in 8 bytes, big-endian, and the text of the channel.
var channelDays = codec.New("nexmark-channel-day",
	func(dst []byte, k channelDay) ([]byte, error) {
		return append(binary.BigEndian.AppendUint64(dst, uint64(k.day)), k.channel...), nil
	},
	func(src []byte) (channelDay, error) {
		if len(src) < 8 {
			return channelDay{}, fmt.Errorf("nexmark-channel-day takes at least 8 bytes, found %d", len(src))
		}
		return channelDay{string(src[8:]), int64(binary.BigEndian.Uint64(src))}, nil
	})

const dayMillis = int64(24 * time.Hour / time.Millisecond)

// dayOf is the number of the day that a time is in.
func dayOf(millis int64) int64 { return millis / dayMillis }

// dayText is how a day of a number is written.
func dayText(day int64) string { return time.UnixMilli(day * dayMillis).UTC().Format(time.DateOnly) }
