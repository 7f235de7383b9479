// SPDX-License-Identifier: Apache-2.0

package stream

import "github.com/streamd/streamd/operators/codec"

// opensForReading has a codec opened before the pipeline runs, if it wants to be.
func opensForReading[T any](p *Pipeline, c codec.Codec[T]) {
	if o, ok := c.(codec.Opener); ok {
		p.openings = append(p.openings, o.OpenReader)
	}
}

// opensForWriting does the same for a codec that writes.
func opensForWriting[T any](p *Pipeline, c codec.Codec[T]) {
	if o, ok := c.(codec.Opener); ok {
		p.openings = append(p.openings, o.OpenWriter)
	}
}
