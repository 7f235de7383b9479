// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Position says how far a task's state has come. It is written in the same
// atomic batch as the entries it covers, so state and position never disagree.
type Position struct {
	// Epoch is the ordinal of the last commit applied.
	Epoch uint64
	// Offset is the changelog offset of that commit's position record; -1 if
	// there is none.
	Offset int64
	// Detail is opaque here: the engine's encoded input offsets and watermarks.
	Detail []byte
}

const positionFormat = 1

func (p Position) clone() Position {
	p.Detail = slices.Clone(p.Detail)
	return p
}

func appendPosition(dst []byte, p Position) []byte {
	dst = append(dst, positionFormat)
	dst = binary.BigEndian.AppendUint64(dst, p.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Offset))
	return append(dst, p.Detail...)
}

func decodePosition(b []byte) (Position, error) {
	if len(b) > 0 && b[0] > positionFormat {
		return Position{}, fmt.Errorf("decode position: found format %d, this release reads up to %d: %w", b[0], positionFormat, ErrFutureFormat)
	}
	if len(b) < 17 || b[0] != positionFormat {
		return Position{}, fmt.Errorf("decode position of %d bytes: %w", len(b), ErrCorrupt)
	}
	p := Position{
		Epoch:  binary.BigEndian.Uint64(b[1:]),
		Offset: int64(binary.BigEndian.Uint64(b[9:])),
	}
	if len(b) > 17 {
		p.Detail = slices.Clone(b[17:])
	}
	return p, nil
}
