// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/codec"
)

// guess writes bytes of an unknown codec: text as text, and eight bytes that are no text as the number that they
// are in streamd's own encoding of numbers.
func guess(b []byte) string {
	if inspect.IsText(b) {
		return string(b)
	}
	if len(b) == 8 && b[0]&0x80 != 0 {
		if n, err := codec.Int64.Decode(b); err == nil {
			return inspect.Text(n)
		}
	}
	if n, err := codec.Uint64.Decode(b); err == nil {
		return inspect.Text(n)
	}
	return inspect.Text(b)
}
